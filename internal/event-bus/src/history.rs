//! The retained last events of a topic.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::BusEvent;

/// The last `capacity` events, oldest first.
#[derive(Debug)]
pub(super) struct EventHistory {
    capacity: usize,
    events: VecDeque<Arc<BusEvent>>,
    /// The highest sequence number that was evicted.
    evicted_seq: u64,
}

/// The retained part of a topic's events after some sequence number.
#[derive(Debug, Clone)]
pub struct HistorySlice {
    /// The events, oldest first.
    pub events: Vec<Arc<BusEvent>>,
    /// `true` if no event of the range was evicted.
    pub is_complete: bool,
}

impl EventHistory {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            events: VecDeque::new(),
            evicted_seq: 0,
        }
    }

    /// Changes the capacity and keeps the newest events.
    pub(super) fn resize(&mut self, capacity: usize) {
        self.capacity = capacity;
        self.trim();
    }

    /// Adds an event that is newer than all others. Adding the newest event again has no effect.
    pub(super) fn push(&mut self, event: &Arc<BusEvent>) {
        if self.events.back().is_some_and(|last| last.seq >= event.seq) {
            return;
        }
        self.events.push_back(Arc::clone(event));
        self.trim();
    }

    fn trim(&mut self) {
        while self.events.len() > self.capacity {
            self.evicted_seq = self
                .events
                .pop_front()
                .map_or(self.evicted_seq, |event| event.seq);
        }
    }

    /// Returns at most `limit` events, newest first.
    pub(super) fn newest(&self, limit: usize) -> Vec<Arc<BusEvent>> {
        self.events.iter().rev().take(limit).cloned().collect()
    }

    /// Returns all retained events after `seq`.
    pub(super) fn since(&self, seq: u64) -> HistorySlice {
        let from = self.events.partition_point(|event| event.seq <= seq);
        HistorySlice {
            events: self.events.range(from..).cloned().collect(),
            is_complete: self.evicted_seq <= seq,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventBody;

    fn seqs(events: &[Arc<BusEvent>]) -> Vec<u64> {
        events.iter().map(|event| event.seq).collect()
    }

    #[test]
    fn newest_events_stay_and_gaps_are_reported() {
        let mut history = EventHistory::new(3);
        for seq in [2, 4, 4, 6, 8] {
            history.push(&Arc::new(BusEvent::new(
                seq,
                0,
                Box::default(),
                EventBody::PresenceList(Vec::new()),
            )));
        }
        assert_eq!(seqs(&history.newest(2)), [8, 6]);
        assert_eq!(seqs(&history.newest(9)), [8, 6, 4]);
        for (from, expected, complete) in [
            (0, vec![4, 6, 8], false),
            (2, vec![4, 6, 8], true),
            (6, vec![8], true),
            (9, vec![], true),
        ] {
            let slice = history.since(from);
            assert_eq!(
                (seqs(&slice.events), slice.is_complete),
                (expected, complete),
                "since {from}"
            );
        }
        history.resize(1);
        assert_eq!(
            (seqs(&history.newest(9)), history.since(4).is_complete),
            (vec![8], false)
        );
    }
}
