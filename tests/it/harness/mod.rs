//! The shared test fixtures: servers, databases, sockets, commands and proxies.

mod app;
pub(crate) mod claims;
pub(crate) mod cluster;
mod command;
pub(crate) mod fault_proxy;
mod folder;
mod socket;

pub(crate) use app::{
    ADMIN_OF_B1, B1, B2, OTHER_USER, SYSTEM_ADMIN, TestApp, booking_sql, http_client, settings,
    try_connect,
};
pub(crate) use command::{CommandHome, RunningCommand};
pub(crate) use folder::TempFolder;
pub(crate) use socket::{TestSocket, wait_until, within};
