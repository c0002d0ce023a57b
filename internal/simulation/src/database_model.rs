//! A model of the database: citas, transactions that become visible at their commit, advisory
//! locks, and notifications in transit.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};

use crate::order_model::{OrderChanges, Orders};
use crate::script::{CitaWrite, KEYS, TRANSACTIONS, WIDE};
use crate::topics::{TOTALS, first_topic_of_shop, order_topic, topic_of_account};
use latido_stream::OpenTransaction;

/// A notification. It names a key by the first of its topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Notification {
    /// Rows of the key changed.
    Changed(u8),
    /// An order moved to the key.
    Moved(u8),
}

/// The locks that the writers of a topic's key try.
#[derive(Debug, Clone)]
pub(super) struct TopicLocks {
    pub(super) pair: [u16; 2],
    /// Those of its stream; none if nothing is looked up.
    pub(super) gate: Range<u16>,
}

/// The simulated database; see the documentation of this module.
pub(super) struct DatabaseModel {
    /// The day and the served flag of each cita, by key.
    citas: Vec<Vec<(Date, bool)>>,
    orders: Orders,
    first_day: Date,
    transactions: Vec<Option<ModelTransaction>>,
    /// The number of transactions so far, which names each.
    begun: u64,
    /// The number of commits so far.
    pub(super) commits: u64,
    /// The shared locks that the server holds.
    pub(super) shared: BTreeSet<u16>,
    /// The notifications that were sent but not yet delivered.
    pub(super) notifications: VecDeque<Notification>,
    /// True while a connection listens.
    pub(super) is_listening: bool,
    pub(super) is_up: bool,
    pub(super) poisoned: BTreeSet<u8>,
    /// The streams whose query is refused.
    pub(super) broken: BTreeSet<u8>,
    /// The locks of each topic.
    locks: Vec<TopicLocks>,
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
    notifications: BTreeSet<Notification>,
    orders: OrderChanges,
    number: u64,
    /// True if it was prepared for a two-phase commit. Then it only ends.
    is_prepared: bool,
}

impl DatabaseModel {
    pub(super) fn new(first_day: Date, locks: Vec<TopicLocks>, clock_us: i64) -> Self {
        Self {
            citas: vec![Vec::new(); usize::from(KEYS)],
            orders: Orders::new(),
            first_day,
            begun: 0,
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

    /// Returns an open transaction, which may begin now. Returns `None` if it cannot run a statement.
    fn open(&mut self, transaction: usize) -> Option<&mut ModelTransaction> {
        if !self.is_up {
            return None;
        }
        let begun = &mut self.begun;
        let open = self.transactions[transaction].get_or_insert_with(|| {
            *begun += 1;
            ModelTransaction {
                number: *begun,
                ..ModelTransaction::default()
            }
        });
        (!open.is_prepared).then_some(open)
    }

    /// Runs a statement in a transaction, with the action of its trigger.
    pub(super) fn write(&mut self, transaction: usize, key: u8, write: CitaWrite) {
        let Some(open) = self.open(transaction) else {
            return;
        };
        open.writes.push((key, write));
        self.run_trigger(transaction, key);
    }

    /// Tries one lock of a topic's key, then the other, and notifies if both are refused.
    fn run_trigger(&mut self, transaction: usize, topic: u8) {
        let pair = self.locks[usize::from(topic)].pair;
        if !self.try_locks(transaction, &pair)
            && let Some(open) = self.open(transaction)
        {
            open.notifications.insert(Notification::Changed(topic));
        }
    }

    /// Takes the first of these locks that is free. Returns `false` if none is.
    fn try_locks(&mut self, transaction: usize, locks: &[u16]) -> bool {
        let taken = self.exclusive_of_others(transaction);
        let is_free = |lock: &&u16| !taken.contains(lock) && !self.shared.contains(lock);
        let free = locks.iter().find(is_free).copied();
        match (free, self.open(transaction)) {
            (Some(lock), Some(open)) => {
                open.exclusive.insert(lock);
                true
            }
            _ => false,
        }
    }

    /// Tries the gate lock of a writer. Some writers share one.
    fn try_gate(&mut self, transaction: usize) -> bool {
        let first = self.locks[usize::from(first_topic_of_shop(0))].gate.start;
        let slot = u16::try_from(transaction % 2).unwrap();
        self.try_locks(transaction, &[first + slot])
    }

    /// Begins a transaction that reads from one snapshot, unless it is open.
    pub(super) fn begin_snapshot(&mut self, transaction: usize) {
        if self.transactions[transaction].is_some() {
            return;
        }
        let snapshot = Some((self.orders.shops, self.commits));
        if let Some(open) = self.open(transaction) {
            open.orders.snapshot = snapshot;
        }
    }

    /// Adds a line to an order. Its trigger looks the shop up, as the transaction sees it, unless the
    /// gate is free.
    pub(super) fn add_line(&mut self, transaction: usize, order: u8, quantity: u8) {
        let Some(open) = self.open(transaction) else {
            return;
        };
        open.orders.lines.push((order, quantity));
        if !self.try_gate(transaction) {
            let changes = &self.transactions[transaction].as_ref().unwrap().orders;
            let shop = self.orders.shop_seen_by(changes, order);
            self.run_trigger(transaction, first_topic_of_shop(shop));
        }
        self.run_trigger(transaction, TOTALS);
    }

    /// Transfers goods from a shop to a shop. Each of the table's two triggers names one key.
    pub(super) fn transfer(&mut self, transaction: usize, from: u8, to: u8) {
        if let Some(open) = self.open(transaction) {
            open.orders.transfers.push([from, to]);
            for shop in [from, to] {
                self.run_trigger(transaction, topic_of_account(shop));
            }
        }
    }

    /// Moves an order to a shop. A statement that would wait for another transaction does nothing,
    /// and one whose snapshot is too old ends its transaction.
    pub(super) fn move_order(&mut self, transaction: usize, order: u8, shop: u8) {
        let moves = |open: &ModelTransaction| open.orders.moves.contains_key(&order);
        let others = self.transactions.iter().enumerate();
        let mut others = others.filter(|(number, _)| *number != transaction);
        if others.any(|(_, open)| open.as_ref().is_some_and(moves)) {
            return;
        }
        let Some(open) = self.open(transaction) else {
            return;
        };
        let snapshot = open.orders.snapshot;
        if snapshot.is_some_and(|(_, commits)| self.orders.moved_at[usize::from(order)] > commits) {
            self.rollback(transaction);
            return;
        }
        let changes = &self.transactions[transaction].as_ref().unwrap().orders;
        let from = self.orders.shop_seen_by(changes, order);
        if from == shop {
            return;
        }
        let is_silent = self.try_gate(transaction);
        if let Some(open) = self.open(transaction) {
            open.orders.moves.insert(order, shop);
            if !is_silent {
                let to = Notification::Moved(first_topic_of_shop(shop));
                open.notifications.insert(to);
            }
        }
        for shop in [from, shop] {
            self.run_trigger(transaction, first_topic_of_shop(shop));
        }
    }

    /// Prepares a transaction for a two-phase commit, which fails if it notifies.
    pub(super) fn prepare(&mut self, transaction: usize) {
        match &mut self.transactions[transaction] {
            Some(open) if !open.notifications.is_empty() => self.transactions[transaction] = None,
            Some(open) => open.is_prepared = true,
            None => {}
        }
    }

    /// Returns the open transactions.
    pub(super) fn open_transactions(&self) -> Vec<OpenTransaction> {
        let open = self.transactions.iter().flatten();
        let name = |open: &ModelTransaction| OpenTransaction {
            id: match open.is_prepared {
                true => format!("-1/{}", open.number).into(),
                false => format!("1/{}", open.number).into(),
            },
            is_prepared: open.is_prepared,
        };
        open.map(name).collect()
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
        // A prepared transaction outlives a crash, but cannot end before the database is back.
        let done = self.transactions[transaction].take_if(|_| self.is_up);
        let Some(done) = done else {
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
        self.orders.apply(done.orders, self.commits);
        if self.is_listening {
            self.notifications.extend(done.notifications);
        }
    }

    pub(super) fn rollback(&mut self, transaction: usize) {
        self.transactions[transaction].take_if(|_| self.is_up);
    }

    /// Acquires those of these shared locks for the server that no silent writer holds. Returns them.
    pub(super) fn try_share(&mut self, locks: &[u16]) -> Vec<u16> {
        let exclusive = self.exclusive_of_others(usize::MAX);
        let is_free = |lock: &&u16| !exclusive.contains(lock);
        let free: Vec<_> = locks.iter().filter(is_free).copied().collect();
        self.shared.extend(&free);
        free
    }

    /// Returns whether the writers of the topic's key notify.
    pub(super) fn is_watched(&self, topic: u8) -> bool {
        let TopicLocks { pair, gate } = &self.locks[usize::from(topic)];
        let mut locks = pair.iter().copied().chain(gate.clone());
        locks.all(|lock| self.shared.contains(&lock))
    }

    /// Returns whether a notification that will read the topic is in transit. A key is named by the
    /// first of its topics.
    pub(super) fn is_notified(&self, topics_of_key: &[u8]) -> bool {
        let is_of_key = |notification: &Notification| match notification {
            Notification::Changed(number) | Notification::Moved(number) => {
                topics_of_key.contains(number)
            }
        };
        self.notifications.iter().any(is_of_key)
    }

    /// Crashes the database: uncommitted changes are lost, and every connection ends.
    pub(super) fn crash(&mut self) {
        self.is_up = false;
        self.is_listening = false;
        for open in &mut self.transactions {
            open.take_if(|open| !open.is_prepared);
        }
        self.shared.clear();
        self.notifications.clear();
    }

    /// Returns the row that the stream's query has for a topic on that day.
    pub(super) fn row(&self, key: u8, today: Date) -> String {
        if let Some(topic) = order_topic(key) {
            return self.orders.row(topic);
        }
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
