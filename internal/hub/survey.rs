//! A look at the rooms, for operators.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::hub::rooms::{Room, Rooms};
use crate::stream::{SERVER, Snapshot};

/// Rooms looked at. The lock is held meanwhile, and so many take well under a millisecond.
const LOOKED_AT: usize = 10_000;

/// What is seen of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomView {
    /// The channel's name.
    pub name: Arc<str>,
    /// All its viewers.
    pub viewers: u32,
    /// The newest snapshot; none if none was ever read.
    pub latest: Option<Snapshot>,
}

/// The rooms with the most viewers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// In falling order of viewers.
    pub rooms: Vec<RoomView>,
    /// Rooms there are; the server's own are not counted.
    pub total: usize,
    /// Viewers of all rooms that were looked at.
    pub viewers: u64,
    /// Whether all rooms were looked at; there may be too many.
    pub is_complete: bool,
}

impl Rooms {
    pub(super) fn survey(&self, most: usize) -> Survey {
        let mut largest = BinaryHeap::with_capacity(most.min(self.rooms.len()) + 1);
        let (mut viewers, mut own) = (0, 0);
        for (id, room) in self.rooms.iter().take(LOOKED_AT) {
            if room.channel.topic.stream == SERVER {
                own += 1;
                continue;
            }
            viewers += u64::from(room.viewers);
            largest.push(Reverse((room.viewers, Reverse(*id))));
            if largest.len() > most {
                largest.pop();
            }
        }
        let rooms = largest
            .into_sorted_vec()
            .into_iter()
            .filter_map(|Reverse((_, Reverse(id)))| self.rooms.get(&id));
        Survey {
            rooms: rooms.map(|room| self.view(room)).collect(),
            total: self.rooms.len() - own,
            viewers,
            is_complete: self.rooms.len() <= LOOKED_AT,
        }
    }

    fn view(&self, room: &Room) -> RoomView {
        let latest = self
            .topics
            .get(&room.channel.topic)
            .and_then(|topic| topic.latest.clone());
        RoomView {
            name: Arc::clone(&room.channel.name),
            viewers: room.viewers,
            latest,
        }
    }
}
