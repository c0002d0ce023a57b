//! Black-box tests of the product, through its public interface.

#![expect(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

mod abuse;
mod abusive_load;
mod access_control;
mod apps;
mod broken_streams;
mod browser;
mod change_path;
mod chaos;
mod command;
mod contract;
mod convergence;
mod dashboard;
mod dependencies;
mod draining;
mod embedded;
mod entry_points;
mod failing_keys;
mod features;
mod harness;
mod heartbeat;
mod history;
mod interest_gate;
mod key_types;
mod makefile;
mod moves;
mod operations;
mod packaging;
mod postgres;
mod reload;
mod restarting;
mod rfc6455;
mod row_level_security;
mod sleeping;
mod socketio;
mod specification;
mod streams;
mod tidy;
