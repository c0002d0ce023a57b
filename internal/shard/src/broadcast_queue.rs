//! The queue of broadcasts: the rooms whose newest frame is being sent.

use std::collections::VecDeque;

/// The sends of one room in a row, about a tenth of a millisecond. It bounds the time that a small
/// room's frame waits for a large room.
pub(super) const SLICE: usize = 16;

/// The sends of small rooms per tick, before a large room continues. Large rooms therefore keep a
/// fifth of the sends, however many small ones there are.
pub(super) const SMALL_SENDS_PER_TICK: usize = 4 * SLICE;

/// The rooms with a broadcast in progress. A room whose remaining members fit in a slice is small,
/// and goes before the large ones. Within each kind the oldest is next.
#[derive(Debug, Default)]
pub(super) struct BroadcastQueue {
    small: VecDeque<u32>,
    large: VecDeque<u32>,
}

impl BroadcastQueue {
    /// Queues a room with `remaining` members left to examine. The code that queues it must not
    /// queue a room twice.
    pub(super) fn put(&mut self, room: u32, remaining: usize) {
        if remaining <= SLICE {
            self.small.push_back(room)
        } else {
            self.large.push_back(room)
        }
    }

    pub(super) fn next_small(&mut self) -> Option<u32> {
        self.small.pop_front()
    }

    pub(super) fn next_large(&mut self) -> Option<u32> {
        self.large.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.large.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every queued room comes out once; each kind, small and large, keeps its order.
        #[test]
        fn every_room_comes_once_in_order_of_its_kind(rooms in prop::collection::vec(0usize..100, 0..50)) {
            let mut queue = BroadcastQueue::default();
            for (room, remaining) in rooms.iter().enumerate() {
                queue.put(u32::try_from(room).unwrap(), *remaining);
            }
            let small: Vec<_> = std::iter::from_fn(|| queue.next_small()).collect();
            let large: Vec<_> = std::iter::from_fn(|| queue.next_large()).collect();
            prop_assert!(queue.is_empty());
            prop_assert_eq!(small.len() + large.len(), rooms.len());
            prop_assert!(small.is_sorted() && large.is_sorted());
            prop_assert!(small.iter().all(|room| rooms[*room as usize] <= SLICE));
            prop_assert!(large.iter().all(|room| rooms[*room as usize] > SLICE));
        }
    }
}
