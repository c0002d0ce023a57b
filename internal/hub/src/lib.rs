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

mod pending_frames;
mod room_stats;
mod rooms;
mod subscriber;
#[cfg(any(test, feature = "testing"))]
mod testing;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use latido_base::ident::{Channel, Topic, Version};
use latido_protocol::{Frame, Staleness, native};
use latido_stream::{Catalog, StreamRow};

pub use pending_frames::{PendingFrames, ShardFrames, ShardFramesId};
pub use room_stats::{RoomStats, RoomSummary};
use rooms::HubRooms;
pub use rooms::RoomId;
pub use subscriber::{AsyncSubscriber, SubscriberEvent};
#[cfg(any(test, feature = "testing"))]
pub use testing::LatestColumns;

/// An encoded frame with the version of its snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionedFrame {
    /// The version of the snapshot in the frame.
    pub version: Version,
    /// The frame, encoded under the room's name.
    pub frame: Frame,
}

/// An observer of first and last viewers. The hub calls it under its lock, so the calls arrive in
/// order.
pub trait WatchObserver: Send + Sync {
    /// Notifies that the topic has gained its first viewer and must be read.
    fn on_watched(&self, topic: &Topic);
    /// Notifies that the topic has lost its last viewer.
    fn on_unwatched(&self, topic: &Topic);
}

/// The outcome of publishing a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The topic has no viewers any more.
    Unwatched,
    /// The row equals the last snapshot, so nothing was sent.
    Unchanged,
    /// The row is the topic's first snapshot; it was sent to all viewers.
    First(Version),
    /// The row differs from the last snapshot and was sent to all viewers.
    Changed(Version),
}

/// The registry of viewers and newest frames; see the module's documentation.
pub struct Hub {
    catalog: Arc<Catalog>,
    observer: Box<dyn WatchObserver>,
    rooms: Mutex<HubRooms>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

/// The initial data for a new viewer.
#[derive(Debug)]
pub struct HubSubscription {
    /// The room whose frames the viewer will get.
    pub room: RoomId,
    /// The newest frame. With `None` the topic has not been read yet, and the first frame follows
    /// later.
    pub latest: Option<VersionedFrame>,
    /// The status frame to send along while the database cannot be read.
    pub staleness_frame: Option<Frame>,
}

impl Hub {
    /// Creates a hub without shards or viewers.
    pub fn new(catalog: Arc<Catalog>, observer: Box<dyn WatchObserver>) -> Self {
        Self {
            catalog,
            observer,
            rooms: Mutex::default(),
        }
    }

    /// Registers a shard. The hub calls `wake`, from any thread, when the shard's pending frames
    /// stop being empty.
    pub fn register_shard(&self, wake: impl Fn() + Send + Sync + 'static) -> ShardFrames {
        self.lock().register_shard(Box::new(wake))
    }

    /// Adds one viewer of `channel` on a shard.
    pub fn subscribe(&self, shard: ShardFramesId, channel: &Channel) -> HubSubscription {
        let mut rooms = self.lock();
        let (room, first) = rooms.add_viewer(channel, Some(shard));
        if first {
            self.observer.on_watched(&channel.topic);
        }
        let latest = rooms.latest_frame(room, |snapshot| self.encode(channel, snapshot));
        let stale = rooms.staleness_frame();
        HubSubscription {
            room,
            latest,
            staleness_frame: stale,
        }
    }

    /// Removes one viewer of a room from a shard.
    pub fn unsubscribe(&self, shard: ShardFramesId, room: RoomId) {
        let mut rooms = self.lock();
        if let Some(topic) = rooms.remove_viewer(room, Some(shard)) {
            self.observer.on_unwatched(&topic);
        }
    }

    /// Adds a viewer that runs as a Tokio task. It is removed when it is dropped.
    pub fn subscribe_async(self: &Arc<Self>, channel: &Channel) -> AsyncSubscriber {
        let mut rooms = self.lock();
        let (room, first) = rooms.add_viewer(channel, None);
        if first {
            self.observer.on_watched(&channel.topic);
        }
        // Encode first, so that the receiver already holds the newest frame.
        let _ = rooms.latest_frame(room, |snapshot| self.encode(channel, snapshot));
        let (frames, status) = rooms.receivers(room);
        let stale = rooms.staleness_frame().is_some();
        AsyncSubscriber::new(Arc::clone(self), room, frames, status, stale)
    }

    /// Removes a viewer that runs as a Tokio task. Its `Drop` calls this.
    pub fn unsubscribe_async(&self, room: RoomId) {
        let mut rooms = self.lock();
        if let Some(topic) = rooms.remove_viewer(room, None) {
            self.observer.on_unwatched(&topic);
        }
    }

    /// Compares a row with the topic's last snapshot. If it differs, the row gets a version and is
    /// handed to every viewer.
    pub fn publish(&self, topic: &Topic, row: &StreamRow) -> PublishOutcome {
        self.lock().publish(topic, row, |channel, snapshot| {
            self.encode(channel, snapshot)
        })
    }

    /// Notifies every viewer that the data is stale or fresh again. Repeating the current state
    /// sends nothing.
    pub fn set_staleness(&self, staleness: Staleness) {
        self.lock()
            .set_staleness(staleness, &native::encode_staleness(staleness));
    }

    /// Returns the number of topics with a viewer, and the number of viewers.
    pub fn counts(&self) -> (usize, usize) {
        self.lock().counts()
    }

    /// Returns at most `limit` rooms, those with the most viewers. The number of rooms examined is
    /// bounded, because the lock is held meanwhile.
    pub fn room_stats(&self, limit: usize) -> RoomStats {
        self.lock().room_stats(limit)
    }

    fn encode(&self, channel: &Channel, snapshot: &latido_stream::Snapshot) -> Frame {
        native::encode_snapshot(self.catalog.get(channel.topic.stream), channel, snapshot)
    }

    /// Locks the rooms. A panic elsewhere must not stop every stream, and no operation leaves the
    /// rooms half-changed, so a poisoned lock is safe to use.
    fn lock(&self) -> MutexGuard<'_, HubRooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
