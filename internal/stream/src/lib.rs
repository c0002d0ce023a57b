//! Streams: named live queries, the tables they read, and the snapshots they produce.

mod column;
mod definition;
mod key_type;
mod snapshot;
mod system_topics;
mod verification_query;

pub use column::{Column, ColumnKind};
pub use definition::{Catalog, ChannelError, SourceTable, Stream, ZoneRule};
pub use key_type::{InvalidKey, KeyType, MAX_KEY_BYTES};
pub use snapshot::{Snapshot, StreamRow};
pub use system_topics::{SYSTEM_STATE_CHANNEL, SYSTEM_STREAM, SYSTEM_STREAM_NAME, SystemTopic};
pub use verification_query::VerificationQuery;
