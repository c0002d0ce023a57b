//! Everything that speaks to PostgreSQL: the pool and its reads, the listener, the generated triggers, and the examination that
//! `latido doctor` prints.
//!
//! A notification is a hint; the table is the truth. Nothing here decides *when* to read: it reads when it is asked to, and says
//! what it heard. Reads work on a direct connection and behind a transaction pooler; hearing needs a direct one.

pub mod apps;
mod columns;
mod config;
mod connect;
mod describe;
pub mod embedded;

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

pub use config::{Config, ConfigError, Setting};

pub use doctor::{Finding, Level, examine};
pub use error::DatabaseError;

pub use install::{Change, InstallError, TableTriggers, TriggerState, Triggers};
pub use interest::{Declared, Interest};
pub use listener::{Listener, ListenerState};
#[cfg(any(test, fuzzing))]
pub(crate) use notice::notices_of;
pub use notice::{CHANNEL, Notice};
pub use pool::Database;
pub use script::Scripts;
pub use tls::TlsError;
pub use url::UrlError;
