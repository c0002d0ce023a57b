//! Limits how often failures of single keys are logged: a client can cause them at will, by asking for
//! such a key again and again. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use latido_base::ident::StreamId;

/// The shortest time between two log entries about keys of a stream.
const PAUSE: Duration = Duration::from_secs(1);

/// The latest log entry of each stream whose keys failed.
#[derive(Debug, Default)]
pub(super) struct FailureLog {
    streams: HashMap<StreamId, LoggedFailure>,
}

#[derive(Debug)]
struct LoggedFailure {
    at: Instant,
    /// The number of failures since then, which were not logged.
    left_out: u64,
}

impl FailureLog {
    /// Records the failure of a key. If it should be logged, returns the number of failures that were
    /// not logged before it.
    pub(super) fn record(&mut self, stream: StreamId, now: Instant) -> Option<u64> {
        let Some(last) = self.streams.get_mut(&stream) else {
            let first = LoggedFailure {
                at: now,
                left_out: 0,
            };
            self.streams.insert(stream, first);
            return Some(0);
        };
        if now.saturating_duration_since(last.at) < PAUSE {
            last.left_out += 1;
            return None;
        }
        last.at = now;
        Some(std::mem::take(&mut last.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_a_stream_are_logged_once_a_second_and_counted() {
        let mut log = FailureLog::default();
        let start = Instant::now();
        assert_eq!(log.record(StreamId(0), start), Some(0));
        assert_eq!(log.record(StreamId(0), start), None);
        assert_eq!(log.record(StreamId(1), start), Some(0));
        assert_eq!(log.record(StreamId(0), start + PAUSE / 2), None);
        assert_eq!(log.record(StreamId(0), start + PAUSE), Some(2));
        assert_eq!(log.record(StreamId(0), start + 3 * PAUSE), Some(0));
    }
}
