//! Streams: named live queries, the tables they read, and the snapshots they produce.

mod catalog;
mod column;
mod key_type;
mod snapshot;
mod stream;
mod system_topics;
mod verification_query;

pub use catalog::{Catalog, ChannelError};
pub use column::{Column, ColumnKind};
pub use key_type::{InvalidKey, KeyType, MAX_KEY_BYTES};
pub use snapshot::{Snapshot, StreamRow};
pub use stream::{SourceTable, Stream, ZoneRule};
pub use system_topics::{SYSTEM_STATE_CHANNEL, SYSTEM_STREAM, SYSTEM_STREAM_NAME, SystemTopic};
pub use verification_query::VerificationQuery;
