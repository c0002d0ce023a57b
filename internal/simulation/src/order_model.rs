//! A model of two tables: orders, each of one shop, and their lines. The triggers of lines look the
//! shop up in the order, which may move to another shop. A third table has transfers between shops,
//! each of which concerns two keys.

use std::collections::{BTreeMap, BTreeSet};

use crate::topics::{ACCOUNTS, OrderTopic};

/// The number of orders. Each begins in the shop of its number.
pub(super) const ORDERS: u8 = 3;

/// The committed rows.
pub(super) struct Orders {
    /// The shop of each order.
    pub(super) shops: [u8; ORDERS as usize],
    /// The commit that last moved each order.
    pub(super) moved_at: [u64; ORDERS as usize],
    /// The order and the quantity of each line.
    lines: Vec<(u8, u8)>,
    /// The number of transfers to each shop, less those from it.
    balances: [i64; ACCOUNTS.len()],
    /// The number of transfers from or to each shop.
    transfers: [u32; ACCOUNTS.len()],
}

/// The changes of a transaction to the orders, which nobody else sees.
#[derive(Default)]
pub(super) struct OrderChanges {
    /// The shops of all orders when the transaction began, and the number of commits by then, if it
    /// reads from one snapshot (REPEATABLE READ).
    pub(super) snapshot: Option<([u8; ORDERS as usize], u64)>,
    pub(super) moves: BTreeMap<u8, u8>,
    pub(super) lines: Vec<(u8, u8)>,
    /// The shops from which and to which goods went.
    pub(super) transfers: Vec<[u8; 2]>,
}

impl Orders {
    pub(super) fn new() -> Self {
        Self {
            shops: std::array::from_fn(|order| u8::try_from(order).unwrap()),
            moved_at: [0; ORDERS as usize],
            lines: Vec::new(),
            balances: [0; ACCOUNTS.len()],
            transfers: [0; ACCOUNTS.len()],
        }
    }

    /// Returns the shop of an order as a transaction sees it.
    pub(super) fn shop_seen_by(&self, changes: &OrderChanges, order: u8) -> u8 {
        let own = changes.moves.get(&order).copied();
        let visible = changes.snapshot.map_or(self.shops, |(shops, _)| shops);
        own.unwrap_or(visible[usize::from(order)])
    }

    pub(super) fn apply(&mut self, changes: OrderChanges, commit: u64) {
        self.lines.extend(changes.lines);
        for [from, to] in changes.transfers {
            self.balances[usize::from(from)] -= 1;
            self.balances[usize::from(to)] += 1;
            for shop in BTreeSet::from([from, to]) {
                self.transfers[usize::from(shop)] += 1;
            }
        }
        for (order, shop) in changes.moves {
            self.shops[usize::from(order)] = shop;
            self.moved_at[usize::from(order)] = commit;
        }
    }

    /// Returns the row that the query of a topic has.
    pub(super) fn row(&self, topic: OrderTopic) -> String {
        let counts = |(order, quantity): &&(u8, u8)| match topic {
            OrderTopic::Totals => true,
            OrderTopic::Account(_) => false,
            OrderTopic::Lines { shop, min_quantity } => {
                self.shops[usize::from(*order)] == shop && *quantity >= min_quantity
            }
        };
        if let OrderTopic::Account(shop) = topic {
            let shop = usize::from(shop);
            let (count, total) = (self.transfers[shop], self.balances[shop]);
            return format!(r#"{{"lineas":{count},"total":{total}}}"#);
        }
        let quantities = self.lines.iter().filter(counts);
        let (count, total) = quantities.fold((0, 0), |(count, total), (_, quantity)| {
            (count + 1, total + u32::from(*quantity))
        });
        format!(r#"{{"lineas":{count},"total":{total}}}"#)
    }
}
