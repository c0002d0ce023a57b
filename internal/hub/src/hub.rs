//! The hub: who watches which topic, and the newest frame of each.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::rooms::HubRooms;
use tokio::sync::watch;

use crate::frame::{PublishOutcome, RoomId, VersionedFrame};
use crate::history::HistoryReply;
use crate::observer::WatchObserver;
use crate::param_sets::TooManyParamSets;
use crate::pending_frames::{ShardFrames, ShardFramesId};
use crate::room_stats::RoomStats;
use latido_base::ident::{Channel, StreamId, Topic};
use latido_protocol::{Frame, Staleness, native};
use latido_stream::{Catalog, StreamRow};

/// The registry of viewers and newest frames; see the module's documentation.
pub struct Hub {
    catalog: Arc<Catalog>,
    pub(super) observer: Box<dyn WatchObserver>,
    rooms: Mutex<HubRooms>,
    /// The number of times that the streams were replaced.
    reloads: watch::Sender<u64>,
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
    /// The newest frame: a snapshot, or the error that the topic cannot be read. With `None` the
    /// topic has not been read yet, and the first frame follows later.
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
            reloads: watch::Sender::new(0),
        }
    }

    /// Sets the limit of the choices of parameters of one key that are watched at a time. A new hub
    /// has none.
    #[must_use]
    pub fn with_param_sets_per_key(self, limit: u32) -> Self {
        self.set_param_sets_per_key(limit);
        self
    }

    /// Sets the limit of the choices of parameters of one key. A key that has more keeps them.
    pub fn set_param_sets_per_key(&self, limit: u32) {
        self.lock().param_sets.limit = usize::try_from(limit).unwrap_or(usize::MAX);
    }

    /// Registers a shard. The hub calls `wake`, from any thread, when the shard's pending frames
    /// stop being empty.
    pub fn register_shard(&self, wake: impl Fn() + Send + Sync + 'static) -> ShardFrames {
        self.lock().register_shard(Box::new(wake))
    }

    /// Adds one viewer of `channel` on a shard.
    ///
    /// # Errors
    /// The channel's key has too many topics.
    pub fn subscribe(
        &self,
        shard: ShardFramesId,
        channel: &Channel,
    ) -> Result<HubSubscription, TooManyParamSets> {
        let mut rooms = self.lock();
        let (room, first) = rooms.add_viewer(channel, Some(shard))?;
        if first {
            self.observer.on_watched(&channel.topic);
        }
        let latest = rooms.latest_frame(room, |snapshot| self.encode(channel, snapshot));
        let stale = rooms.staleness_frame();
        Ok(HubSubscription {
            room,
            latest,
            staleness_frame: stale,
        })
    }

    /// Removes one viewer of a room from a shard.
    pub fn unsubscribe(&self, shard: ShardFramesId, room: RoomId) {
        let mut rooms = self.lock();
        if let Some(topic) = rooms.remove_viewer(room, Some(shard)) {
            self.observer.on_unwatched(&topic);
        }
    }

    /// Compares a row with the topic's last snapshot. If it differs, the row gets a version and is
    /// handed to every viewer.
    pub fn publish(&self, topic: &Topic, row: &StreamRow) -> PublishOutcome {
        let mut rooms = self.lock();
        if self.catalog.is_retired(topic.stream) {
            return PublishOutcome::Unwatched;
        }
        rooms.publish(topic, row, |channel, snapshot| {
            self.encode(channel, snapshot)
        })
    }

    /// Tells the topic's viewers that it cannot be read, since `since_s` (Unix seconds). Repeating it
    /// sends nothing. The next published row ends the state. Returns `true` if viewers were told.
    pub fn set_unreadable(&self, topic: &Topic, since_s: i64) -> bool {
        let mut rooms = self.lock();
        !self.catalog.is_retired(topic.stream) && rooms.set_unreadable(topic, since_s)
    }

    /// Lists these streams of the catalog from now on. Every viewer of a stream that is not among
    /// them goes over to the one that has its name, or leaves.
    pub fn replace_streams(&self, listed: Vec<StreamId>) {
        // Under the lock: no frame of a retired stream comes after its last version was taken, and
        // none of a new one before.
        let mut rooms = self.lock();
        self.catalog.list(listed);
        rooms.retire(|stream| self.catalog.is_retired(stream));
        drop(rooms);
        self.reloads.send_modify(|reloads| *reloads += 1);
    }

    /// Returns a receiver that changes whenever streams were replaced. A viewer that is no
    /// connection of a shard must have it before it resolves its channel.
    pub fn reloads(&self) -> watch::Receiver<u64> {
        self.reloads.subscribe()
    }

    /// Makes every shard try again the subscriptions that wait for a stream, because a stream works
    /// now.
    pub fn retry_subscriptions(&self) {
        self.lock().retry_subscriptions();
    }

    /// Notifies every viewer that the data is stale or fresh again. Repeating the current state
    /// sends nothing.
    pub fn set_staleness(&self, staleness: Staleness) {
        self.lock()
            .set_staleness(staleness, &native::encode_staleness(staleness));
    }

    /// Requests the history of a channel that the caller is a viewer of, and whose stream has one.
    /// The statement starts after this call.
    pub fn read_history(&self, channel: &Channel, reply: HistoryReply) {
        self.observer.read_history(channel, reply);
    }

    /// Returns the number of topics with a viewer, and the number of viewers.
    pub fn counts(&self) -> (usize, usize) {
        self.lock().counts()
    }

    /// Returns the number of watched topics that have parameters.
    pub fn param_sets(&self) -> usize {
        self.lock().param_sets.total()
    }

    /// Returns at most `limit` rooms, those with the most viewers. The number of rooms examined is
    /// bounded, because the lock is held meanwhile.
    pub fn room_stats(&self, limit: usize) -> RoomStats {
        self.lock().room_stats(limit)
    }

    pub(super) fn encode(&self, channel: &Channel, snapshot: &latido_stream::Snapshot) -> Frame {
        native::encode_snapshot(self.catalog.get(channel.topic.stream), channel, snapshot)
    }

    /// Locks the rooms. A panic elsewhere must not stop every stream, and no operation leaves the
    /// rooms half-changed, so a poisoned lock is safe to use.
    pub(super) fn lock(&self) -> MutexGuard<'_, HubRooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
