//! The latest events, for operators who come when something has happened already: a bounded ring, fed by every part.
//!
//! It is no log: lines for the log are written where things are handled. Here the same is kept for a while in a form that a page can show.
//! A storm (ten thousand clients that reconnect) must not wash out what it was caused by, so beyond a few a second events of one kind and
//! reason are counted in one entry.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Entries kept.
const ENTRIES: usize = 500;
/// Events of one kind and reason that get an entry each within [`WINDOW_MS`]; the others are counted in the last of them. Of refusals,
/// which say nothing of whom, one does.
const APART: u64 = 4;
/// Milliseconds.
const WINDOW_MS: u64 = 1_000;
/// Longest text kept of a user's id or a detail, in bytes.
const MAX_TEXT_BYTES: usize = 120;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A WebSocket was taken over.
    Connected,
    /// A WebSocket ended.
    Closed,
    /// A request or an upgrade was refused.
    Refused,
    /// Notifications began or ceased to arrive.
    Listener,
    /// Numbers may be old from now on, or no longer.
    Staleness,
    /// The sweep found what no trigger told of.
    Correction,
    /// A key could not be read.
    ReadFailed,
    /// An operator did something.
    Operator,
}

impl Kind {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Closed => "closed",
            Self::Refused => "refused",
            Self::Listener => "listener",
            Self::Staleness => "staleness",
            Self::Correction => "correction",
            Self::ReadFailed => "read_failed",
            Self::Operator => "operator",
        }
    }
}

/// One event, or several of one kind and reason within a second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Rises by one with every entry, from 1.
    pub seq: u64,
    /// Of the first, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened.
    pub kind: Kind,
    /// A word of a closed list.
    pub reason: &'static str,
    /// To whom, or what more there is to say. Never a token.
    pub detail: Option<Box<str>>,
    /// How many events it stands for, at least 1.
    pub count: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Journal(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    /// Events in all.
    total: u64,
    next_seq: u64,
    /// Bounded by the closed lists of reasons.
    windows: HashMap<(Kind, &'static str), Window>,
}

/// The second that a kind and reason is in.
#[derive(Debug)]
struct Window {
    since_ms: u64,
    count: u64,
    /// The entry that counts what comes beyond [`APART`].
    seq: u64,
}

impl Journal {
    /// Notes an event that happened now.
    pub fn note(&self, kind: Kind, reason: &'static str, detail: Option<&str>) {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.note_at(
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            kind,
            reason,
            detail,
        );
    }

    fn note_at(&self, now_ms: u64, kind: Kind, reason: &'static str, detail: Option<&str>) {
        let mut state = self.lock();
        let state = &mut *state;
        state.total += 1;
        let first_seq = state.entries.front().map_or(0, |entry| entry.seq);
        let window = state.windows.entry((kind, reason)).or_insert(Window {
            since_ms: 0,
            count: 0,
            seq: 0,
        });
        if now_ms.saturating_sub(window.since_ms) >= WINDOW_MS {
            (window.since_ms, window.count) = (now_ms, 0);
        }
        window.count += 1;
        let apart = if kind == Kind::Refused { 1 } else { APART };
        let merged = (window.count > apart)
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
        if state.entries.len() == ENTRIES {
            state.entries.pop_front();
        }
        let detail = detail.map(|text| cut(text).into());
        state.entries.push_back(Entry {
            seq: state.next_seq,
            at_ms: now_ms,
            kind,
            reason,
            detail,
            count: 1,
        });
    }

    /// At most so many of the latest entries, the newest first.
    pub fn latest(&self, most: usize) -> Vec<Entry> {
        self.lock()
            .entries
            .iter()
            .rev()
            .take(most)
            .cloned()
            .collect()
    }

    /// How many events there were in all.
    pub fn total(&self) -> u64 {
        self.lock().total
    }

    /// Every operation leaves the ring whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// At most [`MAX_TEXT_BYTES`] of a text, whole characters.
fn cut(text: &str) -> &str {
    let end = (0..=text.len().min(MAX_TEXT_BYTES))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_bounded_and_the_newest_come_first() {
        let journal = Journal::default();
        for n in 0..2_000_u64 {
            journal.note_at(n * WINDOW_MS, Kind::Closed, "client", Some(&n.to_string()));
        }
        let all = journal.latest(usize::MAX);
        assert_eq!(
            (all.len(), all[0].seq, journal.total()),
            (ENTRIES, 2_000, 2_000)
        );
        assert_eq!(journal.latest(1)[0].detail.as_deref(), Some("1999"));
    }

    #[test]
    fn a_storm_is_a_few_entries() {
        let journal = Journal::default();
        journal.note_at(0, Kind::Listener, "lost", None);
        for n in 0..10_000 {
            journal.note_at(5_000 + n / 100, Kind::Connected, "websocket", Some("ana"));
            journal.note_at(5_000 + n / 100, Kind::Closed, "client", Some("ana"));
        }
        let all = journal.latest(100);
        assert_eq!(all.len(), 1 + 2 * 4);
        assert_eq!(all.iter().map(|entry| entry.count).sum::<u64>(), 20_001);
        assert_eq!(
            (all[0].detail.as_deref(), all.last().unwrap().kind),
            (None, Kind::Listener)
        );
        journal.note_at(6_500, Kind::Connected, "websocket", Some("eva"));
        assert_eq!(
            journal.latest(1)[0].detail.as_deref(),
            Some("eva"),
            "a second later each has an entry again"
        );
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let journal = Journal::default();
        journal.note_at(0, Kind::Closed, "client", Some(&"ñ".repeat(200)));
        let detail = journal.latest(1)[0].detail.clone().unwrap();
        assert!(detail.len() <= MAX_TEXT_BYTES && detail.starts_with('ñ'));
    }
}
