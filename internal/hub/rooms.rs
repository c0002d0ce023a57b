//! The hub's state: topics, the rooms of each, who is behind them. No lock and no time in sight.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::hub::{Outlet, OutletId, Published, Versioned};
use crate::ident::{Channel, Topic, Version};
use crate::protocol::{Frame, Staleness};
use crate::stream::{Row, SERVER, Snapshot};

/// A channel name with viewers. Never used twice, so that a late message for a room that is gone means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(u64);

pub(super) struct Room {
    pub(super) channel: Channel,
    /// Encoded when first needed, dropped when a newer snapshot comes while no outlet watches.
    latest: Option<Versioned>,
    /// Viewers behind each outlet, by its index; zero: none.
    outlets: Vec<u32>,
    /// Viewers in tokio, made when the first one comes.
    watchers: Option<watch::Sender<Option<Versioned>>>,
    /// All viewers.
    pub(super) viewers: u32,
}

#[derive(Default)]
pub(super) struct TopicState {
    pub(super) latest: Option<Snapshot>,
    /// Usually one; more when clients use several names for it.
    rooms: Vec<RoomId>,
}

pub(super) struct Rooms {
    pub(super) topics: HashMap<Topic, TopicState>,
    pub(super) rooms: HashMap<RoomId, Room>,
    by_name: HashMap<Arc<str>, RoomId>,
    outlets: Vec<Outlet>,
    next_id: u64,
    viewers: usize,
    /// Highest version of any topic that lost its viewers: a topic that comes back starts behind it, so no version is ever used twice.
    retired: Version,
    status: watch::Sender<Option<Frame>>,
    staleness: Staleness,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            topics: HashMap::new(),
            rooms: HashMap::new(),
            by_name: HashMap::new(),
            outlets: Vec::new(),
            next_id: 0,
            viewers: 0,
            retired: Version::default(),
            status: watch::Sender::new(None),
            staleness: Staleness::Fresh,
        }
    }
}

impl Rooms {
    pub(super) fn add_outlet(&mut self, wake: Box<dyn Fn() + Send + Sync>) -> Outlet {
        let outlet = Outlet::new(self.outlets.len(), wake);
        self.outlets.push(outlet.clone());
        outlet
    }

    /// Adds a viewer; says whether it is the topic's first.
    pub(super) fn join(&mut self, channel: &Channel, outlet: Option<OutletId>) -> (RoomId, bool) {
        let id = match self.by_name.get(&channel.name) {
            Some(id) => *id,
            None => self.open(channel),
        };
        let first = self
            .topics
            .get(&channel.topic)
            .is_some_and(|t| t.rooms == [id])
            && self.rooms[&id].viewers == 0;
        if let Some(room) = self.rooms.get_mut(&id) {
            room.viewers += 1;
            if let Some(OutletId(index)) = outlet {
                if room.outlets.len() <= index {
                    room.outlets.resize(index + 1, 0);
                }
                room.outlets[index] += 1;
            }
            self.viewers += 1;
        }
        (id, first)
    }

    fn open(&mut self, channel: &Channel) -> RoomId {
        let id = RoomId(self.next_id);
        self.next_id += 1;
        let room = Room {
            channel: channel.clone(),
            latest: None,
            outlets: Vec::new(),
            watchers: None,
            viewers: 0,
        };
        self.rooms.insert(id, room);
        self.by_name.insert(Arc::clone(&channel.name), id);
        self.topics
            .entry(channel.topic.clone())
            .or_default()
            .rooms
            .push(id);
        id
    }

    /// Takes a viewer away; returns the topic if it was its last.
    pub(super) fn leave(&mut self, id: RoomId, outlet: Option<OutletId>) -> Option<Topic> {
        let room = self.rooms.get_mut(&id)?;
        if let Some(count) = outlet.and_then(|OutletId(index)| room.outlets.get_mut(index)) {
            *count = count.saturating_sub(1);
        }
        room.viewers = room.viewers.saturating_sub(1);
        self.viewers = self.viewers.saturating_sub(1);
        if room.viewers > 0 {
            return None;
        }
        let room = self.rooms.remove(&id)?;
        self.by_name.remove(&room.channel.name);
        let topic = self.topics.get_mut(&room.channel.topic)?;
        topic.rooms.retain(|r| *r != id);
        if !topic.rooms.is_empty() {
            return None;
        }
        // The server's own topics count by its own clock, which may be ahead of the database's.
        if room.channel.topic.stream != SERVER {
            let version = topic
                .latest
                .as_ref()
                .map_or(Version::default(), |s| s.version);
            self.retired = self.retired.max(version);
        }
        self.topics.remove(&room.channel.topic);
        Some(room.channel.topic)
    }

    /// The room's newest frame, encoded now if nobody needed it before.
    pub(super) fn latest(
        &mut self,
        id: RoomId,
        encode: impl Fn(&Snapshot) -> Frame,
    ) -> Option<Versioned> {
        let room = self.rooms.get_mut(&id)?;
        if room.latest.is_none() {
            let snapshot = self.topics.get(&room.channel.topic)?.latest.as_ref()?;
            room.latest = Some(Versioned {
                version: snapshot.version,
                frame: encode(snapshot),
            });
        }
        if let Some(watchers) = &room.watchers {
            watchers.send_if_modified(|seen| replace_older(seen, room.latest.as_ref()));
        }
        room.latest.clone()
    }

    /// Where a viewer in tokio listens: the room's frames, and the status.
    pub(super) fn receivers(
        &mut self,
        id: RoomId,
    ) -> (
        watch::Receiver<Option<Versioned>>,
        watch::Receiver<Option<Frame>>,
    ) {
        let status = self.status.subscribe();
        let Some(room) = self.rooms.get_mut(&id) else {
            return (watch::channel(None).1, status);
        };
        let latest = room.latest.clone();
        let frames = room
            .watchers
            .get_or_insert_with(|| watch::Sender::new(latest))
            .subscribe();
        (frames, status)
    }

    pub(super) fn publish(
        &mut self,
        topic: &Topic,
        row: &Row,
        encode: impl Fn(&Channel, &Snapshot) -> Frame,
    ) -> Published {
        let Some(state) = self.topics.get_mut(topic) else {
            return Published::Unwatched;
        };
        if state
            .latest
            .as_ref()
            .is_some_and(|s| *s.columns == *row.columns)
        {
            return Published::Unchanged;
        }
        let first = state.latest.is_none();
        let previous = state.latest.as_ref().map_or(self.retired, |s| s.version);
        let snapshot = Snapshot::after(previous, row);
        for id in &state.rooms {
            let Some(room) = self.rooms.get_mut(id) else {
                continue;
            };
            let versioned = Versioned {
                version: snapshot.version,
                frame: encode(&room.channel, &snapshot),
            };
            for (outlet, _) in self
                .outlets
                .iter()
                .zip(&room.outlets)
                .filter(|(_, count)| **count > 0)
            {
                outlet.put(*id, versioned.clone());
            }
            if let Some(watchers) = &room.watchers {
                watchers.send_replace(Some(versioned.clone()));
            }
            room.latest = Some(versioned);
        }
        let version = snapshot.version;
        state.latest = Some(snapshot);
        if first {
            Published::First(version)
        } else {
            Published::Changed(version)
        }
    }

    pub(super) fn set_staleness(&mut self, staleness: Staleness, frame: &Frame) {
        if self.staleness == staleness {
            return;
        }
        self.staleness = staleness;
        self.status.send_replace(Some(frame.clone()));
        for outlet in &self.outlets {
            outlet.put_status(frame);
        }
    }

    /// The frame a new viewer must see, if the numbers may be old.
    pub(super) fn stale_frame(&self) -> Option<Frame> {
        match self.staleness {
            Staleness::Fresh => None,
            Staleness::StaleSince(_) => self.status.borrow().clone(),
        }
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        (self.topics.len(), self.viewers)
    }
}

/// Whether a watch channel's value had to be brought up to date.
fn replace_older(seen: &mut Option<Versioned>, latest: Option<&Versioned>) -> bool {
    let newer = latest.map(|l| l.version) > seen.as_ref().map(|s| s.version);
    if newer {
        *seen = latest.cloned();
    }
    newer
}
