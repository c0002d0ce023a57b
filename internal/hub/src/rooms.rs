//! The hub's state: topics, their rooms, and the number of viewers. It contains no lock and no
//! clock.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::frame::{FrameContent, PublishOutcome, RoomId, VersionedFrame};
use crate::param_sets::{ParamSets, TooManyParamSets};
use crate::pending_frames::{ShardFrames, ShardFramesId};
use latido_base::ident::{Channel, StreamId, Topic, Version};
use latido_protocol::{Frame, Staleness, native};
use latido_stream::{SYSTEM_STREAM, Snapshot, StreamRow};

pub(super) struct HubRoom {
    pub(super) channel: Channel,
    /// The newest frame, encoded when it is first needed.
    latest_frame: Option<VersionedFrame>,
    /// The number of viewers on each shard, by the shard's index.
    shard_viewers: Vec<u32>,
    /// The channel to viewers in Tokio tasks, created for the first of them.
    async_subscribers: Option<watch::Sender<Option<VersionedFrame>>>,
    /// The number of all viewers of the room.
    pub(super) viewers: u32,
}

#[derive(Default)]
pub(super) struct TopicState {
    pub(super) latest_snapshot: Option<Snapshot>,
    /// Set while the topic cannot be read: the version that the error took, and its content.
    pub(super) unreadable: Option<(Version, FrameContent)>,
    /// The topic's rooms: usually one, and more when clients use several names for it.
    rooms: Vec<RoomId>,
}

impl TopicState {
    /// Returns the version of the last snapshot or of the current error. `retired` counts for a
    /// topic without either.
    fn last_version(&self, retired: Version) -> Version {
        let snapshot = self.latest_snapshot.as_ref().map(|s| s.version);
        let error = self.unreadable.map(|(version, _)| version);
        error.max(snapshot).unwrap_or(retired)
    }
}

pub(super) struct HubRooms {
    pub(super) topics: HashMap<Topic, TopicState>,
    pub(super) rooms: HashMap<RoomId, HubRoom>,
    /// Two streams have the same channels while one replaces the other.
    by_name: HashMap<(StreamId, Arc<str>), RoomId>,
    pub(super) param_sets: ParamSets,
    shards: Vec<ShardFrames>,
    next_id: u64,
    viewers: usize,
    /// The highest version of any topic that lost its viewers. A topic that gains viewers again
    /// continues after it, so no version is ever used twice.
    retired_version: Version,
    status: watch::Sender<Option<Frame>>,
    staleness: Staleness,
}

impl Default for HubRooms {
    fn default() -> Self {
        Self {
            topics: HashMap::new(),
            rooms: HashMap::new(),
            by_name: HashMap::new(),
            param_sets: ParamSets::default(),
            shards: Vec::new(),
            next_id: 0,
            viewers: 0,
            retired_version: Version::default(),
            status: watch::Sender::new(None),
            staleness: Staleness::Fresh,
        }
    }
}

impl HubRooms {
    pub(super) fn register_shard(&mut self, wake: Box<dyn Fn() + Send + Sync>) -> ShardFrames {
        let shard = ShardFrames::new(self.shards.len(), wake);
        self.shards.push(shard.clone());
        shard
    }

    /// Adds a viewer. Returns the room, and `true` if this is the topic's first viewer.
    ///
    /// # Errors
    /// The topic would be one too many of its key.
    pub(super) fn add_viewer(
        &mut self,
        channel: &Channel,
        shard: Option<ShardFramesId>,
    ) -> Result<(RoomId, bool), TooManyParamSets> {
        let name = (channel.topic.stream, Arc::clone(&channel.name));
        let id = match self.by_name.get(&name) {
            Some(id) => *id,
            None => self.open_room(channel)?,
        };
        let first = self
            .topics
            .get(&channel.topic)
            .is_some_and(|t| t.rooms == [id])
            && self.rooms[&id].viewers == 0;
        if let Some(room) = self.rooms.get_mut(&id) {
            room.viewers += 1;
            if let Some(ShardFramesId(index)) = shard {
                if room.shard_viewers.len() <= index {
                    room.shard_viewers.resize(index + 1, 0);
                }
                room.shard_viewers[index] += 1;
            }
            self.viewers += 1;
        }
        Ok((id, first))
    }

    fn open_room(&mut self, channel: &Channel) -> Result<RoomId, TooManyParamSets> {
        if !self.topics.contains_key(&channel.topic) {
            self.param_sets.add(&channel.topic)?;
        }
        let id = RoomId(self.next_id);
        self.next_id += 1;
        let room = HubRoom {
            channel: channel.clone(),
            latest_frame: None,
            shard_viewers: Vec::new(),
            async_subscribers: None,
            viewers: 0,
        };
        self.rooms.insert(id, room);
        let name = (channel.topic.stream, Arc::clone(&channel.name));
        self.by_name.insert(name, id);
        self.topics
            .entry(channel.topic.clone())
            .or_default()
            .rooms
            .push(id);
        Ok(id)
    }

    /// Removes a viewer. Returns the topic if this was its last viewer.
    pub(super) fn remove_viewer(
        &mut self,
        id: RoomId,
        shard: Option<ShardFramesId>,
    ) -> Option<Topic> {
        let room = self.rooms.get_mut(&id)?;
        if let Some(count) =
            shard.and_then(|ShardFramesId(index)| room.shard_viewers.get_mut(index))
        {
            *count = count.saturating_sub(1);
        }
        room.viewers = room.viewers.saturating_sub(1);
        self.viewers = self.viewers.saturating_sub(1);
        if room.viewers > 0 {
            return None;
        }
        let room = self.rooms.remove(&id)?;
        let name = Arc::clone(&room.channel.name);
        self.by_name.remove(&(room.channel.topic.stream, name));
        let topic = self.topics.get_mut(&room.channel.topic)?;
        topic.rooms.retain(|r| *r != id);
        if !topic.rooms.is_empty() {
            return None;
        }
        // System topics get their versions from the server's clock, which may be ahead of the
        // database's.
        if room.channel.topic.stream != SYSTEM_STREAM {
            let version = topic
                .latest_snapshot
                .as_ref()
                .map_or(Version::default(), |s| s.version);
            self.retired_version = self.retired_version.max(version);
        }
        self.topics.remove(&room.channel.topic);
        self.param_sets.remove(&room.channel.topic);
        Some(room.channel.topic)
    }

    /// Returns the room's newest frame, and encodes it if that has not happened yet.
    pub(super) fn latest_frame(
        &mut self,
        id: RoomId,
        encode: impl Fn(&Snapshot) -> Frame,
    ) -> Option<VersionedFrame> {
        let room = self.rooms.get_mut(&id)?;
        if room.latest_frame.is_none() {
            let topic = self.topics.get(&room.channel.topic)?;
            room.latest_frame = match (topic.unreadable, &topic.latest_snapshot) {
                (Some(error), _) => Some(unreadable_frame(&room.channel, error)),
                (None, Some(snapshot)) => Some(VersionedFrame {
                    version: snapshot.version,
                    frame: encode(snapshot),
                    content: FrameContent::Snapshot,
                }),
                (None, None) => return None,
            };
        }
        if let Some(subscribers) = &room.async_subscribers {
            subscribers.send_if_modified(|seen| replace_older(seen, room.latest_frame.as_ref()));
        }
        room.latest_frame.clone()
    }

    /// Returns the receivers of a viewer in a Tokio task: the room's frames, and the status.
    pub(super) fn receivers(
        &mut self,
        id: RoomId,
    ) -> (
        watch::Receiver<Option<VersionedFrame>>,
        watch::Receiver<Option<Frame>>,
    ) {
        let status = self.status.subscribe();
        let Some(room) = self.rooms.get_mut(&id) else {
            return (watch::channel(None).1, status);
        };
        let latest = room.latest_frame.clone();
        let frames = room
            .async_subscribers
            .get_or_insert_with(|| watch::Sender::new(latest))
            .subscribe();
        (frames, status)
    }

    pub(super) fn publish(
        &mut self,
        topic: &Topic,
        row: &StreamRow,
        encode: impl Fn(&Channel, &Snapshot) -> Frame,
    ) -> PublishOutcome {
        let retired = self.retired_version;
        let Some(state) = self.topics.get_mut(topic) else {
            return PublishOutcome::Unwatched;
        };
        let was_unreadable = state.unreadable.is_some();
        let latest = state.latest_snapshot.as_ref();
        if !was_unreadable && latest.is_some_and(|s| *s.columns == *row.columns) {
            return PublishOutcome::Unchanged;
        }
        let is_first = latest.is_none();
        let snapshot = Snapshot::after(state.last_version(retired), row);
        let version = snapshot.version;
        state.unreadable = None;
        state.latest_snapshot = Some(snapshot.clone());
        self.send_to_rooms(topic, |channel| VersionedFrame {
            version,
            frame: encode(channel, &snapshot),
            content: FrameContent::Snapshot,
        });
        match (was_unreadable, is_first) {
            (true, _) => PublishOutcome::Recovered(version),
            (false, true) => PublishOutcome::First(version),
            (false, false) => PublishOutcome::Changed(version),
        }
    }

    /// Tells the topic's viewers that it cannot be read since `since_s` (Unix seconds), unless they
    /// were told. Returns `true` if they were not.
    pub(super) fn set_unreadable(&mut self, topic: &Topic, since_s: i64) -> bool {
        let retired = self.retired_version;
        let Some(state) = self.topics.get_mut(topic) else {
            return false;
        };
        if state.unreadable.is_some() {
            return false;
        }
        // The error takes a version of its own, so that it and the snapshots around it replace one
        // another like snapshots do. It is not on the wire.
        let version = state.last_version(retired).next(0);
        let stale_since = state.latest_snapshot.as_ref().map(|_| since_s);
        let error = (version, FrameContent::Unreadable { stale_since });
        state.unreadable = Some(error);
        self.send_to_rooms(topic, |channel| unreadable_frame(channel, error));
        true
    }

    /// Hands a frame to every viewer of the topic, encoded once per room.
    fn send_to_rooms(&mut self, topic: &Topic, encode: impl Fn(&Channel) -> VersionedFrame) {
        let rooms = self.topics.get(topic).map_or(&[][..], |state| &state.rooms);
        for id in rooms {
            let Some(room) = self.rooms.get_mut(id) else {
                continue;
            };
            let versioned = encode(&room.channel);
            for (shard, _) in self
                .shards
                .iter()
                .zip(&room.shard_viewers)
                .filter(|(_, count)| **count > 0)
            {
                shard.put_frame(*id, versioned.clone());
            }
            if let Some(subscribers) = &room.async_subscribers {
                subscribers.send_replace(Some(versioned.clone()));
            }
            room.latest_frame = Some(versioned);
        }
    }

    /// Makes the topics of all other streams continue after the versions of these, which get no new
    /// frame: a client must never see the versions of a channel fall. Then makes every shard go over.
    pub(super) fn retire(&mut self, is_retired: impl Fn(StreamId) -> bool) {
        let retired = self
            .topics
            .iter()
            .filter(|(topic, _)| is_retired(topic.stream));
        let versions = retired.map(|(_, state)| state.last_version(Version::default()));
        self.retired_version = versions.fold(self.retired_version, Version::max);
        self.shards.iter().for_each(ShardFrames::put_replacement);
    }

    /// Makes every shard try again the subscriptions that wait for a stream to work.
    pub(super) fn retry_subscriptions(&self) {
        self.shards.iter().for_each(ShardFrames::put_retry);
    }

    pub(super) fn set_staleness(&mut self, staleness: Staleness, frame: &Frame) {
        if self.staleness == staleness {
            return;
        }
        self.staleness = staleness;
        self.status.send_replace(Some(frame.clone()));
        for shard in &self.shards {
            shard.put_status(frame);
        }
    }

    /// Returns the status frame that a new viewer must get if the data may be stale.
    pub(super) fn staleness_frame(&self) -> Option<Frame> {
        match self.staleness {
            Staleness::Fresh => None,
            Staleness::StaleSince(_) => self.status.borrow().clone(),
        }
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        (self.topics.len(), self.viewers)
    }
}

fn unreadable_frame(
    channel: &Channel,
    (version, content): (Version, FrameContent),
) -> VersionedFrame {
    VersionedFrame {
        version,
        frame: native::encode_unreadable(channel),
        content,
    }
}

/// Brings the value of a watch channel up to date. Returns `true` if it was older.
fn replace_older(seen: &mut Option<VersionedFrame>, latest: Option<&VersionedFrame>) -> bool {
    let newer = latest.map(|l| l.version) > seen.as_ref().map(|s| s.version);
    if newer {
        *seen = latest.cloned();
    }
    newer
}
