//! Streams: named live queries, the tables they read, and the snapshots they produce.

mod check;
mod column;
mod definition;
mod key_type;
mod server;
mod snapshot;

pub use check::VerificationQuery;
pub use column::{Column, ColumnKind};
pub use definition::{Catalog, ChannelError, Stream, SourceTable, ZoneRule};
pub use key_type::{InvalidKey, KeyType, MAX_KEY_BYTES};
pub use server::{SYSTEM_STREAM, SYSTEM_STATE_CHANNEL, SYSTEM_STREAM_NAME, SystemTopic};
pub use snapshot::{StreamRow, Snapshot};
