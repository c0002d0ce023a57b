//! The shared test fixtures: servers, databases, sockets, commands and proxies.

mod app;
pub(crate) mod claims;
pub(crate) mod cluster;
mod command;
pub(crate) mod fault_proxy;
mod folder;
mod port;
mod seed;
mod socket;
mod waiting;

pub(crate) use app::{
    ADMIN_OF_B1, B1, B2, OTHER_USER, SYSTEM_ADMIN, TestApp, booking_sql, disable_sweep,
    http_client, settings, settings_for, try_connect,
};
pub(crate) use command::{CommandHome, CommandOutput, RunningCommand};
pub(crate) use folder::TempFolder;
pub(crate) use port::ReservedPort;
pub(crate) use seed::replayable_seed;
pub(crate) use socket::{TEST_TIMEOUT, TestSocket, report_not_tested, wait_until, within};
