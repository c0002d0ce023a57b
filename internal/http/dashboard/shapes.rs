//! The shapes in which an older system's clients know these answers, in two generations. Ours stands beside theirs, under other names.

use jiff::Timestamp;
use serde_json::{Value, json};
use warp::http::StatusCode;

use crate::hub::Survey;
use crate::operations::{Operations, VERSION, client_json, event_json, memory_bytes, room_json};
use crate::shard::{ClientView, Roster};

/// Clients that are looked at for sums.
const COUNTED: usize = 10_000;
/// Rooms that are named as the most active.
const MOST_ACTIVE: usize = 5;
/// Who said nothing for so long counts as inactive.
const INACTIVE_S: i64 = 30 * 60;

/// Which of the two asks: by the prefix of its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Generation {
    /// `/dashboard/…`
    First,
    /// `/api/dashboard/…`
    Second,
}

impl Generation {
    /// The first knows bare lists, the second an object around them.
    pub(super) fn list(self, name: &str, list: Vec<Value>) -> Value {
        match self {
            Self::First => list.into(),
            Self::Second => json!({name: list}),
        }
    }

    /// What a POST that was obeyed is answered.
    pub(super) fn posted(self) -> StatusCode {
        match self {
            Self::First => StatusCode::CREATED,
            Self::Second => StatusCode::ACCEPTED,
        }
    }
}

fn iso(unix_s: i64) -> String {
    Timestamp::from_second(unix_s)
        .unwrap_or_default()
        .to_string()
}

fn with(mut ours: Value, theirs: Value) -> Value {
    if let (Some(ours), Value::Object(theirs)) = (ours.as_object_mut(), theirs) {
        ours.extend(theirs);
    }
    ours
}

pub(super) fn clients(roster: &Roster) -> Vec<Value> {
    roster.clients.iter().map(client).collect()
}

fn client(client: &ClientView) -> Value {
    let theirs = json!({
        "userId": client.user.as_ref().map_or("", |user| user.as_str()),
        "socketId": client.id.to_string(),
        "connectedAt": iso(client.since_s),
        "lastActivity": iso(client.heard_s),
        "rooms": client.channels,
        "isActive": true,
    });
    with(client_json(client), theirs)
}

/// Who sits in a room is not listed, and when it was opened is not known.
pub(super) fn rooms(survey: &Survey) -> Vec<Value> {
    let room = |room| {
        let ours = room_json(room);
        let at = ours["at"].as_i64().map(iso);
        with(
            ours,
            json!({"clientsCount": room.viewers, "createdAt": null, "lastActivity": at, "clients": [], "metadata": {}}),
        )
    };
    survey.rooms.iter().map(room).collect()
}

pub(super) fn events(operations: &Operations, generation: Generation, most: usize) -> Value {
    let (events, total) = operations.events(most);
    let event = |event| {
        let ours = event_json(event);
        let at = Timestamp::from_millisecond(i64::try_from(event.at_ms).unwrap_or(i64::MAX))
            .unwrap_or_default()
            .to_string();
        let data = json!({"reason": event.reason, "detail": event.detail, "count": event.count});
        match generation {
            Generation::First => with(
                ours,
                json!({"type": event.kind.as_str(), "timestamp": at, "data": data}),
            ),
            Generation::Second => with(
                ours,
                json!({"type": event.kind.as_str(), "timestamp": at, "payload": data, "source": "SERVER"}),
            ),
        }
    };
    let events: Vec<_> = events.iter().map(event).collect();
    match generation {
        Generation::First => json!({"recentEvents": events, "totalEvents": total}),
        Generation::Second => json!({"events": events, "total": total}),
    }
}

/// The server's state with its last ten minutes.
pub(super) fn stats(operations: &Operations, now: Timestamp) -> Value {
    let state = operations.state_json();
    let theirs = json!({
        "timestamp": now.to_string(),
        "activeConnections": operations.connections(),
        "totalRooms": operations.counts().0,
        "eventsPerMinute": operations.events_per_minute(),
        "systemLoad": state["load"],
    });
    with(state, theirs)
}

/// What the server depends on, looked at now.
pub(super) async fn api_status(operations: &Operations) -> Value {
    let outlook = operations.look().await;
    let report = &outlook.report;
    let problem = report.database.as_ref().err();
    let streams = report
        .streams
        .iter()
        .map(|stream| json!({"name": stream.name, "problem": stream.problem}));
    let mut status = json!({
        "status": if problem.is_none() { "connected" } else { "disconnected" },
        "lastCheck": iso(outlook.at_s),
        "responseTime": (outlook.database_ms * 100.0).round() / 100.0,
        "database": {"ok": problem.is_none(), "problem": problem},
        "listener": report.listener,
        "keys": {"ok": operations.has_keys()},
        "streams": streams.collect::<Vec<_>>(),
    });
    if let Some(problem) = problem {
        status["error"] = json!(problem);
    }
    status
}

/// All of it in sums.
pub(super) async fn overview(operations: &Operations, now_s: i64) -> Value {
    let roster = operations.clients("", COUNTED).await;
    let clients = &roster.clients;
    let of_role = |role: &str| {
        clients
            .iter()
            .filter(|client| client.role.as_deref() == Some(role))
            .count()
    };
    let seconds: i64 = clients.iter().map(|client| now_s - client.since_s).sum();
    let minutes = seconds as f64 / 60.0 / clients.len().max(1) as f64;
    let inactive = clients
        .iter()
        .filter(|client| now_s - client.heard_s > INACTIVE_S)
        .count();
    let survey = operations.rooms(MOST_ACTIVE);
    let active = rooms(&survey)
        .into_iter()
        .map(|room| json!({"name": room["name"], "clients": room["viewers"], "lastActivity": room["lastActivity"]}));
    let memory = memory_bytes();
    json!({
        "metrics": {
            "totalConnections": operations.connections_in_all(),
            "activeConnections": operations.connections(),
            "eventsEmitted": operations.frames_sent(),
            "roomsCreated": survey.total,
            "lastUpdated": iso(now_s),
        },
        "clients": {
            "total": operations.connections(),
            "byRole": {"cliente": of_role("cliente"), "proveedor": of_role("proveedor"), "admin": of_role("admin")},
            "averageConnectionTime": (minutes * 10.0).round() / 10.0,
            "inactiveClients": inactive,
        },
        "rooms": {
            "total": survey.total,
            "totalClients": survey.viewers,
            "averageClientsPerRoom": (survey.viewers as f64 / survey.total.max(1) as f64 * 10.0).round() / 10.0,
            "mostActiveRooms": active.collect::<Vec<_>>(),
        },
        // There is one memory, not a heap in it; and the version is ours.
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
    fn each_generation_has_its_lists() {
        let list = || vec![json!({"a": 1})];
        assert_eq!(Generation::First.list("clients", list()), json!([{"a": 1}]));
        assert_eq!(
            Generation::Second.list("clients", list()),
            json!({"clients": [{"a": 1}]})
        );
        assert_eq!(
            (
                Generation::First.posted().as_u16(),
                Generation::Second.posted().as_u16()
            ),
            (201, 202)
        );
    }

    #[test]
    fn times_are_as_javascript_reads_them() {
        assert_eq!(iso(1_234_567_890), "2009-02-13T23:31:30Z");
    }
}
