//! A token bucket in eight bytes.

use crate::session::Limits;

/// How many messages a client may still send.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    /// Negative: so many were dropped in a row.
    level: i32,
    /// Second of the last refill.
    at_s: u32,
}

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Look at it.
    Take,
    /// Too many: drop it; `first` of a row is worth telling.
    Drop {
        /// The first of a row.
        first: bool,
    },
    /// The client does not listen.
    End,
}

impl Bucket {
    /// A full bucket.
    pub fn new(limits: &Limits, now_s: u32) -> Self {
        Self {
            level: burst(limits),
            at_s: now_s,
        }
    }

    /// Counts one message.
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
    fn a_burst_then_the_average_then_the_end() {
        let limits = Limits {
            message_burst: 3,
            messages_per_second: 2,
            ..Limits::default()
        };
        let mut bucket = Bucket::new(&limits, 0);
        let at = |bucket: &mut Bucket, s| bucket.take(&limits, s);
        assert_eq!([0, 0, 0].map(|s| at(&mut bucket, s)), [Verdict::Take; 3]);
        assert_eq!(at(&mut bucket, 0), Verdict::Drop { first: true });
        assert_eq!(at(&mut bucket, 0), Verdict::Drop { first: false });
        assert_eq!([1, 1].map(|s| at(&mut bucket, s)), [Verdict::Take; 2]);
        assert_eq!(
            [1, 1, 1]
                .map(|s| at(&mut bucket, s))
                .map(|v| matches!(v, Verdict::Drop { .. })),
            [true; 3]
        );
        assert_eq!(at(&mut bucket, 1), Verdict::End);
    }
}
