//! JSON representations of the server, its rooms, events and clients.

use std::borrow::Cow;
use std::sync::PoisonError;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::admin::{Admin, DependencyStatus, VERSION};
use crate::process_stats;
use latido_hub::RoomSummary;
use latido_shard::ClientSummary;
use latido_telemetry::RecentEvent;

/// The maximum numbers of rooms and events in one frame.
const MAX_ROOMS_LISTED: usize = 50;
const MAX_EVENTS_LISTED: usize = 40;

impl Admin {
    /// Builds the row of `latido:servidor`.
    pub(super) fn server_json(&self) -> Value {
        let metrics = &self.deps.metrics;
        let room_stats = self.deps.hub.room_stats(MAX_ROOMS_LISTED);
        let (open_files, max_open_files) = process_stats::open_files();
        let (sockets, max_sockets) = (self.deps.connection_usage)();
        let (events, total) = self.events(MAX_EVENTS_LISTED);
        let status = self
            .dependency_status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let now = self.lock_history().latest();
        json!({
            "version": VERSION,
            "started": self.started_s,
            "uptime": self.uptime_s(),
            "now": now,
            "stale": metrics.stale.get() != 0,
            "outlook": status.as_ref().map(dependency_status_json),
            "listening": metrics.listener_up.get() != 0,
            "keys": self.can_verify_tokens(),
            "reads": NonZeroCounts(metrics.reads.values()).to_json(),
            "corrections": metrics.corrections.get(),
            "superseded": metrics.frames_superseded.get(),
            "refusals": NonZeroCounts(metrics.refusals.values()).to_json(),
            "closes": NonZeroCounts(metrics.closes.values()).to_json(),
            "errors": NonZeroCounts(metrics.errors_sent.values()).to_json(),
            "connections": {"open": self.open_connections(), "all": self.total_connections(), "sockets": sockets, "most": max_sockets},
            "files": {"open": open_files, "most": max_open_files},
            "load": process_stats::load_average(),
            "rooms": {
                "total": room_stats.total,
                "complete": room_stats.is_complete,
                "rows": room_stats.rooms.iter().map(room_json).collect::<Vec<_>>(),
            },
            "events": {"total": total, "rows": events.iter().map(event_json).collect::<Vec<_>>()},
        })
    }

    /// Builds the row of `latido:clientes`.
    pub(super) async fn clients_json(&self, matching: &str, limit: usize) -> Value {
        let client_list = self.deps.shards.list_clients(matching, limit).await;
        json!({
            "total": self.open_connections(),
            "more": client_list.has_more,
            "rows": client_list.clients.iter().map(client_json).collect::<Vec<_>>(),
        })
    }
}

/// Counters by label; those that are zero are omitted in JSON.
struct NonZeroCounts(Vec<(Cow<'static, str>, u64)>);

impl NonZeroCounts {
    fn to_json(&self) -> Value {
        let non_zero = self.0.iter().filter(|(_, count)| *count > 0);
        Value::Object(
            non_zero
                .map(|(name, count)| (name.clone().into_owned(), json!(count)))
                .collect::<Map<_, _>>(),
        )
    }
}

fn dependency_status_json(status: &DependencyStatus) -> Value {
    let report = &status.report;
    let streams = report
        .streams
        .iter()
        .map(|stream| json!({"name": stream.name, "problem": stream.problem}));
    json!({
        "at": status.checked_at_s,
        "database": {"ok": report.database_problem.is_none(), "problem": report.database_problem, "ms": (status.database_ms * 100.0).round() / 100.0},
        "listener": report.listener,
        "streams": streams.collect::<Vec<_>>(),
    })
}

/// Returns a room as JSON: its name, its viewers and the newest snapshot.
pub fn room_json(room: &RoomSummary) -> Value {
    let data = room
        .latest
        .as_ref()
        .and_then(|latest| serde_json::from_str::<&RawValue>(&latest.columns).ok());
    json!({
        "name": room.name,
        "viewers": room.viewers,
        "at": room.latest.as_ref().map(|latest| latest.timestamp_s),
        "v": room.latest.as_ref().map(|latest| latest.version.0),
        "data": data,
    })
}

/// Returns an event of the log as JSON.
pub fn event_json(event: &RecentEvent) -> Value {
    json!({
        "seq": event.seq,
        "at": event.at_ms,
        "kind": event.kind.as_str(),
        "reason": event.reason,
        "detail": event.detail,
        "count": event.count,
    })
}

/// Returns a connected client as JSON.
pub fn client_json(client: &ClientSummary) -> Value {
    json!({
        "id": client.id.to_string(),
        "user": client.user.as_ref().map_or("", |user| user.as_str()),
        "role": client.role,
        "address": client.address.map(|address| address.to_string()),
        "since": client.connected_at_s,
        "heard": client.last_received_s,
        "behind": client.full_since_s,
        "expires": client.expires_at_s,
        "dialect": client.dialect,
        "transport": "websocket",
        "channels": client.channels,
        "channel_count": client.channel_count,
    })
}
