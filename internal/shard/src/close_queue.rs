//! Removed clients whose sockets are still to be closed.
//!
//! close(2) is the most expensive call of a shard, and the only one that nothing waits for. With
//! the end of the stream, its acknowledgements and the memory that the kernel frees long after it,
//! one call costs 6 to 15 µs; thousands in a row keep a core in softirqs for a millisecond at a
//! time. Therefore a client is removed at once, and its socket is closed later. The first few of a
//! step are closed in the same tick. After a mass disconnect the rest follows a few at a time, with
//! frames and new connections going first.
//!
//! The reply to a close frame waits with the socket. If the kernel held thousands of such replies,
//! one timer would send them all and delay everything for 0.2 s.

use std::collections::VecDeque;
use std::time::Duration;

use crate::outbox::Outbox;

/// The length of a step, the interval over which closed sockets are counted.
const STEP_LENGTH: Duration = Duration::from_millis(1);

/// The sockets closed in one step; they take an eighth of a core at most.
const CLOSES_PER_STEP: usize = 8;

/// A divisor of the queue length: of a long queue, this share is closed per step. 10,000 sockets
/// are closed in little more than a second, and no queue grows without bound.
const BACKLOG_DIVISOR: usize = 1024;

/// A socket that waits to be closed.
#[derive(Debug)]
pub(super) struct ClosingSocket {
    /// The slot that still holds the socket.
    pub(super) slot: u32,
    /// The unsent bytes, above all the reply to a close frame. They leave together with the end of
    /// the stream.
    pub(super) unsent: Option<Box<Outbox>>,
}

/// The sockets that wait to be closed, in order of removal.
#[derive(Debug)]
pub(super) struct CloseQueue {
    pub(super) waiting: VecDeque<ClosingSocket>,
    /// The start of the current step, in time since the shard started.
    step_start: Duration,
    /// The sockets that may still be closed in the current step.
    left_in_step: usize,
}

impl Default for CloseQueue {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            step_start: Duration::ZERO,
            left_in_step: CLOSES_PER_STEP,
        }
    }
}

impl CloseQueue {
    pub(super) fn put(&mut self, socket: ClosingSocket) {
        self.waiting.push_back(socket);
    }

    /// Returns the number of waiting sockets.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes the next socket, if the step at `now` allows one more.
    pub(super) fn next(&mut self, now: Duration) -> Option<ClosingSocket> {
        if self.waiting.is_empty() {
            return None;
        }
        if now >= self.step_start + STEP_LENGTH {
            (self.step_start, self.left_in_step) = (
                now,
                CLOSES_PER_STEP.max(self.waiting.len() / BACKLOG_DIVISOR),
            );
        }
        self.left_in_step = self.left_in_step.checked_sub(1)?;
        self.waiting.pop_front()
    }

    /// Returns the time until the next socket may be closed, or `None` if the queue is empty.
    pub(super) fn next_in(&self, now: Duration) -> Option<Duration> {
        let pause = if self.left_in_step > 0 {
            Duration::ZERO
        } else {
            (self.step_start + STEP_LENGTH).saturating_sub(now)
        };
        (!self.waiting.is_empty()).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every socket is closed once, in order and without delay; no step closes more than its
        /// limit.
        #[test]
        fn every_socket_closes_once_in_order_within_step_limits(bursts in prop::collection::vec((0usize..3_000, 0u64..3_000), 1..20)) {
            let (mut queue, mut now) = (CloseQueue::default(), Duration::from_secs(1));
            let (mut put, mut seen) = (0u32, Vec::new());
            for (burst, pause_us) in bursts {
                for _ in 0..burst {
                    queue.put(ClosingSocket { slot: put, unsent: None });
                    put += 1;
                }
                let most = CLOSES_PER_STEP.max(queue.waiting.len() / BACKLOG_DIVISOR);
                let before = seen.len();
                seen.extend(std::iter::from_fn(|| queue.next(now)).map(|socket| socket.slot));
                prop_assert!(seen.len() - before <= most);
                now += Duration::from_micros(pause_us);
            }
            let mut steps = 0;
            while let Some(pause) = queue.next_in(now) {
                now += pause;
                seen.extend(std::iter::from_fn(|| queue.next(now)).map(|socket| socket.slot));
                steps += 1;
                prop_assert!(steps <= 1 + seen.len() / CLOSES_PER_STEP, "no step is empty");
            }
            prop_assert_eq!(seen, (0..put).collect::<Vec<_>>());
        }
    }

    #[test]
    fn ten_thousand_sockets_close_within_1300_ms() {
        let (mut queue, mut now) = (CloseQueue::default(), Duration::from_secs(1));
        (0..10_000).for_each(|slot| queue.put(ClosingSocket { slot, unsent: None }));
        let began = now;
        while let Some(pause) = queue.next_in(now) {
            now += pause;
            while queue.next(now).is_some() {}
        }
        assert!(
            now - began < Duration::from_millis(1_300),
            "{:?}",
            now - began
        );
    }
}
