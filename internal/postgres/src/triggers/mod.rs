//! Installs the triggers that a catalog needs, inspects them, and removes them completely.

mod app_schema;
mod column_note;
pub(super) mod discover;
mod error;
mod function_body;
pub(super) mod generate;
mod inspect;
mod install_change;
mod installer;
mod ownership;
pub(super) mod recorded_reads;
mod renamed;
mod transaction;
pub(super) mod trigger_event;

pub use app_schema::AppSchema;
pub(crate) use error::DiscoveryError;
pub use error::{InstallError, TableProblem};
pub use inspect::{TableTriggers, TriggerReport, TriggerState};
pub use install_change::InstallChange;
