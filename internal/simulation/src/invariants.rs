//! The invariants after every step and at the end.

use std::time::Duration;

use serde_json::Value;

use crate::database_model::{today, zone};
use crate::event_stream::SimEventStream;
use crate::server::ZONE;
use crate::topics::{TOPICS, order_topic, topic, topic_of_channel, topics_of_key};
use crate::viewer::SimViewer;
use crate::violation::Violation;
use crate::world::SimWorld;
use latido_hub::LatestColumns;

/// The longest time until the engine notices a jump of the wall clock.
const MAX_CLOCK_DELAY: Duration = Duration::from_secs(15);

/// The time by which a timer may be late, since timers have whole seconds.
const LEASE_MARGIN: Duration = Duration::from_secs(3);

impl SimWorld {
    /// Returns the row of a key in the database for today.
    fn expected_row(&self, key: u8) -> String {
        self.database.row(
            key,
            today(if self.zones { zone(key) } else { ZONE }, self.wall()),
        )
    }

    /// Asserts that every watched key whose frame differs from the database will be read again, and
    /// that something ensures this.
    pub(super) fn check_invariants(&self) -> Result<(), Violation> {
        self.check_sleep()?;
        (0..TOPICS).try_for_each(|key| self.check_key(key))?;
        if let Some(violation) = &self.too_soon {
            return Err(violation.clone());
        }
        let mut streams = self.event_streams.iter();
        streams.try_for_each(|stream| stream.check(&self.server.hub))?;
        self.viewers
            .iter()
            .enumerate()
            .try_for_each(|(number, viewer)| self.check_viewer(number, viewer))
    }

    /// Asserts that no viewer keeps a channel whose right was withdrawn and that no claim grants.
    fn check_rights(&self, number: usize, viewer: &SimViewer) -> Result<(), Violation> {
        let longest = self.server.lease_check() + LEASE_MARGIN;
        for name in viewer.subscribed.keys() {
            let key = topic_of_channel(name);
            let has_claim = number == 0 && key < 2;
            let since = self.withdrawn.get(&(number, key));
            let withdrawn = since.map(|at| self.now.saturating_duration_since(*at));
            if !has_claim && withdrawn.is_some_and(|time| time > longest) {
                return Err(format!(
                    "viewer {number} keeps {name} without the right to it"
                ));
            }
        }
        Ok(())
    }

    /// Asserts that a viewer that reads has the hub's newest frame: nothing is held back once its
    /// socket accepts data.
    fn check_viewer(&self, number: usize, viewer: &SimViewer) -> Result<(), Violation> {
        if viewer.is_paused {
            return Ok(());
        }
        self.check_rights(number, viewer)?;
        for (name, seen) in &viewer.subscribed {
            let is_unreadable = self
                .server
                .hub
                .is_unreadable(&topic(topic_of_channel(name)));
            if is_unreadable != seen.is_told {
                return Err(format!(
                    "viewer {number} reads and was told of a failure of {name}: {}, and it fails: {is_unreadable}",
                    seen.is_told
                ));
            }
            if seen.is_old != (is_unreadable && seen.version > 0) {
                return Err(format!(
                    "viewer {number} takes {name} for old: {}, and it fails: {is_unreadable}",
                    seen.is_old
                ));
            }
            if is_unreadable {
                continue;
            }
            let newest = self
                .server
                .hub
                .latest_version(&topic(topic_of_channel(name)))
                .map_or(0, |version| version.0);
            if seen.version != newest {
                return Err(format!(
                    "viewer {number} reads, has version {} of {name}, and the newest is {newest}",
                    seen.version
                ));
            }
        }
        Ok(())
    }

    fn check_key(&self, key: u8) -> Result<(), Violation> {
        let current = self.server.hub.latest_columns(&topic(key));
        if current == LatestColumns::Unwatched {
            return Ok(());
        }
        self.check_failing_key(key)?;
        let truth = self.expected_row(key);
        if current == LatestColumns::Known(truth.as_str().into())
            || self.server.actor.is_pending(&topic(key))
        {
            return Ok(());
        }
        let is_read = self
            .reads
            .0
            .lock()
            .unwrap()
            .iter()
            .any(|read| read.will_return(key, &truth));
        let is_notified = self.database.is_notified(&topics_of_key(&topic(key).key));
        let is_jumping = self
            .jumped
            .is_some_and(|at| self.now.saturating_duration_since(at) <= MAX_CLOCK_DELAY);
        // Only the sweep finds lost notifications, and it is on in these runs.
        if is_read
            || is_notified
            || self.server.actor.is_moved(&topic(key))
            || is_jumping
            || self.lost
            || !self.is_listener_up
            || !self.database.is_watched(key)
        {
            return Ok(());
        }
        let current = match &current {
            LatestColumns::Known(columns) => columns,
            LatestColumns::NotRead | LatestColumns::Unwatched => "nothing",
        };
        Err(format!(
            "key {key} shows {current:.80}, is {truth:.80}, and no read of it is pending"
        ))
    }

    /// Asserts that the viewers of a key are told if its last read was refused, or if its stream is
    /// broken.
    fn check_failing_key(&self, key: u8) -> Result<(), Violation> {
        let topic = topic(key);
        let (actor, status) = (&self.server.actor, self.server.catalog.status(topic.stream));
        let is_refused = self.refused.get(&key) == Some(&self.server.left(key));
        let is_read = || {
            let reads = self.reads.0.lock().unwrap();
            reads.iter().any(|read| read.keys.contains(&key))
        };
        let is_broken = status.is_broken() && !actor.is_marked(&topic) && !is_read();
        if (is_refused || is_broken) && !self.server.hub.is_unreadable(&topic) {
            return Err(format!("key {key} cannot be read, and nobody was told"));
        }
        Ok(())
    }

    /// Asserts that a client shows the database's row of a topic.
    fn check_row(&self, number: u8, data: &Value) -> Result<(), Violation> {
        let truth: Value = serde_json::from_str(&self.expected_row(number)).unwrap();
        let columns: &[_] = match order_topic(number) {
            Some(_) => &["lineas", "total"],
            None => &["citas_hoy", "total_citas", "citas_completadas"],
        };
        match columns.iter().find(|name| data[**name] != truth[**name]) {
            Some(wrong) => Err(format!(
                "topic {number} shows {wrong} {}, and it is {}",
                data[*wrong], truth[*wrong]
            )),
            None => Ok(()),
        }
    }

    /// Asserts the final state: every viewer shows the database's numbers, and no response is
    /// pending.
    pub(super) fn check_final_state(&self) -> Result<(), Violation> {
        for (number, viewer) in self
            .viewers
            .iter()
            .enumerate()
            .filter(|(_, viewer)| viewer.is_connected())
        {
            for (name, seen) in &viewer.subscribed {
                self.check_row(topic_of_channel(name), &seen.data)
                    .map_err(|wrong| format!("viewer {number}: {wrong}"))?;
            }
            if viewer
                .subscribed
                .values()
                .any(|seen| seen.is_told || seen.is_old)
            {
                return Err(format!("viewer {number} still takes a channel for failing"));
            }
            if viewer.is_stale && !viewer.subscribed.is_empty() {
                return Err(format!(
                    "viewer {number} still takes its numbers for old ones"
                ));
            }
        }
        for (number, data, is_told) in self.event_streams.iter().flat_map(SimEventStream::rows) {
            self.check_row(number, data)
                .map_err(|wrong| format!("an event stream: {wrong}"))?;
            if is_told {
                return Err("an event stream still takes a channel for failing".to_owned());
            }
        }
        let by_socket = self.viewers.iter().map(|viewer| viewer.subscribed.len());
        let by_stream = self.event_streams.iter().map(SimEventStream::len);
        let held: usize = by_socket.chain(by_stream).sum();
        let (_, subscribed) = self.server.hub.counts();
        if subscribed != held {
            return Err(format!(
                "the hub counts {subscribed} viewers, and there are {held}"
            ));
        }
        let engine = &self.server.engine;
        match (engine.dirty_keys(), engine.moved_keys(), self.hooks.len()) {
            (0, 0, 0) => Ok(()),
            (dirty, moved, hooks) => Err(format!(
                "{dirty} keys are still to be read, {moved} wait for transactions, {hooks} hooks wait"
            )),
        }
    }

    /// Asserts that nothing is kept after every client has disconnected.
    pub(super) fn check_nothing_is_left(&self) -> Result<(), Violation> {
        let left = (
            self.server.hub.counts(),
            self.server.shard.slots_in_use(),
            self.database.shared.len(),
            self.server.engine.moved_keys(),
        );
        if left == ((0, 0), 0, 0, 0) {
            Ok(())
        } else {
            Err(format!(
                "topics and viewers, sockets, locks, moved keys: {left:?}"
            ))
        }
    }
}
