//! Turns change hints into published snapshots, with one query for any number of hints and viewers.
//!
//! [`Engine`] is the single entry point. Hints arrive from any thread and are merged into the dirty
//! set. One actor ([`Engine::run`]) takes batches out of it, reads each batch with one statement
//! and publishes the rows that differ. The actor also owns the two things that change numbers
//! without a row changing: midnight, and doubt (the sweep, and the resync after missed
//! notifications).

mod actor;
mod calendar;
mod config;
mod database_health;
mod deps;
mod dirty_set;
mod dirty_set_reads;
mod engine;
mod failure_log;
mod hint_source;
mod history_queue;
mod hot_keys;
mod key_state;
mod missed_changes;
mod moved_keys;
mod other_topics;
mod read_batch;
mod read_cost;
mod read_pacing;
mod read_slots;
mod settings;
mod shared;
mod verification_rotation;

#[cfg(any(test, feature = "simulation"))]
pub use actor::simulated::SimulatedActor;
pub use config::Config;
pub use deps::EngineDeps;
pub use engine::{Engine, ReadFailed};
pub use hint_source::HintSource;
pub use latido_stream::{
    Interest, NoInterest, NoTransactions, NotifyState, OpenTransaction, ReadError, ReadFuture,
    ReadRow, SnapshotReader, TransactionSource,
};
pub use read_pacing::ReadPacing;
pub use settings::VARIABLES;
