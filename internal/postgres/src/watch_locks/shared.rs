//! The state that the watch locks and their holder share.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use tokio::sync::{Notify, watch};

use super::lock_hash;
use super::lock_table::{KeyLocks, LockTable};
use latido_base::ident::{StreamId, Topic};
use latido_stream::{Catalog, Stream, WatchLockEvent};

/// The part of a stream that decides on its locks.
pub(super) struct StreamLocks {
    name: String,
    /// The first gate lock, if the stream has a gate.
    gate: Option<u16>,
    /// True if a trigger looks keys up, so that moves matter.
    looks_up_keys: bool,
}

impl StreamLocks {
    fn of(stream: &Stream) -> Self {
        let gate = || lock_hash::gate_locks(&stream.name).start;
        Self {
            name: stream.name.clone(),
            gate: stream.has_gate().then(gate),
            looks_up_keys: stream.looks_up_keys(),
        }
    }
}

pub(super) struct WatchLocksShared {
    pub(super) table: Mutex<LockTable>,
    /// The signal that the lock table has a new entry or a lock to release.
    pub(super) wake: Notify,
    /// True if there is a connection that can hold locks.
    pub(super) is_connected: watch::Sender<bool>,
    /// All streams, indexed by their id. Held for a look-up, or while a reload adds some.
    streams: RwLock<Vec<StreamLocks>>,
}

impl WatchLocksShared {
    pub(super) fn new(catalog: &Catalog) -> Self {
        let shared = Self {
            table: Mutex::default(),
            wake: Notify::new(),
            is_connected: watch::Sender::new(false),
            streams: RwLock::default(),
        };
        shared.add_streams(catalog);
        shared
    }

    /// Adds the streams that the catalog has beyond those known here.
    pub(super) fn add_streams(&self, catalog: &Catalog) {
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        let new = catalog.all_from(streams.len());
        streams.extend(new.map(|(_, stream)| StreamLocks::of(stream)));
    }

    fn streams(&self) -> RwLockReadGuard<'_, Vec<StreamLocks>> {
        self.streams.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, LockTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the locks of the key of a topic, whatever its parameters are.
    pub(super) fn key_locks(&self, topic: &Topic) -> KeyLocks {
        let StreamId(index) = topic.stream;
        let streams = self.streams();
        let stream = streams.get(usize::from(index));
        let name = stream.map_or("", |stream| &stream.name);
        KeyLocks {
            pair: lock_hash::lock_pair(name, topic.key.parts()),
            gate: stream.and_then(|stream| stream.gate),
        }
    }

    /// Marks locks as held. Returns what follows for the engine.
    pub(super) fn mark_held(&self, locks: &[i32], now: Instant) -> Vec<WatchLockEvent> {
        let mut table = self.lock();
        let (mut enabled, mut complete_gates) = (Vec::new(), Vec::new());
        for lock in locks {
            let mut outcome = table.mark_held(*lock, now);
            enabled.append(&mut outcome.enabled);
            complete_gates.extend(outcome.complete_gate);
        }
        drop(table);
        // Streams may share a gate, and all of them have it now.
        let looks_up = |stream: &StreamLocks| {
            let is_complete = |gate: &u16| complete_gates.contains(gate);
            stream.looks_up_keys && stream.gate.as_ref().is_some_and(is_complete)
        };
        let streams = self.streams();
        let ids = (0..).map(StreamId).zip(&*streams);
        let moving = ids.filter(|(_, stream)| looks_up(stream));
        let moving: Vec<_> = moving.map(|(id, _)| id).collect();
        let mut events = Vec::new();
        if !moving.is_empty() {
            events.push(WatchLockEvent::MovesNotified(moving));
        }
        if !enabled.is_empty() {
            events.push(WatchLockEvent::NotificationsEnabled(enabled));
        }
        events
    }
}
