//! All access to PostgreSQL: the pool and its reads, the listener, the generated triggers, and the
//! checks that `latido doctor` prints.
//!
//! A notification is a hint; the table is the truth. This module never decides *when* to read: it
//! reads on request and forwards notifications. Reads work on a direct connection and behind a
//! transaction pooler; LISTEN needs a direct connection.

pub mod apps;
mod columns;
mod config;
mod connect;
mod describe;

mod doctor;
mod error;
mod hearing;
mod install;
mod interest;

mod keys;
mod listener;
mod notice;
mod pool;
mod query;
mod quote;
mod script;
mod tls;
mod url;

pub use config::{Config, ConfigError, UrlSetting};

pub use doctor::{Finding, FindingLevel, examine};
pub use error::DatabaseError;

pub use install::{InstallChange, InstallError, TableTriggers, TriggerState, TriggerReport};
pub use interest::{WatchLockEvent, WatchLocks};
pub use listener::{NotificationListener, ListenerState};
#[cfg(any(test, fuzzing, feature = "testing"))]
pub use notice::parse_hints;
pub use notice::{CHANNEL, ChangeHint};
pub use pool::Database;
pub use script::ScriptRunner;
pub use tls::DatabaseTlsError;
pub use url::UrlError;
