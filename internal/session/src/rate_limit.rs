//! The rate limit of a client's messages, frames and bytes: a token bucket in eight bytes.

use std::time::Duration;

use latido_base::token_bucket::TokenRate;

use crate::SessionLimits;
use crate::limits::MESSAGE_BYTES;

/// The bytes of a message that count as one message: the default size of the largest one.
const BYTES_PER_TOKEN: usize = MESSAGE_BYTES as usize;

/// Returns the number of messages that a message of `bytes` counts as. A fragment before the last
/// one, a ping and a pong count as one each, with 0 bytes.
pub fn message_cost(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(BYTES_PER_TOKEN).max(1)).unwrap_or(u32::MAX)
}

/// The number of messages that a client may still send.
#[derive(Debug, Clone, Copy)]
pub struct MessageRateLimit {
    /// The tokens left; a negative level is the number of messages dropped in a row.
    level: i32,
    /// The second of the last refill.
    refilled_s: u32,
}

/// The decision about one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateDecision {
    /// Handle the message; it is within the limit.
    Allow,
    /// Drop the message, because the client exceeds its rate. Only the first of a run is reported.
    Drop {
        /// Set for the first dropped message of a run.
        is_first: bool,
    },
    /// Disconnect the client, because it keeps sending in spite of dropped messages.
    Disconnect,
}

impl MessageRateLimit {
    /// Creates a full token bucket.
    pub fn new(limits: &SessionLimits, now_s: u32) -> Self {
        Self {
            level: burst_size(limits),
            refilled_s: now_s,
        }
    }

    /// Counts a message of that [cost](message_cost) and decides about it.
    pub fn check(&mut self, limits: &SessionLimits, cost: u32, now_s: u32) -> RateDecision {
        if now_s > self.refilled_s && limits.messages_per_second > 0 {
            let elapsed = Duration::from_secs((now_s - self.refilled_s).into());
            let rate = TokenRate::per_second(limits.messages_per_second, limits.message_burst);
            self.refilled_s = now_s;
            self.level = whole(rate.refill(self.level.max(0).into(), elapsed));
        }
        // The limit may have been lowered.
        self.level = self.level.min(burst_size(limits));
        let was_allowed = self.level >= 0;
        self.level = self
            .level
            .saturating_sub(i32::try_from(cost).unwrap_or(i32::MAX));
        match self.level {
            0.. => RateDecision::Allow,
            level if level < -burst_size(limits) => RateDecision::Disconnect,
            _ => RateDecision::Drop {
                is_first: was_allowed,
            },
        }
    }
}

/// Converts a number of tokens, which is whole: whole seconds earn whole tokens.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a float is cut off at the ends of the integer's range"
)]
fn whole(tokens: f64) -> i32 {
    tokens as i32
}

fn burst_size(limits: &SessionLimits) -> i32 {
    i32::try_from(limits.message_burst).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_then_average_rate_then_disconnect() {
        let limits = SessionLimits {
            message_burst: 3,
            messages_per_second: 2,
            ..SessionLimits::default()
        };
        let mut limit = MessageRateLimit::new(&limits, 0);
        let at = |limit: &mut MessageRateLimit, s| limit.check(&limits, 1, s);
        assert_eq!(
            [0, 0, 0].map(|s| at(&mut limit, s)),
            [RateDecision::Allow; 3]
        );
        assert_eq!(at(&mut limit, 0), RateDecision::Drop { is_first: true });
        assert_eq!(at(&mut limit, 0), RateDecision::Drop { is_first: false });
        assert_eq!([1, 1].map(|s| at(&mut limit, s)), [RateDecision::Allow; 2]);
        assert_eq!(
            [1, 1, 1]
                .map(|s| at(&mut limit, s))
                .map(|v| matches!(v, RateDecision::Drop { .. })),
            [true; 3]
        );
        assert_eq!(at(&mut limit, 1), RateDecision::Disconnect);
    }

    #[test]
    fn large_message_counts_as_several() {
        assert_eq!([0, 1, BYTES_PER_TOKEN].map(message_cost), [1, 1, 1]);
        assert_eq!(
            [BYTES_PER_TOKEN + 1, 10 * BYTES_PER_TOKEN].map(message_cost),
            [2, 10]
        );
        let limits = SessionLimits {
            message_burst: 3,
            ..SessionLimits::default()
        };
        let mut limit = MessageRateLimit::new(&limits, 0);
        assert_eq!(limit.check(&limits, 2, 0), RateDecision::Allow);
        assert_eq!(
            limit.check(&limits, 2, 0),
            RateDecision::Drop { is_first: true }
        );
        assert_eq!(
            limit.check(&limits, 2, 0),
            RateDecision::Drop { is_first: false }
        );
        assert_eq!(limit.check(&limits, 2, 0), RateDecision::Disconnect);
    }
}
