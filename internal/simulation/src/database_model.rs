//! A model of the database: citas, transactions that become visible at their commit, advisory
//! locks, and notifications in transit.

use std::collections::{BTreeSet, VecDeque};

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};

use crate::script::{CitaWrite, KEYS, TRANSACTIONS, WIDE};

/// The simulated database; see the documentation of this module.
pub(super) struct DatabaseModel {
    /// The day and the served flag of each cita, by key.
    citas: Vec<Vec<(Date, bool)>>,
    first_day: Date,
    transactions: Vec<Option<ModelTransaction>>,
    /// The number of commits so far.
    pub(super) commits: u64,
    /// The shared locks that the server holds.
    pub(super) shared: BTreeSet<u16>,
    /// The keys of notifications that were sent but not yet delivered.
    pub(super) notifications: VecDeque<u8>,
    /// True while a connection listens.
    pub(super) is_listening: bool,
    pub(super) is_up: bool,
    pub(super) poisoned: BTreeSet<u8>,
    /// The streams whose query is refused.
    pub(super) broken: BTreeSet<u8>,
    /// The locks that the writers of each key try.
    locks: Vec<[u16; 2]>,
    pub(super) clock_us: i64,
    /// The latest time that the clock ever showed, in microseconds.
    latest_us: i64,
    /// The lower limit of the clock, in microseconds. The clock steps back only within one server's
    /// life.
    floor_us: i64,
}

#[derive(Default)]
struct ModelTransaction {
    writes: Vec<(u8, CitaWrite)>,
    /// The exclusive locks that it took because no server watches the keys.
    exclusive: BTreeSet<u16>,
    notified_keys: BTreeSet<u8>,
}

impl DatabaseModel {
    pub(super) fn new(first_day: Date, locks: Vec<[u16; 2]>, clock_us: i64) -> Self {
        Self {
            citas: vec![Vec::new(); usize::from(KEYS)],
            first_day,
            transactions: (0..TRANSACTIONS).map(|_| None).collect(),
            commits: 0,
            shared: BTreeSet::new(),
            notifications: VecDeque::new(),
            is_listening: false,
            is_up: true,
            poisoned: BTreeSet::new(),
            broken: BTreeSet::new(),
            locks,
            clock_us,
            latest_us: clock_us,
            floor_us: clock_us,
        }
    }

    /// Advances the clock, or lets it jump.
    pub(super) fn step_clock(&mut self, us: i64) {
        self.clock_us = (self.clock_us + us).max(self.floor_us);
        self.latest_us = self.latest_us.max(self.clock_us);
    }

    /// Ends all connections of the server. Its successor knows none of its versions, so the clock
    /// that creates them must not have gone back. The documents state this limit.
    pub(super) fn drop_server_connections(&mut self) {
        self.shared.clear();
        self.notifications.clear();
        self.is_listening = false;
        self.floor_us = self.latest_us + 1_000_000;
        self.clock_us = self.floor_us;
    }

    /// Runs a statement in a transaction, with the action of its trigger: try one lock, then the
    /// other, and notify if both are refused.
    pub(super) fn write(&mut self, transaction: usize, key: u8, write: CitaWrite) {
        if !self.is_up {
            return;
        }
        let taken: BTreeSet<u16> = self
            .exclusive_of_others(transaction)
            .union(&self.shared)
            .copied()
            .collect();
        let free = self.locks[usize::from(key)]
            .into_iter()
            .find(|lock| !taken.contains(lock));
        let open = self.transactions[transaction].get_or_insert_default();
        open.writes.push((key, write));
        match free {
            Some(lock) => drop(open.exclusive.insert(lock)),
            None => drop(open.notified_keys.insert(key)),
        }
    }

    fn exclusive_of_others(&self, transaction: usize) -> BTreeSet<u16> {
        let others = self
            .transactions
            .iter()
            .enumerate()
            .filter(|(number, _)| *number != transaction);
        others
            .filter_map(|(_, open)| open.as_ref())
            .flat_map(|open| open.exclusive.iter().copied())
            .collect()
    }

    /// Makes a transaction visible, frees its locks, and sends its notifications.
    pub(super) fn commit(&mut self, transaction: usize) {
        let Some(done) = self.transactions[transaction].take() else {
            return;
        };
        for (key, write) in done.writes {
            let citas = &mut self.citas[usize::from(key)];
            match write {
                CitaWrite::Book(days) => {
                    citas.push((self.first_day.saturating_add(i64::from(days).days()), false))
                }
                CitaWrite::Serve => citas
                    .iter_mut()
                    .filter(|cita| !cita.1)
                    .take(1)
                    .for_each(|cita| cita.1 = true),
                CitaWrite::Cancel => drop(citas.pop()),
            }
        }
        self.commits += 1;
        if self.is_listening {
            self.notifications.extend(done.notified_keys);
        }
    }

    pub(super) fn rollback(&mut self, transaction: usize) {
        self.transactions[transaction] = None;
    }

    /// Acquires a shared lock for the server, unless a silent writer holds it.
    pub(super) fn try_share(&mut self, lock: u16) -> bool {
        let free = !self.exclusive_of_others(usize::MAX).contains(&lock);
        if free {
            self.shared.insert(lock);
        }
        free
    }

    /// Returns whether the writers of the key notify.
    pub(super) fn is_watched(&self, key: u8) -> bool {
        self.locks[usize::from(key)]
            .iter()
            .all(|lock| self.shared.contains(lock))
    }

    /// Crashes the database: uncommitted changes are lost, and every connection ends.
    pub(super) fn crash(&mut self) {
        self.is_up = false;
        self.is_listening = false;
        self.transactions.iter_mut().for_each(|open| *open = None);
        self.shared.clear();
        self.notifications.clear();
    }

    /// Returns the row that the stream's query has for a key on that day.
    pub(super) fn row(&self, key: u8, today: Date) -> String {
        let citas = &self.citas[usize::from(key)];
        let hoy = citas.iter().filter(|(day, _)| *day == today).count();
        let completadas = citas.iter().filter(|(_, served)| *served).count();
        let pad = if key == WIDE {
            "x".repeat(6_000)
        } else {
            String::new()
        };
        format!(
            r#"{{"citas_hoy":{hoy},"total_citas":{},"citas_completadas":{completadas},"nota":"{pad}"}}"#,
            citas.len()
        )
    }
}

/// Returns the zone of a key, in runs in which keys have their own zones.
pub(super) fn zone(key: u8) -> &'static str {
    ["America/Guayaquil", "Asia/Tokyo", "UTC"][usize::from(key % 3)]
}

/// Returns the date of today in a zone, computed by a calendar independent of the engine's.
pub(super) fn today(zone: &str, now: Timestamp) -> Date {
    now.in_tz(zone).unwrap().date()
}
