//! The interest gate: writers of keys that nobody watches send no notification.
//!
//! A committing NOTIFY takes a lock of the whole server across its flush, so a writer had better not notify for nothing. Each key has
//! two advisory locks, one in each of two halves of a hash, of 1,024 buckets each. A server holds *both* as *shared* for every key that it watches; a
//! writer's trigger *tries* the *exclusive* lock of the first, and if that is refused, of the second. Got either: no server watches,
//! so it stays silent, and keeps the lock to the end of its transaction. Refused twice: it notifies. Triggers for rows and triggers for
//! statements (`install/row.sql`, `install/gate.sql`) do this alike; the former try the first lock before they look at what changed.
//!
//! A server counts a key as watched only once it holds both locks, and reads after that. By then every silent writer has ended and
//! its changes are visible (the server makes a commit visible before it releases its locks), and none can become silent any more. A
//! writer never waits, so none of this can deadlock. What shares a lock with a watched key, or with a silent writer, costs a needless
//! notification only if the same happens to its other lock: with 100 watched keys to 1 writer in 100 instead of 1 in 10. When the
//! connection is lost, so are the locks: they are taken again, and then everything is read again.
//!
//! The locks are session locks, so the connection must be a direct one: they are asked for only while the listener has proven that.

mod bucket;
mod keeper;
mod wanted;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::drain::Drain;
use crate::ident::{StreamId, Topic};
use crate::postgres::{Database, ListenerState};
use crate::stream::Catalog;
use crate::telemetry::Metrics;

use bucket::CLASS;
pub(in crate::postgres) use bucket::{LOCKS, hash_sql, probe_sql, try_first_sql, try_second_sql};
use wanted::Wanted;

/// What the keeper of the locks has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declared {
    /// Writers of these keys tell of their changes from now on; what they changed in silence is visible: read.
    Armed(Vec<Topic>),
    /// The locks are gone: writers may have fallen silent.
    Lost,
}

struct Shared {
    wanted: Mutex<Wanted>,
    /// Rung when something was added to `wanted`.
    wake: Notify,
    /// Whether there is a connection to hold locks on.
    up: watch::Sender<bool>,
}

/// Where interest is declared. Clones share it.
#[derive(Clone)]
pub struct Interest {
    shared: Arc<Shared>,
    names: Arc<[String]>,
}

impl Interest {
    /// A place to declare interest in; nothing is locked before [`Interest::start`].
    pub fn new(catalog: &Catalog) -> Self {
        let names = catalog
            .iter()
            .map(|(_, stream)| stream.name.clone())
            .collect();
        let shared = Shared {
            wanted: Mutex::default(),
            wake: Notify::new(),
            up: watch::Sender::new(false),
        };
        Self {
            shared: Arc::new(shared),
            names,
        }
    }

    /// Takes and gives back locks for as long as the server runs, while `listening` says that the road to the database is a direct one.
    /// `sink` is called from one task and must not block.
    pub fn start<S>(
        &self,
        database: &Database,
        listening: watch::Receiver<ListenerState>,
        metrics: &Arc<Metrics>,
        drain: &Drain,
        sink: S,
    ) where
        S: Fn(Declared) + Send + Sync + 'static,
    {
        let keeper = keeper::Keeper {
            shared: Arc::clone(&self.shared),
            database: database.clone(),
            listening,
            metrics: Arc::clone(metrics),
            sink: Box::new(sink),
        };
        drain.spawn_until_stop(keeper.run());
    }

    /// Whether locks can be held at the moment, and changes of that.
    pub fn watch_state(&self) -> watch::Receiver<bool> {
        self.shared.up.subscribe()
    }

    /// The key has viewers. `Some(true)`: its locks are held. `Some(false)`: they will be asked for. `None`: they can't be asked for now, but
    /// will be when they can.
    pub fn add(&self, topic: &Topic) -> Option<bool> {
        let held = self.shared.lock().add(self.locks(topic), topic);
        if held {
            return Some(true);
        }
        self.shared.wake.notify_one();
        self.shared.up.borrow().then_some(false)
    }

    /// The key has viewers, but is read on a timer: its locks are given back at once, unless other keys need both. False: they do, so its
    /// writers go on telling, and it is as if nothing had been asked.
    pub fn relax(&self, topic: &Topic) -> bool {
        let relaxed = self
            .shared
            .lock()
            .relax(self.locks(topic), topic, crate::clock::instant());
        self.shared.wake.notify_one();
        relaxed
    }

    /// The key has no viewers any more.
    pub fn remove(&self, topic: &Topic) {
        self.shared
            .lock()
            .remove(self.locks(topic), topic, crate::clock::instant());
        self.shared.wake.notify_one();
    }

    fn locks(&self, topic: &Topic) -> [u16; 2] {
        let StreamId(index) = topic.stream;
        let name = self
            .names
            .get(usize::from(index))
            .map_or("", String::as_str);
        bucket::locks(name, topic.key.as_str())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Interest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interest")
            .field("counts", &self.shared.lock().counts())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "simulated_tests.rs"]
mod simulated;
