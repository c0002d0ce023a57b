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
use std::io;
use std::net::Shutdown;
use std::time::Duration;

use crate::outbox::{Outbox, receive, send_last};
use crate::worker::Worker;

/// The length of a step, the interval over which closed sockets are counted.
const STEP: Duration = Duration::from_millis(1);
/// The sockets closed in one step; they take an eighth of a core at most.
const IN_A_STEP: usize = 8;
/// A divisor of the queue length: of a long queue, this share is closed per step. 10,000 sockets
/// are closed in little more than a second, and no queue grows without bound.
const ONE_IN: usize = 1024;

/// The buffers that are read from a client that keeps sending after its close frame, so that it
/// still receives the reply.
const READS: usize = 4;

/// A socket that waits to be closed.
#[derive(Debug)]
pub(super) struct Departed {
    /// The slot that still holds the socket.
    pub(super) slot: u32,
    /// The unsent bytes, above all the reply to a close frame. They leave together with the end of
    /// the stream.
    pub(super) last_words: Option<Box<Outbox>>,
}

/// The sockets that wait to be closed, in order of removal.
#[derive(Debug)]
pub(super) struct Departures {
    waiting: VecDeque<Departed>,
    /// The start of the current step, in time since the shard started.
    step: Duration,
    /// The sockets that may still be closed in the current step.
    left: usize,
}

impl Departures {
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            step: Duration::ZERO,
            left: IN_A_STEP,
        }
    }

    pub(super) fn put(&mut self, socket: Departed) {
        self.waiting.push_back(socket);
    }

    /// Returns the number of waiting sockets.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes the next socket, if the step at `now` allows one more.
    fn next(&mut self, now: Duration) -> Option<Departed> {
        if self.waiting.is_empty() {
            return None;
        }
        if now >= self.step + STEP {
            (self.step, self.left) = (now, IN_A_STEP.max(self.waiting.len() / ONE_IN));
        }
        self.left = self.left.checked_sub(1)?;
        self.waiting.pop_front()
    }

    /// Returns the time until the next socket may be closed, or `None` if the queue is empty.
    pub(super) fn next_in(&self, now: Duration) -> Option<Duration> {
        let pause = if self.left > 0 {
            Duration::ZERO
        } else {
            (self.step + STEP).saturating_sub(now)
        };
        (!self.waiting.is_empty()).then_some(pause)
    }
}

impl Worker {
    /// Closes as many waiting sockets as the current step allows.
    pub(super) fn see_off(&mut self) {
        if self.departures.waiting.is_empty() {
            return;
        }
        let now = self.elapsed();
        while let Some(socket) = self.departures.next(now) {
            self.part(socket);
            self.seen_to();
        }
    }

    /// Closes all waiting sockets, because the shard ends or their descriptors are needed. Returns
    /// whether there were any.
    pub(super) fn see_all_off(&mut self) -> bool {
        let waiting = std::mem::take(&mut self.departures.waiting);
        let were_any = !waiting.is_empty();
        waiting.into_iter().for_each(|socket| self.part(socket));
        were_any
    }

    fn part(
        &mut self,
        Departed {
            slot,
            last_words: unsent,
        }: Departed,
    ) {
        if let Some(mut outbox) = unsent
            && let Some(socket) = self.sockets.get(slot as usize).and_then(Option::as_ref)
        {
            // The kernel resets a connection that is closed with unread bytes. Input after a close
            // frame is irrelevant, so it is discarded.
            for _ in 0..READS {
                if receive(socket, &mut self.buffer).is_none_or(|count| count == 0) {
                    break;
                }
            }
            let (_, bytes) = outbox.flush(socket, send_last, self.now_s);
            self.parts.metrics.bytes_sent.inc_by(bytes as u64);
            // The bytes are on their way in any case. An error means that the connection is gone
            // already.
            let _: io::Result<()> = socket.shutdown(Shutdown::Write);
        }
        self.close_slot(slot);
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
            let (mut queue, mut now) = (Departures::new(), Duration::from_secs(1));
            let (mut put, mut seen) = (0u32, Vec::new());
            for (burst, pause_us) in bursts {
                for _ in 0..burst {
                    queue.put(Departed { slot: put, last_words: None });
                    put += 1;
                }
                let most = IN_A_STEP.max(queue.waiting.len() / ONE_IN);
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
                prop_assert!(steps <= 1 + seen.len() / IN_A_STEP, "no step is empty");
            }
            prop_assert_eq!(seen, (0..put).collect::<Vec<_>>());
        }
    }

    #[test]
    fn ten_thousand_sockets_close_within_1300_ms() {
        let (mut queue, mut now) = (Departures::new(), Duration::from_secs(1));
        (0..10_000).for_each(|slot| {
            queue.put(Departed {
                slot,
                last_words: None,
            })
        });
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
