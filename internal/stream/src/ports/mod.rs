//! The interfaces between the engine, the policy and HTTP on one side and the database on the other.
//! Neither side names the other.

mod column_source;
mod hint_sink;
mod interest;
mod permission_source;
mod readiness;
mod snapshot_reader;
mod transaction_source;

pub use column_source::ColumnSource;
pub use hint_sink::{ChangeHint, HintSink, WatchLockEvent};
pub use interest::{Interest, NoInterest, NotifyState};
pub use permission_source::{
    PermissionBatchFuture, PermissionFuture, PermissionLookupError, PermissionQuestion,
    PermissionSource,
};
pub use readiness::{Readiness, ReadinessFuture, ReadinessReport, StreamReport};
pub use snapshot_reader::{ReadError, ReadFuture, ReadRow, SnapshotReader};
pub use transaction_source::{NoTransactions, OpenTransaction, TransactionSource};
