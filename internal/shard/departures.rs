//! Clients who have gone, whose sockets are still to be closed.
//!
//! close(2) is the dearest thing that a shard asks for, and the only one that nobody waits for: with the end of the stream, its answers and
//! what the kernel frees long after it, it costs 6 to 15 µs, and thousands in a row keep a core in softirqs for a millisecond at a time. So
//! whoever goes is forgotten at once, and its socket is closed in its turn: the first few of a step in the same round, those of a crowd some
//! at a time, while frames and newcomers go first. The answer to a close frame waits with it: left to the kernel for so long, thousands of
//! them would be sent by one timer, and hold everybody up for 0.2 s.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::time::Duration;

use crate::shard::outbox::{Outbox, receive, send_last};
use crate::shard::worker::Worker;

/// Sockets are counted by steps of this length.
const STEP: Duration = Duration::from_millis(1);
/// Sockets that are closed in one step: an eighth of a core at most.
const IN_A_STEP: usize = 8;
/// Of a long queue more are, one in so many: 10,000 are seen off in little more than a second, and no queue grows for ever.
const ONE_IN: usize = 1024;

/// Buffers that somebody may go on sending after a close frame, and still have its answer.
const READS: usize = 4;

/// Somebody who has gone.
#[derive(Debug)]
pub(super) struct Departed {
    /// Still holds the socket.
    pub(super) slot: u32,
    /// What is kept for it, above all the answer to its close frame: it leaves with the end of the stream.
    pub(super) last_words: Option<Box<Outbox>>,
}

/// Who has gone, in their order.
#[derive(Debug)]
pub(super) struct Departures {
    waiting: VecDeque<Departed>,
    /// When the step began, since the shard started.
    step: Duration,
    /// How many more may be closed in it.
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

    pub(super) fn put(&mut self, departed: Departed) {
        self.waiting.push_back(departed);
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The next one, if it may be closed by `now`.
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

    /// How long none is to be closed; None: none waits.
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
    /// Closes sockets of clients who have gone, as many as may be by now.
    pub(super) fn see_off(&mut self) {
        if self.departures.waiting.is_empty() {
            return;
        }
        let now = self.elapsed();
        while let Some(departed) = self.departures.next(now) {
            self.part(departed);
            self.seen_to();
        }
    }

    /// Closes all of them, for the shard ends or their descriptors are wanted; whether there were any.
    pub(super) fn see_all_off(&mut self) -> bool {
        let waiting = std::mem::take(&mut self.departures.waiting);
        let were_any = !waiting.is_empty();
        waiting.into_iter().for_each(|departed| self.part(departed));
        were_any
    }

    fn part(&mut self, Departed { slot, last_words }: Departed) {
        if let Some(mut words) = last_words
            && let Some(socket) = self.sockets.get(slot as usize).and_then(Option::as_ref)
        {
            // The kernel resets a connection that is closed with bytes unread. What comes after a close frame is nobody's.
            for _ in 0..READS {
                if receive(socket, &mut self.buffer).is_none_or(|count| count == 0) {
                    break;
                }
            }
            let (_, bytes) = words.flush(socket, send_last, self.now_s);
            self.parts.metrics.bytes_sent.inc_by(bytes as u64);
            // Whatever comes now, the words are on their way. An error: it is gone already.
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
        /// Whoever goes is seen off once, in order and in time; never more in a step than a step has room for.
        #[test]
        fn each_goes_once_in_order_and_no_step_is_too_long(crowds in prop::collection::vec((0usize..3_000, 0u64..3_000), 1..20)) {
            let (mut departures, mut now) = (Departures::new(), Duration::from_secs(1));
            let (mut put, mut seen) = (0u32, Vec::new());
            for (crowd, pause_us) in crowds {
                for _ in 0..crowd {
                    departures.put(Departed { slot: put, last_words: None });
                    put += 1;
                }
                let most = IN_A_STEP.max(departures.waiting.len() / ONE_IN);
                let before = seen.len();
                seen.extend(std::iter::from_fn(|| departures.next(now)).map(|departed| departed.slot));
                prop_assert!(seen.len() - before <= most);
                now += Duration::from_micros(pause_us);
            }
            let mut steps = 0;
            while let Some(pause) = departures.next_in(now) {
                now += pause;
                seen.extend(std::iter::from_fn(|| departures.next(now)).map(|departed| departed.slot));
                steps += 1;
                prop_assert!(steps <= 1 + seen.len() / IN_A_STEP, "nobody waits for nothing");
            }
            prop_assert_eq!(seen, (0..put).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_crowd_of_ten_thousand_is_gone_soon() {
        let (mut departures, mut now) = (Departures::new(), Duration::from_secs(1));
        (0..10_000).for_each(|slot| {
            departures.put(Departed {
                slot,
                last_words: None,
            })
        });
        let began = now;
        while let Some(pause) = departures.next_in(now) {
            now += pause;
            while departures.next(now).is_some() {}
        }
        assert!(
            now - began < Duration::from_millis(1_300),
            "{:?}",
            now - began
        );
    }
}
