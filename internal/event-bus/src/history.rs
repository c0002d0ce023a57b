//! The retained last events of a topic.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::BusEvent;

/// The last `capacity` events, oldest first.
#[derive(Debug)]
pub(super) struct EventHistory {
    capacity: usize,
    events: VecDeque<Arc<BusEvent>>,
}

impl EventHistory {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            events: VecDeque::new(),
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
            self.events.pop_front();
        }
    }

    /// Returns at most `limit` events, newest first.
    pub(super) fn newest(&self, limit: usize) -> Vec<Arc<BusEvent>> {
        self.events.iter().rev().take(limit).cloned().collect()
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
    fn newest_events_stay_in_a_history() {
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
        history.resize(1);
        assert_eq!(seqs(&history.newest(9)), [8]);
    }
}
