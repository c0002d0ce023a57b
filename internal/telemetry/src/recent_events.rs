//! A bounded ring of the latest events. Operators who look after an incident can still see its
//! cause.
//!
//! It does not replace the log, which is written where an event is handled. The ring keeps the same
//! events for a while in a form that a page can display. A burst (ten thousand clients that
//! reconnect) must not displace the events that caused it. Beyond a few per second, events of one
//! kind and reason are therefore counted in one entry.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// The number of entries kept.
const CAPACITY: usize = 500;
/// The number of events of one kind and reason that get their own entry within [`WINDOW_MS`]. Later
/// ones are counted in the last of these entries. The limit for refusals is one, because their
/// entries name no user.
const MAX_SEPARATE: u64 = 4;
/// The length of a merge window, in milliseconds.
const WINDOW_MS: u64 = 1_000;
/// The maximum length of a user id or a detail text, in bytes.
const MAX_TEXT_BYTES: usize = 120;

/// The kind of a recorded event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecentEventKind {
    /// A WebSocket connection was accepted.
    Connected,
    /// A WebSocket connection was closed.
    Closed,
    /// A request or an upgrade was refused.
    Refused,
    /// Notifications started or stopped arriving.
    Listener,
    /// The staleness of the data began or ended.
    Staleness,
    /// The sweep found a change that no trigger had notified.
    Correction,
    /// The read of a key failed.
    ReadFailed,
    /// An operator performed an action.
    OperatorAction,
}

impl RecentEventKind {
    /// Returns the name of the kind in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Closed => "closed",
            Self::Refused => "refused",
            Self::Listener => "listener",
            Self::Staleness => "staleness",
            Self::Correction => "correction",
            Self::ReadFailed => "read_failed",
            Self::OperatorAction => "operator",
        }
    }
}

/// One event, or several of one kind and reason within a second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentEvent {
    /// The number of the entry. It starts at 1 and rises by one with every entry.
    pub seq: u64,
    /// The time of the first event, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The kind of all events in the entry.
    pub kind: RecentEventKind,
    /// The reason, from a closed list of the kind.
    pub reason: &'static str,
    /// The user or another detail. It never contains a token.
    pub detail: Option<Box<str>>,
    /// The number of events that the entry stands for, at least 1.
    pub count: u64,
}

/// A bounded ring of the latest events; see the module's documentation.
#[derive(Debug, Default)]
pub struct RecentEvents(Mutex<RecentEventsState>);

#[derive(Debug, Default)]
struct RecentEventsState {
    entries: VecDeque<RecentEvent>,
    /// The number of events ever recorded.
    total: u64,
    next_seq: u64,
    /// The merge window of each kind and reason. The closed lists of reasons bound its size.
    windows: HashMap<(RecentEventKind, &'static str), MergeWindow>,
}

/// The current merge window of one kind and reason.
#[derive(Debug)]
struct MergeWindow {
    since_ms: u64,
    count: u64,
    /// The number of the entry that counts the events beyond [`MAX_SEPARATE`].
    seq: u64,
}

impl RecentEvents {
    /// Records an event that happens now.
    pub fn record(&self, kind: RecentEventKind, reason: &'static str, detail: Option<&str>) {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.record_at(
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            kind,
            reason,
            detail,
        );
    }

    fn record_at(
        &self,
        now_ms: u64,
        kind: RecentEventKind,
        reason: &'static str,
        detail: Option<&str>,
    ) {
        let mut state = self.lock();
        let state = &mut *state;
        state.total += 1;
        let first_seq = state.entries.front().map_or(0, |entry| entry.seq);
        let window = state.windows.entry((kind, reason)).or_insert(MergeWindow {
            since_ms: 0,
            count: 0,
            seq: 0,
        });
        if now_ms.saturating_sub(window.since_ms) >= WINDOW_MS {
            (window.since_ms, window.count) = (now_ms, 0);
        }
        window.count += 1;
        let max_separate = if kind == RecentEventKind::Refused {
            1
        } else {
            MAX_SEPARATE
        };
        let merged = (window.count > max_separate)
            .then(|| window.seq.checked_sub(first_seq))
            .flatten();
        if let Some(entry) =
            merged.and_then(|index| state.entries.get_mut(usize::try_from(index).ok()?))
        {
            entry.count += 1;
            entry.detail = None;
            return;
        }
        state.next_seq += 1;
        window.seq = state.next_seq;
        if state.entries.len() == CAPACITY {
            state.entries.pop_front();
        }
        let detail = detail.map(|text| truncate(text).into());
        state.entries.push_back(RecentEvent {
            seq: state.next_seq,
            at_ms: now_ms,
            kind,
            reason,
            detail,
            count: 1,
        });
    }

    /// Returns at most `limit` of the latest entries, newest first.
    pub fn latest(&self, limit: usize) -> Vec<RecentEvent> {
        self.lock()
            .entries
            .iter()
            .rev()
            .take(limit)
            .cloned()
            .collect()
    }

    /// Returns the number of events ever recorded.
    pub fn total(&self) -> u64 {
        self.lock().total
    }

    /// Locks the ring. A poisoned lock is safe to use, because every operation leaves the ring
    /// consistent.
    fn lock(&self) -> MutexGuard<'_, RecentEventsState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Truncates a text to at most [`MAX_TEXT_BYTES`], at a character boundary.
fn truncate(text: &str) -> &str {
    let end = (0..=text.len().min(MAX_TEXT_BYTES))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_is_bounded_and_returns_newest_first() {
        let recent = RecentEvents::default();
        for n in 0..2_000_u64 {
            recent.record_at(
                n * WINDOW_MS,
                RecentEventKind::Closed,
                "client",
                Some(&n.to_string()),
            );
        }
        let all = recent.latest(usize::MAX);
        assert_eq!(
            (all.len(), all[0].seq, recent.total()),
            (CAPACITY, 2_000, 2_000)
        );
        assert_eq!(recent.latest(1)[0].detail.as_deref(), Some("1999"));
    }

    #[test]
    fn burst_is_merged_into_few_entries() {
        let recent = RecentEvents::default();
        recent.record_at(0, RecentEventKind::Listener, "lost", None);
        for n in 0..10_000 {
            recent.record_at(
                5_000 + n / 100,
                RecentEventKind::Connected,
                "websocket",
                Some("ana"),
            );
            recent.record_at(
                5_000 + n / 100,
                RecentEventKind::Closed,
                "client",
                Some("ana"),
            );
        }
        let all = recent.latest(100);
        assert_eq!(all.len(), 1 + 2 * 4);
        assert_eq!(all.iter().map(|entry| entry.count).sum::<u64>(), 20_001);
        assert_eq!(
            (all[0].detail.as_deref(), all.last().unwrap().kind),
            (None, RecentEventKind::Listener)
        );
        recent.record_at(6_500, RecentEventKind::Connected, "websocket", Some("eva"));
        assert_eq!(
            recent.latest(1)[0].detail.as_deref(),
            Some("eva"),
            "a second later each event has its own entry again"
        );
    }

    #[test]
    fn long_texts_are_truncated_at_character_boundaries() {
        let recent = RecentEvents::default();
        recent.record_at(0, RecentEventKind::Closed, "client", Some(&"ñ".repeat(200)));
        let detail = recent.latest(1)[0].detail.clone().unwrap();
        assert!(detail.len() <= MAX_TEXT_BYTES && detail.starts_with('ñ'));
    }
}
