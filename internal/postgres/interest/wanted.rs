//! Which buckets are wanted, which are held, and whose keys hang on them. Pure.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::ident::Topic;

/// How long a bucket that nobody wants is kept: viewers who reload a page find it still there.
const LINGER: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Bucket {
    topics: HashSet<Topic>,
    /// On the connection of now.
    is_held: bool,
    /// Since when nobody wants it.
    idle: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct Wanted {
    buckets: HashMap<u16, Bucket>,
}

impl Wanted {
    /// Somebody watches a key of the bucket. True: its lock is held.
    pub(super) fn add(&mut self, bucket: u16, topic: &Topic) -> bool {
        let bucket = self.buckets.entry(bucket).or_default();
        bucket.topics.insert(topic.clone());
        bucket.idle = None;
        bucket.is_held
    }

    /// Nobody watches the key any more.
    pub(super) fn remove(&mut self, bucket: u16, topic: &Topic, now: Instant) {
        let Some(entry) = self.buckets.get_mut(&bucket) else { return };
        entry.topics.remove(topic);
        if !entry.topics.is_empty() {
            return;
        }
        if entry.is_held {
            entry.idle = Some(now);
        } else {
            self.buckets.remove(&bucket);
        }
    }

    /// Wanted, but not held.
    pub(super) fn missing(&self) -> Vec<i32> {
        self.buckets.iter().filter(|(_, entry)| !entry.is_held).map(|(bucket, _)| i32::from(*bucket)).collect()
    }

    /// The lock was taken. Returns the keys whose writers tell from now on; none if nobody wants it any more, and then it is given back later.
    pub(super) fn held(&mut self, bucket: i32, now: Instant) -> Vec<Topic> {
        let Ok(bucket) = u16::try_from(bucket) else { return Vec::new() };
        let entry = self.buckets.entry(bucket).or_insert_with(|| Bucket { idle: Some(now), ..Bucket::default() });
        entry.is_held = true;
        entry.topics.iter().cloned().collect()
    }

    /// Whether the bucket's lock is still worth waiting for.
    pub(super) fn is_missing(&self, bucket: i32) -> bool {
        let entry = u16::try_from(bucket).ok().and_then(|bucket| self.buckets.get(&bucket));
        entry.is_some_and(|entry| !entry.is_held)
    }

    /// The connection is gone, and every lock with it.
    pub(super) fn lost(&mut self) {
        self.buckets.retain(|_, bucket| !bucket.topics.is_empty());
        self.buckets.values_mut().for_each(|bucket| bucket.is_held = false);
    }

    /// Forgets the buckets that nobody has wanted for a while; their locks are to be given back.
    pub(super) fn take_idle(&mut self, now: Instant) -> Vec<i32> {
        let idle = |entry: &Bucket| entry.idle.is_some_and(|since| now.saturating_duration_since(since) >= LINGER);
        self.buckets.extract_if(|_, entry| idle(entry)).map(|(bucket, _)| i32::from(bucket)).collect()
    }

    /// When the next bucket will have been idle long enough.
    pub(super) fn next_idle(&self) -> Option<Instant> {
        self.buckets.values().filter_map(|entry| entry.idle).min().map(|since| since + LINGER)
    }

    /// Locks held, and locks wanted but not held.
    pub(super) fn counts(&self) -> (usize, usize) {
        let held = self.buckets.values().filter(|entry| entry.is_held).count();
        (held, self.buckets.len() - held)
    }
}
