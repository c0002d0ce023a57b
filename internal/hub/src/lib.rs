//! The viewers of every topic and the newest frame of each.
//!
//! The hub never awaits and never touches a socket. For each topic it keeps the last snapshot, and
//! for each channel name (a *room*) the frame encoded from it. Each shard has [`ShardFrames`], in
//! which a newer frame of a room replaces an older one that the shard has not yet taken. Its size
//! is therefore bounded by the number of rooms, however fast topics are published. Clients that run
//! as Tokio tasks hold an [`AsyncSubscriber`].
//!
//! One mutex guards all of it. It is held for hash look-ups and one small encoding, never across a
//! system call.

mod frame;
mod history;
mod hub;
mod observer;
mod param_sets;
mod pending_frames;
mod room_stats;
mod rooms;
mod subscriber;
#[cfg(any(test, feature = "testing"))]
mod testing;

pub use frame::{FrameContent, PublishOutcome, RoomId, VersionedFrame};
pub use history::{HistoryReply, HistoryResult, HistoryUnavailable};
pub use hub::{Hub, HubSubscription};
pub use observer::WatchObserver;
pub use param_sets::TooManyParamSets;
pub use pending_frames::{PendingFrames, ShardFrames, ShardFramesId};
pub use room_stats::{RoomStats, RoomSummary};
pub use subscriber::{AsyncSubscriber, SubscriberEvent, Unreadable};
#[cfg(any(test, feature = "testing"))]
pub use testing::LatestColumns;
