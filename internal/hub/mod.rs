//! Who watches what, and the newest frame of each.
//!
//! The hub never awaits and never touches a socket. It keeps, per topic, the last snapshot, and per channel name (a *room*) the frame
//! encoded from it. Shards have an [`Outlet`] each, in which a newer frame of a room replaces an older one that was not yet taken:
//! the outlet is bounded by the number of rooms, however fast the publisher is. Clients that live in tokio hold a [`Watcher`].
//!
//! One mutex guards all of it. It is held for hash look-ups and one small encoding, never across a system call.

pub mod exchange;
mod outlet;
mod rooms;
mod survey;
mod watcher;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ident::{Channel, Topic, Version};
use crate::protocol::{Frame, Staleness, native};
use crate::stream::{Catalog, Row};

pub use outlet::{Outlet, OutletId, Pending};
pub use rooms::RoomId;
use rooms::Rooms;
pub use survey::{RoomView, Survey};
pub use watcher::{Update, Watcher};

/// A frame with its place in the topic's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// Of the snapshot in it.
    pub version: Version,
    /// Encoded under the room's name.
    pub frame: Frame,
}

/// Told, under the hub's lock and so in order, when a topic gains its first viewer and loses its last.
pub trait Observer: Send + Sync {
    /// The topic has a viewer now and must be read.
    fn watched(&self, topic: &Topic);
    /// Nobody is left.
    fn unwatched(&self, topic: &Topic);
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// Nobody watches this topic any more.
    Unwatched,
    /// Equal to the last snapshot: nothing was sent.
    Unchanged,
    /// The topic's first snapshot.
    First(Version),
    /// Sent to all viewers.
    Changed(Version),
}

/// See the module's documentation.
pub struct Hub {
    catalog: Arc<Catalog>,
    observer: Box<dyn Observer>,
    rooms: Mutex<Rooms>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

/// What a new viewer needs to know.
#[derive(Debug)]
pub struct Subscribed {
    /// Where its frames will come from.
    pub room: RoomId,
    /// The newest frame, unless none was ever read: then it follows as soon as it is.
    pub latest: Option<Versioned>,
    /// The status frame to send along while the database can't be read.
    pub stale: Option<Frame>,
}

impl Hub {
    /// An empty hub.
    pub fn new(catalog: Arc<Catalog>, observer: Box<dyn Observer>) -> Self {
        Self {
            catalog,
            observer,
            rooms: Mutex::default(),
        }
    }

    /// Registers a shard. `wake` is called, from any thread, when its outlet stops being empty.
    pub fn add_outlet(&self, wake: impl Fn() + Send + Sync + 'static) -> Outlet {
        self.lock().add_outlet(Box::new(wake))
    }

    /// Adds one viewer of `channel` behind an outlet.
    pub fn subscribe(&self, outlet: OutletId, channel: &Channel) -> Subscribed {
        let mut rooms = self.lock();
        let (room, first) = rooms.join(channel, Some(outlet));
        if first {
            self.observer.watched(&channel.topic);
        }
        let latest = rooms.latest(room, |snapshot| self.encode(channel, snapshot));
        let stale = rooms.stale_frame();
        Subscribed {
            room,
            latest,
            stale,
        }
    }

    /// Takes one viewer of a room away again.
    pub fn unsubscribe(&self, outlet: OutletId, room: RoomId) {
        let mut rooms = self.lock();
        if let Some(topic) = rooms.leave(room, Some(outlet)) {
            self.observer.unwatched(&topic);
        }
    }

    /// Adds a viewer that lives in tokio; it leaves when dropped.
    pub fn watch(self: &Arc<Self>, channel: &Channel) -> Watcher {
        let mut rooms = self.lock();
        let (room, first) = rooms.join(channel, None);
        if first {
            self.observer.watched(&channel.topic);
        }
        // Encoding first: the receiver is handed out with the newest frame in it.
        let _ = rooms.latest(room, |snapshot| self.encode(channel, snapshot));
        let (frames, status) = rooms.receivers(room);
        let stale = rooms.stale_frame().is_some();
        Watcher::new(Arc::clone(self), room, frames, status, stale)
    }

    pub(crate) fn unwatch(&self, room: RoomId) {
        let mut rooms = self.lock();
        if let Some(topic) = rooms.leave(room, None) {
            self.observer.unwatched(&topic);
        }
    }

    /// Compares a row with the topic's last snapshot, and if it differs gives it a version and hands it to every viewer.
    pub fn publish(&self, topic: &Topic, row: &Row) -> Published {
        self.lock().publish(topic, row, |channel, snapshot| {
            self.encode(channel, snapshot)
        })
    }

    /// Tells every viewer whether the numbers may be old. Repeating the same is silent.
    pub fn set_staleness(&self, staleness: Staleness) {
        self.lock()
            .set_staleness(staleness, &native::encode_staleness(staleness));
    }

    /// Topics with a viewer, and viewers in all.
    pub fn counts(&self) -> (usize, usize) {
        self.lock().counts()
    }

    /// The rooms with the most viewers, at most so many. Looks at a bounded number of rooms, because it holds the lock meanwhile.
    pub fn survey(&self, most: usize) -> Survey {
        self.lock().survey(most)
    }

    fn encode(&self, channel: &Channel, snapshot: &crate::stream::Snapshot) -> Frame {
        native::encode_snapshot(self.catalog.get(channel.topic.stream), channel, snapshot)
    }

    /// A panic elsewhere must not stop every stream: no operation leaves the rooms half-changed.
    fn lock(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
