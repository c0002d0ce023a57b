//! The counts for administrators, from the rows of the stats stream and from the connected clients.

use serde_json::{Value, json};

use latido_event_bus::EventBus;

use crate::events::{OutgoingEvent, global_stats_event};
use crate::page::WebPage;
use crate::time_format::{Millis, to_iso_string};
use crate::topics;

#[derive(Debug)]
pub(super) struct AdminStats {
    started_at: Millis,
    /// The newest row of the stream, or `null` before the first one.
    row: Value,
    /// The counts that administrators received last: online users and modules, and the full object.
    last_simple: Option<(usize, usize)>,
    last_counts: Option<Value>,
}

impl AdminStats {
    pub(super) fn new(now: Millis) -> Self {
        Self {
            started_at: now,
            row: Value::Null,
            last_simple: None,
            last_counts: None,
        }
    }

    /// Stores new counts of the table.
    pub(super) fn set_row(&mut self, row: Value) {
        self.row = row;
    }

    /// Returns the events for counts that changed since the last call. `modules` is the total and
    /// the online number.
    pub(super) fn changed_events(
        &mut self,
        event_bus: &EventBus,
        modules: (usize, usize),
        now: Millis,
    ) -> Vec<OutgoingEvent> {
        let mut events = Vec::new();
        let simple = (
            event_bus.presence_counts(&topics::everyone()).users,
            modules.1,
        );
        if self.last_simple.replace(simple) != Some(simple) {
            events.push(OutgoingEvent::new(
                "simple_stats_update",
                self.simple_stats(event_bus, modules, now),
                [topics::admins()],
            ));
        }
        let all = self.counts(event_bus, modules);
        if self.last_counts.as_ref() != Some(&all) {
            self.last_counts = Some(all);
            events.push(global_stats_event(self.full_stats(event_bus, modules, now)));
        }
        events
    }

    /// Returns `{users:{online}, modules:{online}, timestamp}`.
    pub(super) fn simple_stats(
        &self,
        event_bus: &EventBus,
        (_, online): (usize, usize),
        now: Millis,
    ) -> Value {
        let users = event_bus.presence_counts(&topics::everyone()).users;
        json!({"users": {"online": users}, "modules": {"online": online}, "timestamp": to_iso_string(now)})
    }

    /// Returns `{stats:{users, modules, websocket, system, lastUpdate}, timestamp}`.
    pub(super) fn full_stats(
        &self,
        event_bus: &EventBus,
        modules: (usize, usize),
        now: Millis,
    ) -> Value {
        let mut stats = self.counts(event_bus, modules);
        stats["system"] = json!({"uptime": (now - self.started_at).max(0) / 1000, "startedAt": to_iso_string(self.started_at)});
        stats["lastUpdate"] = to_iso_string(now).into();
        json!({"stats": stats, "timestamp": to_iso_string(now)})
    }

    fn counts(&self, event_bus: &EventBus, (known, online): (usize, usize)) -> Value {
        let number = |name: &str| self.row.get(name).and_then(Value::as_u64);
        let everyone = event_bus.presence_counts(&topics::everyone());
        let connections_on = |topic| event_bus.presence_counts(&topic).connections;
        let total = number("modules").unwrap_or(known as u64);
        let admins = connections_on(topics::admins());
        let pages = WebPage::ALL.map(|page| {
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
