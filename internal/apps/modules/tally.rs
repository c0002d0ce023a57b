//! What administrators see counted: rows of the engine's stream, and who is connected.

use serde_json::{Value, json};

use crate::hub::exchange::Exchange;

use crate::apps::modules::dates::{Millis, iso};
use crate::apps::modules::news::{News, global_stats};
use crate::apps::modules::page::Page;
use crate::apps::modules::topics;

#[derive(Debug)]
pub(super) struct Tally {
    started: Millis,
    /// The newest row of the stream, once there is one.
    row: Value,
    /// What administrators were last told: users and modules online, and all of it.
    simple: Option<(usize, usize)>,
    all: Option<Value>,
}

impl Tally {
    pub(super) fn new(now: Millis) -> Self {
        Self {
            started: now,
            row: Value::Null,
            simple: None,
            all: None,
        }
    }

    /// The table's counts have changed.
    pub(super) fn read(&mut self, row: Value) {
        self.row = row;
    }

    /// What has changed since administrators were last told, if anything. `modules`: in all, and online.
    pub(super) fn news(
        &mut self,
        exchange: &Exchange,
        modules: (usize, usize),
        now: Millis,
    ) -> Vec<News> {
        let mut news = Vec::new();
        let simple = (exchange.counts(&topics::everyone()).users, modules.1);
        if self.simple.replace(simple) != Some(simple) {
            news.push(News::new(
                "simple_stats_update",
                self.simple(exchange, modules, now),
                [topics::admins()],
            ));
        }
        let all = self.counts(exchange, modules);
        if self.all.as_ref() != Some(&all) {
            self.all = Some(all);
            news.push(global_stats(self.stats(exchange, modules, now)));
        }
        news
    }

    /// `{users:{online}, modules:{online}, timestamp}`.
    pub(super) fn simple(
        &self,
        exchange: &Exchange,
        (_, online): (usize, usize),
        now: Millis,
    ) -> Value {
        let users = exchange.counts(&topics::everyone()).users;
        json!({"users": {"online": users}, "modules": {"online": online}, "timestamp": iso(now)})
    }

    /// `{stats:{users, modules, websocket, system, lastUpdate}, timestamp}`.
    pub(super) fn stats(&self, exchange: &Exchange, modules: (usize, usize), now: Millis) -> Value {
        let mut stats = self.counts(exchange, modules);
        stats["system"] =
            json!({"uptime": (now - self.started).max(0) / 1000, "startedAt": iso(self.started)});
        stats["lastUpdate"] = iso(now).into();
        json!({"stats": stats, "timestamp": iso(now)})
    }

    fn counts(&self, exchange: &Exchange, (known, online): (usize, usize)) -> Value {
        let number = |name: &str| self.row.get(name).and_then(Value::as_u64);
        let everyone = exchange.counts(&topics::everyone());
        let of = |topic| exchange.counts(&topic).connections;
        let total = number("modules").unwrap_or(known as u64);
        let admins = of(topics::admins());
        let pages = Page::ALL.map(|page| {
            (
                page.name().to_owned(),
                Value::from(of(topics::viewers(page))),
            )
        });
        json!({
            "users": {"total": number("users"), "online": everyone.users},
            "modules": {
                "total": total, "online": online, "offline": total.saturating_sub(online as u64),
                "claimed": number("modules_claimed"), "types": self.row.get("module_types"),
            },
            "websocket": {
                "total": exchange.totals().connections, "byPage": pages.into_iter().collect::<serde_json::Map<_, _>>(),
                "byType": {"user": everyone.connections.saturating_sub(admins), "admin": admins, "device": of(topics::devices())},
            },
        })
    }
}
