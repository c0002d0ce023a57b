//! Streams: named live queries, the tables they read, and the snapshots they produce.

mod authorize_query;
mod catalog;
mod catalog_slots;
mod column;
mod definition;
mod enum_labels;
mod inference;
mod key_name;
mod key_type;
mod local_day;
mod lower_case;
mod name;
mod param;
mod ports;
mod snapshot;
pub mod statement_text;
mod stream_status;
mod system_topics;
mod text_key;
mod topic_history;
mod verification_query;

pub use authorize_query::AuthorizeQuery;
pub use catalog::{Catalog, CatalogFull, ChannelError};
pub use column::{Column, ColumnKind};
pub use definition::{KeyRoute, MAX_KEY_PARTS, SourceTable, Stream, ZoneRule, key_prefix};
pub use enum_labels::EnumLabels;
pub use inference::{Inference, InferenceGap};
pub use key_name::{InvalidKey, encode_params, encode_part};
pub use key_type::KeyType;
pub use local_day::LocalDay;
pub use lower_case::LowerCase;
pub use name::is_name;
pub use param::{DEFAULT_TEXT_BYTES, MAX_TEXT_BYTES, Param, ParamKind};
pub use ports::{
    ChangeHint, ColumnSource, HintSink, Interest, NoInterest, NoTransactions, NotifyState,
    OpenTransaction, PermissionBatchFuture, PermissionFuture, PermissionLookupError,
    PermissionQuestion, PermissionSource, ReadError, ReadFuture, ReadRow, Readiness,
    ReadinessFuture, ReadinessReport, SnapshotReader, StreamReport, TransactionSource,
    WatchLockEvent,
};
pub use snapshot::{Snapshot, StreamRow};
pub use stream_status::{StreamProblem, StreamStatus};
pub use system_topics::{SYSTEM_STATE_CHANNEL, SYSTEM_STREAM, SYSTEM_STREAM_NAME, SystemTopic};
pub use text_key::MAX_KEY_BYTES;
pub use topic_history::{HistoryLimits, TopicHistory};
pub use verification_query::VerificationQuery;
