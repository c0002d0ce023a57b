//! The clients: one process, one thread, one epoll, thousands of WebSockets, frames parsed by hand.
//!
//! The process receives commands line by line and answers each with one line, so that a scenario
//! can act on the server in between; the sockets are read meanwhile. The kernel stamps arrivals, so
//! a busy client measures no delay of its own. While it counts, a timer sweeps the sockets, so that
//! the server does not pay for waking this process at every frame. In both ways it behaves like
//! thousands of browsers on other machines, which wake no process here.

mod clients;
mod commands;
mod connection;
mod counters;
mod frames;
mod histogram;
mod plan;
mod socket;
mod yield_pauses;

pub(crate) use clients::run_role;
pub(crate) use frames::masked;
pub(crate) use plan::{
    ConnectionGroup, Counted, Delays, LoadCommand, LoadPlan, LoadProcess, Opened, Quantiles,
};
