//! Black-box tests of the product, through its public interface.

#![expect(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

mod abuse;
mod apps;
mod browser;
mod change_path;
mod chaos;
mod command;
mod contract;
mod convergence;
mod dashboard;
mod doors;
mod draining;
mod embedded;
mod gate;
mod harness;
mod heartbeat;
mod history;
mod load;
mod makefile;
mod operations;
mod packaging;
mod postgres;
mod restarting;
mod rfc6455;
mod specification;
mod supply;
mod tidy;
