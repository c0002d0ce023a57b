//! All access to PostgreSQL: the pool and its reads, the listener, the generated triggers, and the
//! checks that `latido doctor` prints.
//!
//! A notification is a hint; the table is the truth. This module never decides *when* to read: it
//! reads on request and forwards notifications. Reads work on a direct connection and behind a
//! transaction pooler; LISTEN needs a direct connection.

mod authorize;
mod certificate_v1;
mod columns;
mod config;
mod connect;
mod database_tables;
mod day_array;
mod prepare;
mod prepared_cache;
mod prepared_stream;
mod text_parameter;
mod topic_arrays;

mod doctor;
mod error;
mod grants;
mod history;
mod instance;
mod notification_stream;
mod permission_batch;
mod triggers;
mod watch_locks;

mod change_hint;
mod examination;
mod install_check;
mod key_array;
mod key_column;
mod key_kind;
mod key_lookup;
mod key_types;
mod listener;
mod notify_queue;
mod open_transactions;
mod parameters;
mod pool;
mod query;
mod query_form;
mod query_preview;
mod query_reads;
mod quote;
mod read_gap;
mod readiness;
mod row_security;
mod script_runner;
mod settings;
mod shadow;
mod sources;
pub mod sqlstate;
mod statement_shape;
mod stream_inference;
mod stream_probe;
mod table_lookup;
mod tls;
mod trigger_health;
mod url;
mod url_error;
mod url_params;
mod write_connection;

use latido_stream::statement_text;

pub use config::{Config, ConfigError, UrlSetting};

pub use database_tables::DatabaseTable;
pub use doctor::{Finding, FindingLevel, examine, examine_for, examine_lookups};
pub use error::{DatabaseError, KeyMismatch};
pub use grants::{Grant, ServingNeeds, TableGrant, grant_script};
pub use instance::InstanceName;

pub use change_hint::CHANNEL;
#[cfg(any(test, fuzzing, feature = "testing"))]
pub use change_hint::parse_hints;
#[cfg(any(test, fuzzing, feature = "testing"))]
pub use latido_inference as inference;
pub use latido_inference::quote_if_needed;
pub use listener::{ListenerState, NotificationListener};
pub use pool::{Database, TypedParams};
pub use query_form::{
    QueryColumn, QueryForm, QueryFormError, QueryMistake, QueryParameter, ValueKind,
};
pub use query_preview::{PreviewedTable, QueryPreview, RowCount};
pub use query_reads::QueryReadsError;
pub use quote::{quote_ident, quote_literal};
pub use read_gap::ReadGap;
pub use readiness::ReadinessProbe;
pub use script_runner::ScriptRunner;
pub use settings::{VARIABLES, refuse_sleep, require_url};
pub use stream_inference::{
    InferenceAccess, InferredStream, InferredTable, KeySuggestion, UnprovenTable,
};
pub use tls::DatabaseTlsError;
pub use trigger_health::TriggerHealth;
pub use triggers::{
    AppSchema, InstallChange, InstallError, Migration, RecordedStreams, TableProblem,
    TableTriggers, TriggerReport, TriggerState,
};
pub use url_error::UrlError;
pub use watch_locks::WatchLocks;
pub use write_connection::WriteConnection;

/// The driver's types of statements, parameters and rows, for the statements of apps.
pub use tokio_postgres::types::{FromSql, ToSql, Type};
pub use tokio_postgres::{Client, Error as DriverError, Row, SimpleQueryMessage};
