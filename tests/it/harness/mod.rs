//! The shared test fixtures: servers, databases, sockets, commands and proxies.

mod app;
pub(crate) mod claims;
pub(crate) mod cluster;
mod command;
pub(crate) mod fault_proxy;
mod folder;
mod socket;

pub(crate) use app::{
    ADMIN_OF_B1, B1, B2, OTHER_USER, SYSTEM_ADMIN, TestApp, booking, client, settings, try_connect,
};
pub(crate) use command::{Home, Running};
pub(crate) use folder::Folder;
pub(crate) use socket::{Socket, until, within};
