//! The slots for concurrent statements of each stream. Pure.
//!
//! Usually a stream has one statement at a time. Keys that become dirty meanwhile wait for the next
//! one, and so batches form by themselves. A statement that takes long, because of a heavy key that
//! was not known, must not delay all other keys of its stream. Once it is overdue, a second
//! statement may start.

use std::time::{Duration, Instant};

use latido_base::ident::StreamId;

/// The running time after which a batch no longer blocks its stream.
const OVERDUE_AFTER: Duration = Duration::from_millis(20);

/// The largest number of concurrent batches of one stream, including overdue ones.
const MAX_SLOTS: usize = 3;

/// The start times of the running batches, indexed by stream.
#[derive(Debug)]
pub(super) struct ReadSlots(Vec<Vec<Instant>>);

impl ReadSlots {
    pub(super) fn new(streams: usize) -> Self {
        Self(vec![Vec::new(); streams])
    }

    /// Makes room for all streams with an id below this number.
    pub(super) fn grow(&mut self, streams: usize) {
        self.0.resize(streams.max(self.0.len()), Vec::new());
    }

    pub(super) fn occupy(&mut self, stream: StreamId, now: Instant) {
        self.0[usize::from(stream.0)].push(now);
    }

    /// Releases the slot of a batch that was started at `started`.
    pub(super) fn release(&mut self, stream: StreamId, started: Instant) {
        let running = &mut self.0[usize::from(stream.0)];
        if let Some(at) = running.iter().position(|start| *start == started) {
            running.swap_remove(at);
        }
    }

    /// Returns whether a batch of the stream may start.
    pub(super) fn is_free(&self, stream: StreamId, now: Instant) -> bool {
        let Some(running) = self.0.get(usize::from(stream.0)) else {
            return true;
        };
        running.len() < MAX_SLOTS
            && running
                .iter()
                .all(|start| now.saturating_duration_since(*start) >= OVERDUE_AFTER)
    }

    /// Returns the next time at which a slot becomes free although no batch ended.
    pub(super) fn next_free(&self, now: Instant) -> Option<Instant> {
        let blocked = self.0.iter().filter(|running| running.len() < MAX_SLOTS);
        let last = blocked
            .filter_map(|running| running.iter().max())
            .map(|start| *start + OVERDUE_AFTER);
        last.filter(|at| *at > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overdue_batch_does_not_block_its_stream() {
        let (a, b, start) = (StreamId(0), StreamId(1), Instant::now());
        let mut slots = ReadSlots::new(2);
        assert!(slots.is_free(a, start) && slots.next_free(start).is_none());
        slots.occupy(a, start);
        assert!(!slots.is_free(a, start) && slots.is_free(b, start));
        assert_eq!(slots.next_free(start), Some(start + OVERDUE_AFTER));
        let late = start + OVERDUE_AFTER;
        assert!(slots.is_free(a, late) && slots.next_free(late).is_none());
        slots.occupy(a, late);
        slots.occupy(a, late + OVERDUE_AFTER);
        let later = late + 2 * OVERDUE_AFTER;
        assert!(!slots.is_free(a, later), "but no more than that");
        assert!(slots.next_free(later).is_none(), "and no timer is needed");
        slots.release(a, start);
        assert!(slots.is_free(a, later));
    }
}
