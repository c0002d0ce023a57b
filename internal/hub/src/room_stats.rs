//! Statistics of the rooms, for operators.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::rooms::{HubRoom, HubRooms};
use latido_stream::{SYSTEM_STREAM, Snapshot};

/// The maximum number of rooms examined. The lock is held meanwhile; this many take well under a
/// millisecond.
const MAX_SCANNED: usize = 10_000;

/// A summary of one room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSummary {
    /// The name of the room's channel.
    pub name: Arc<str>,
    /// The number of all viewers of the room.
    pub viewers: u32,
    /// The newest snapshot, or `None` if the topic has not been read yet.
    pub latest: Option<Snapshot>,
}

/// The rooms with the most viewers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomStats {
    /// The rooms, by falling number of viewers.
    pub rooms: Vec<RoomSummary>,
    /// The number of existing rooms, without those of system topics.
    pub total: usize,
    /// The number of viewers in all rooms that were examined.
    pub viewers: u64,
    /// `true` if all rooms were examined; otherwise there were too many.
    pub is_complete: bool,
}

impl HubRooms {
    pub(super) fn room_stats(&self, limit: usize) -> RoomStats {
        let mut largest = BinaryHeap::with_capacity(limit.min(self.rooms.len()) + 1);
        let (mut viewers, mut system_rooms) = (0, 0);
        for (id, room) in self.rooms.iter().take(MAX_SCANNED) {
            if room.channel.topic.stream == SYSTEM_STREAM {
                system_rooms += 1;
                continue;
            }
            viewers += u64::from(room.viewers);
            largest.push(Reverse((room.viewers, Reverse(*id))));
            if largest.len() > limit {
                largest.pop();
            }
        }
        let rooms = largest
            .into_sorted_vec()
            .into_iter()
            .filter_map(|Reverse((_, Reverse(id)))| self.rooms.get(&id));
        RoomStats {
            rooms: rooms.map(|room| self.room_summary(room)).collect(),
            total: self.rooms.len() - system_rooms,
            viewers,
            is_complete: self.rooms.len() <= MAX_SCANNED,
        }
    }

    fn room_summary(&self, room: &HubRoom) -> RoomSummary {
        let latest = self
            .topics
            .get(&room.channel.topic)
            .and_then(|topic| topic.latest_snapshot.clone());
        RoomSummary {
            name: Arc::clone(&room.channel.name),
            viewers: room.viewers,
            latest,
        }
    }
}
