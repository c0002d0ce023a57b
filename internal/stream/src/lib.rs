//! Streams: named live queries, the tables they read, and the snapshots they produce.

mod check;
mod column;
mod definition;
mod key_type;
mod server;
mod snapshot;

pub use check::Check;
pub use column::{Column, ColumnKind};
pub use definition::{Catalog, ChannelError, Stream, Table, ZoneRule};
pub use key_type::{InvalidKey, KeyType, MAX_KEY_BYTES};
pub use server::{SERVER, SERVER_CHANNEL, SERVER_STREAM, ServerTopic};
pub use snapshot::{Row, Snapshot};
