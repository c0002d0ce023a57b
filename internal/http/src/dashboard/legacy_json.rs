//! The JSON shapes that an older system's clients expect, in two versions. This server's own fields
//! are added under other names.

use jiff::Timestamp;
use serde_json::{Value, json};
use warp::http::StatusCode;

use latido_admin::{
    Admin, ReadinessReport, VERSION, client_json, event_json, memory_bytes, room_json,
};
use latido_base::time_format::{from_unix_ms, from_unix_s, iso};
use latido_hub::RoomStats;
use latido_shard::{ClientList, ClientSummary};

/// The most clients that are counted for sums.
const MAX_COUNTED_CLIENTS: usize = 10_000;

/// The number of rooms listed as the most active.
const MOST_ACTIVE: usize = 5;

/// The time without a message after which a client counts as inactive, in seconds.
const INACTIVE_S: i64 = 30 * 60;

/// The version of the older API, given by the address prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DashboardVersion {
    /// The version under `/dashboard/…`.
    V1,
    /// The version under `/api/dashboard/…`.
    V2,
}

impl DashboardVersion {
    /// Formats a list: version 1 expects a bare list, version 2 an object around it.
    pub(super) fn list(self, name: &str, list: Vec<Value>) -> Value {
        match self {
            Self::V1 => list.into(),
            Self::V2 => json!({name: list}),
        }
    }

    /// Returns the status of a successful POST.
    pub(super) fn post_status(self) -> StatusCode {
        match self {
            Self::V1 => StatusCode::CREATED,
            Self::V2 => StatusCode::ACCEPTED,
        }
    }
}

fn iso_s(unix_s: i64) -> String {
    iso(from_unix_s(unix_s))
}

fn merge(mut own: Value, legacy: Value) -> Value {
    if let (Some(own), Value::Object(legacy)) = (own.as_object_mut(), legacy) {
        own.extend(legacy);
    }
    own
}

pub(super) fn clients_json(list: &ClientList) -> Vec<Value> {
    list.clients.iter().map(legacy_client_json).collect()
}

fn legacy_client_json(client: &ClientSummary) -> Value {
    let legacy = json!({
        "userId": client.user.as_ref().map_or("", |user| user.as_str()),
        "socketId": client.id.to_string(),
        "connectedAt": iso_s(client.connected_at_s),
        "lastActivity": iso_s(client.last_received_s),
        "rooms": client.channels,
        "isActive": true,
    });
    merge(client_json(client), legacy)
}

/// Formats the rooms. The members of a room are not listed, and its creation time is not known.
pub(super) fn rooms_json(stats: &RoomStats) -> Vec<Value> {
    let room = |room| {
        let own = room_json(room);
        let at = own["at"].as_i64().map(iso_s);
        merge(
            own,
            json!({"clientsCount": room.viewers, "createdAt": null, "lastActivity": at, "clients": [], "metadata": {}}),
        )
    };
    stats.rooms.iter().map(room).collect()
}

pub(super) fn events_json(operations: &Admin, version: DashboardVersion, limit: usize) -> Value {
    let (events, total) = operations.events(limit);
    let event = |event| {
        let own = event_json(event);
        let at = iso(from_unix_ms(i64::try_from(event.at_ms).unwrap_or(i64::MAX)));
        let data = json!({"reason": event.reason, "detail": event.detail, "count": event.count});
        match version {
            DashboardVersion::V1 => merge(
                own,
                json!({"type": event.kind.as_str(), "timestamp": at, "data": data}),
            ),
            DashboardVersion::V2 => merge(
                own,
                json!({"type": event.kind.as_str(), "timestamp": at, "payload": data, "source": "SERVER"}),
            ),
        }
    };
    let events: Vec<_> = events.iter().map(event).collect();
    match version {
        DashboardVersion::V1 => json!({"recentEvents": events, "totalEvents": total}),
        DashboardVersion::V2 => json!({"events": events, "total": total}),
    }
}

/// Formats the server's state with its last ten minutes.
pub(super) fn stats_json(operations: &Admin, now: Timestamp) -> Value {
    let state = operations.state_json();
    let legacy = json!({
        "timestamp": iso(now),
        "activeConnections": operations.open_connections(),
        "totalRooms": operations.viewer_counts().0,
        "eventsPerMinute": operations.events_per_minute(),
        "systemLoad": state["load"],
    });
    merge(state, legacy)
}

/// Checks the server's dependencies now and formats their status.
pub(super) async fn api_status_json(operations: &Admin) -> Value {
    let dependencies = operations.check_dependencies().await;
    let report = &dependencies.report;
    let problem = report.database_problem.as_ref();
    let streams = report
        .streams
        .iter()
        .map(|stream| json!({"name": stream.name, "problem": stream.problem}));
    let mut status = json!({
        "status": status_name(report),
        "lastCheck": iso_s(dependencies.checked_at_s),
        "responseTime": (dependencies.database_ms * 100.0).round() / 100.0,
        "database": {"ok": problem.is_none(), "problem": problem},
        "listener": report.listener,
        "keys": {"ok": operations.can_verify_tokens()},
        "streams": streams.collect::<Vec<_>>(),
    });
    if let Some(problem) = problem {
        status["error"] = json!(problem);
    }
    status
}

fn status_name(report: &ReadinessReport) -> &'static str {
    match (&report.database_problem, report.listener) {
        (Some(_), _) => "disconnected",
        (None, "asleep") => "asleep",
        (None, _) => "connected",
    }
}

/// Formats an overview of clients, rooms and memory in sums.
pub(super) async fn overview_json(operations: &Admin, now_s: i64) -> Value {
    let list = operations.clients("", MAX_COUNTED_CLIENTS).await;
    let clients = &list.clients;
    let of_role = |role: &str| {
        clients
            .iter()
            .filter(|client| client.role.as_deref() == Some(role))
            .count()
    };
    let seconds: i64 = clients
        .iter()
        .map(|client| now_s - client.connected_at_s)
        .sum();
    let minutes = seconds as f64 / 60.0 / clients.len().max(1) as f64;
    let inactive = clients
        .iter()
        .filter(|client| now_s - client.last_received_s > INACTIVE_S)
        .count();
    let stats = operations.rooms(MOST_ACTIVE);
    let active = rooms_json(&stats)
        .into_iter()
        .map(|room| json!({"name": room["name"], "clients": room["viewers"], "lastActivity": room["lastActivity"]}));
    let memory = memory_bytes();
    json!({
        "metrics": {
            "totalConnections": operations.total_connections(),
            "activeConnections": operations.open_connections(),
            "eventsEmitted": operations.frames_sent(),
            "roomsCreated": stats.total,
            "lastUpdated": iso_s(now_s),
        },
        "clients": {
            "total": operations.open_connections(),
            "byRole": {"cliente": of_role("cliente"), "proveedor": of_role("proveedor"), "admin": of_role("admin")},
            "averageConnectionTime": (minutes * 10.0).round() / 10.0,
            "inactiveClients": inactive,
        },
        "rooms": {
            "total": stats.total,
            "totalClients": stats.viewers,
            "averageClientsPerRoom": (stats.viewers as f64 / stats.total.max(1) as f64 * 10.0).round() / 10.0,
            "mostActiveRooms": active.collect::<Vec<_>>(),
        },
        // The process has no separate heap, so all figures are its memory; and the version is this
        // server's.
        "system": {
            "uptime": operations.uptime_s(),
            "memoryUsage": {"rss": memory, "heapTotal": memory, "heapUsed": memory},
            "nodeVersion": format!("latido {VERSION}"),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_list_shape() {
        let list = || vec![json!({"a": 1})];
        assert_eq!(
            DashboardVersion::V1.list("clients", list()),
            json!([{"a": 1}])
        );
        assert_eq!(
            DashboardVersion::V2.list("clients", list()),
            json!({"clients": [{"a": 1}]})
        );
        assert_eq!(
            (
                DashboardVersion::V1.post_status().as_u16(),
                DashboardVersion::V2.post_status().as_u16()
            ),
            (201, 202)
        );
    }
}
