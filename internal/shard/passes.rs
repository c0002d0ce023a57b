//! Which room's pass goes on next.

use std::collections::VecDeque;

/// Sends of one room at a stretch, and so the longest that a small room's frame waits for a large room's: a tenth of a millisecond.
pub(super) const SLICE: usize = 16;
/// Sends of small rooms in a turn, before a large one goes on: however many small ones there are, the large ones keep a fifth.
pub(super) const SMALL_SENDS_A_TURN: usize = 4 * SLICE;

/// Rooms with a pass under way. A room whose rest fits in a slice is small, and goes before the large ones; among equals the oldest is next.
#[derive(Debug, Default)]
pub(super) struct Passes {
    small: VecDeque<u32>,
    large: VecDeque<u32>,
}

impl Passes {
    /// Queues a room that has so many members still to be looked at. Each room stands here once: that is the caller's to see to.
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
        /// Whatever is queued comes out once, small rooms apart from large ones, each kind in its order.
        #[test]
        fn every_room_comes_once_and_among_equals_in_order(rooms in prop::collection::vec(0usize..100, 0..50)) {
            let mut passes = Passes::default();
            for (room, remaining) in rooms.iter().enumerate() {
                passes.put(u32::try_from(room).unwrap(), *remaining);
            }
            let small: Vec<_> = std::iter::from_fn(|| passes.next_small()).collect();
            let large: Vec<_> = std::iter::from_fn(|| passes.next_large()).collect();
            prop_assert!(passes.is_empty());
            prop_assert_eq!(small.len() + large.len(), rooms.len());
            prop_assert!(small.is_sorted() && large.is_sorted());
            prop_assert!(small.iter().all(|room| rooms[*room as usize] <= SLICE));
            prop_assert!(large.iter().all(|room| rooms[*room as usize] > SLICE));
        }
    }
}
