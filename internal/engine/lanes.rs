//! How many statements of a stream run at once. Pure.
//!
//! One, as a rule: what becomes dirty meanwhile waits for the next, and so batches make themselves. But a statement that drags on, with a
//! giant in it that nobody knew, must not hold up every other key of its stream: once it is overdue a second one may start beside it.

use std::time::{Duration, Instant};

use crate::ident::StreamId;

/// A batch that has run for this long does not hold its stream's lane any more.
const OVERDUE: Duration = Duration::from_millis(20);
/// Most batches of one stream at once, the overdue ones among them.
const LANES: usize = 3;

/// By stream, when the batches that run were started.
#[derive(Debug)]
pub(super) struct Lanes(Vec<Vec<Instant>>);

impl Lanes {
    pub(super) fn new(streams: usize) -> Self {
        Self(vec![Vec::new(); streams])
    }

    pub(super) fn start(&mut self, stream: StreamId, now: Instant) {
        self.0[usize::from(stream.0)].push(now);
    }

    /// A batch that was started then has ended.
    pub(super) fn end(&mut self, stream: StreamId, started: Instant) {
        let running = &mut self.0[usize::from(stream.0)];
        if let Some(at) = running.iter().position(|start| *start == started) {
            running.swap_remove(at);
        }
    }

    /// Whether a batch of the stream may start.
    pub(super) fn is_free(&self, stream: StreamId, now: Instant) -> bool {
        let running = &self.0[usize::from(stream.0)];
        running.len() < LANES
            && running
                .iter()
                .all(|start| now.saturating_duration_since(*start) >= OVERDUE)
    }

    /// When a lane becomes free although nothing ended.
    pub(super) fn next_free(&self, now: Instant) -> Option<Instant> {
        let blocked = self.0.iter().filter(|running| running.len() < LANES);
        let last = blocked
            .filter_map(|running| running.iter().max())
            .map(|start| *start + OVERDUE);
        last.filter(|at| *at > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overdue_batch_lets_a_few_others_pass() {
        let (a, b, start) = (StreamId(0), StreamId(1), Instant::now());
        let mut lanes = Lanes::new(2);
        assert!(lanes.is_free(a, start) && lanes.next_free(start).is_none());
        lanes.start(a, start);
        assert!(!lanes.is_free(a, start) && lanes.is_free(b, start));
        assert_eq!(lanes.next_free(start), Some(start + OVERDUE));
        let late = start + OVERDUE;
        assert!(lanes.is_free(a, late) && lanes.next_free(late).is_none());
        lanes.start(a, late);
        lanes.start(a, late + OVERDUE);
        let later = late + 2 * OVERDUE;
        assert!(!lanes.is_free(a, later), "but no more than that");
        assert!(
            lanes.next_free(later).is_none(),
            "and nobody is woken for nothing"
        );
        lanes.end(a, start);
        assert!(lanes.is_free(a, later));
    }
}
