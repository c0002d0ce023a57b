//! Socket.IO v4 over polling and WebSocket, for the clients of older systems.
//!
//! The transports (sessions, polling, upgrade, heartbeat, packets) are the crate `socketioxide`'s, which is named in this module alone. Ours
//! is everything around them: [`http`](crate::http) accepts the connections, judges origins and limits, and hands requests and upgraded
//! sockets to a [`Gate`]; [`Endpoint`] is the gate that speaks Socket.IO. An app gives a [`Dialect`]: which namespaces it answers, which
//! events are its own, and a [`Talk`] for each socket, beside a mailbox of its exchange.
//!
//! One task serves a socket, counted by the drain. It hears the client's messages in the order in which they came (the crate would start
//! a task for each, in any order), while it goes on delivering what the exchange says; it ends when the client is gone, and whatever it was
//! just waiting for with it. What a client may leave waiting is bounded in messages and in bytes.

mod args;
mod config;
mod dialect;
mod endpoint;
mod gate;
mod inbox;
mod link;
mod outgoing;
mod query;
mod socket;
mod transport;

pub use args::Args;
pub use config::Config;
pub use dialect::{Dialect, Emit, Heard, Talk};
pub use endpoint::Endpoint;
pub use gate::{Ask, Duplex, Gate, PeerAddress};
pub use link::{Ack, Link};
use query::judge;
pub use transport::{Engine, HEAD_START, Transport};
