//! The counts for administrators, from the rows of the stats stream and from the connected clients.

use serde_json::{Value, json};

use latido_event_bus::EventBus;

use crate::dates::{Millis, iso};
use crate::news::{News, global_stats};
use crate::page::Page;
use crate::topics;

#[derive(Debug)]
pub(super) struct Tally {
    started: Millis,
    /// The newest row of the stream, or `null` before the first one.
    row: Value,
    /// The counts that administrators received last: online users and modules, and the full object.
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

    /// Stores new counts of the table.
    pub(super) fn read(&mut self, row: Value) {
        self.row = row;
    }

    /// Returns the events for counts that changed since the last call. `modules` is the total and
    /// the online number.
    pub(super) fn news(
        &mut self,
        event_bus: &EventBus,
        modules: (usize, usize),
        now: Millis,
    ) -> Vec<News> {
        let mut events = Vec::new();
        let simple = (event_bus.presence_counts(&topics::everyone()).users, modules.1);
        if self.simple.replace(simple) != Some(simple) {
            events.push(News::new(
                "simple_stats_update",
                self.simple(event_bus, modules, now),
                [topics::admins()],
            ));
        }
        let all = self.counts(event_bus, modules);
        if self.all.as_ref() != Some(&all) {
            self.all = Some(all);
            events.push(global_stats(self.stats(event_bus, modules, now)));
        }
        events
    }

    /// Returns `{users:{online}, modules:{online}, timestamp}`.
    pub(super) fn simple(
        &self,
        event_bus: &EventBus,
        (_, online): (usize, usize),
        now: Millis,
    ) -> Value {
        let users = event_bus.presence_counts(&topics::everyone()).users;
        json!({"users": {"online": users}, "modules": {"online": online}, "timestamp": iso(now)})
    }

    /// Returns `{stats:{users, modules, websocket, system, lastUpdate}, timestamp}`.
    pub(super) fn stats(
        &self,
        event_bus: &EventBus,
        modules: (usize, usize),
        now: Millis,
    ) -> Value {
        let mut stats = self.counts(event_bus, modules);
        stats["system"] =
            json!({"uptime": (now - self.started).max(0) / 1000, "startedAt": iso(self.started)});
        stats["lastUpdate"] = iso(now).into();
        json!({"stats": stats, "timestamp": iso(now)})
    }

    fn counts(&self, event_bus: &EventBus, (known, online): (usize, usize)) -> Value {
        let number = |name: &str| self.row.get(name).and_then(Value::as_u64);
        let everyone = event_bus.presence_counts(&topics::everyone());
        let connections_on = |topic| event_bus.presence_counts(&topic).connections;
        let total = number("modules").unwrap_or(known as u64);
        let admins = connections_on(topics::admins());
        let pages = Page::ALL.map(|page| {
            (
                page.name().to_owned(),
                Value::from(connections_on(topics::viewers(page))),
            )
        });
        json!({
            "users": {"total": number("users"), "online": everyone.users},
            "modules": {
                "total": total, "online": online, "offline": total.saturating_sub(online as u64),
                "claimed": number("modules_claimed"), "types": self.row.get("module_types"),
            },
            "websocket": {
                "total": event_bus.totals().connections, "byPage": pages.into_iter().collect::<serde_json::Map<_, _>>(),
                "byType": {"user": everyone.connections.saturating_sub(admins), "admin": admins, "device": connections_on(topics::devices())},
            },
        })
    }
}
