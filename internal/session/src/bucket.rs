//! The rate limit of a client's messages: a token bucket in eight bytes.

use crate::Limits;

/// The number of messages that a client may still send.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    /// The tokens left; a negative level is the number of messages dropped in a row.
    level: i32,
    /// The second of the last refill.
    at_s: u32,
}

/// The decision about one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Handle the message; it is within the limit.
    Take,
    /// Drop the message, because the client exceeds its rate. Only the first of a run is reported.
    Drop {
        /// Set for the first dropped message of a run.
        first: bool,
    },
    /// Disconnect the client, because it keeps sending in spite of dropped messages.
    End,
}

impl Bucket {
    /// Creates a full token bucket.
    pub fn new(limits: &Limits, now_s: u32) -> Self {
        Self {
            level: burst(limits),
            at_s: now_s,
        }
    }

    /// Counts one message and decides about it.
    pub fn take(&mut self, limits: &Limits, now_s: u32) -> Verdict {
        let earned = now_s
            .saturating_sub(self.at_s)
            .saturating_mul(limits.messages_per_second);
        if earned > 0 {
            self.at_s = now_s;
            let earned = i32::try_from(earned).unwrap_or(i32::MAX);
            self.level = self.level.max(0).saturating_add(earned).min(burst(limits));
        }
        self.level = self.level.saturating_sub(1);
        match self.level {
            0.. => Verdict::Take,
            level if level < -burst(limits) => Verdict::End,
            level => Verdict::Drop { first: level == -1 },
        }
    }
}

fn burst(limits: &Limits) -> i32 {
    i32::try_from(limits.message_burst).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_then_average_rate_then_disconnect() {
        let limits = Limits {
            message_burst: 3,
            messages_per_second: 2,
            ..Limits::default()
        };
        let mut limit = Bucket::new(&limits, 0);
        let at = |limit: &mut Bucket, s| limit.take(&limits, s);
        assert_eq!([0, 0, 0].map(|s| at(&mut limit, s)), [Verdict::Take; 3]);
        assert_eq!(at(&mut limit, 0), Verdict::Drop { first: true });
        assert_eq!(at(&mut limit, 0), Verdict::Drop { first: false });
        assert_eq!([1, 1].map(|s| at(&mut limit, s)), [Verdict::Take; 2]);
        assert_eq!(
            [1, 1, 1]
                .map(|s| at(&mut limit, s))
                .map(|v| matches!(v, Verdict::Drop { .. })),
            [true; 3]
        );
        assert_eq!(at(&mut limit, 1), Verdict::End);
    }
}
