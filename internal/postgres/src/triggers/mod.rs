//! Installs the triggers that a catalog needs, inspects them, and removes them completely.

mod app_schema;
mod column_note;
pub(super) mod discover;
mod error;
mod function_body;
mod function_parts;
pub(super) mod generate;
mod inspect;
mod install_change;
mod installer;
pub(super) mod key_part;
pub(super) mod lookup_facts;
mod lookup_function;
pub(super) mod lookup_session;
mod migration;
mod move_key;
mod moves;
mod ownership;
mod payload_sql;
pub(super) mod recorded_reads;
mod renamed;
mod script;
mod stream_gate;
pub(super) mod table_route;
mod table_triggers;
mod transaction;
pub(super) mod trigger_event;
mod trigger_set;
mod tuple_body;
pub(super) mod watched_table;

pub use app_schema::AppSchema;
pub(crate) use error::DiscoveryError;
pub use error::{InstallError, TableProblem};
pub use inspect::{TableTriggers, TriggerReport, TriggerState};
pub use install_change::InstallChange;
pub use migration::Migration;
