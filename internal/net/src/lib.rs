//! The mechanisms of HTTP and IP that several layers share. Everything but the HTTPS client is pure.

mod host;
mod https_client;
mod network;
mod origin;
pub mod query;

pub use host::{Host, is_loopback};
pub use https_client::{
    BodyError, HttpsClientError, HttpsClientOptions, error_chain, https_client, read_body,
};
pub use network::{InvalidNetworks, Networks, client_network};
pub use origin::{InvalidOrigin, Origins, is_same_origin};
