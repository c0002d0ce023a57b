//! The JSON responses of the dashboard, in the shapes of both versions.

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::doorkeeper::ApiState;
use crate::hall::{Client, HISTORY_LENGTH, Hall};
use crate::who::{HISTORY, Role};
use crate::words::{self, iso};
use latido_admin::{VERSION, memory_bytes};
use latido_event_bus::{ConnectionId, TopicName};

/// The number of rooms listed as the most active ones.
const MOST_ACTIVE: usize = 5;
/// The inactivity after which a client counts as inactive, in microseconds (30 minutes).
const INACTIVE_US: i64 = 30 * 60 * 1_000_000;

/// A connected socket with its rooms.
pub(super) struct Row {
    pub(super) id: ConnectionId,
    pub(super) client: Client,
    /// The names of its public rooms, sorted.
    rooms: Vec<String>,
    /// The time of the last event from the socket or to one of its rooms.
    pub(super) active: Timestamp,
}

/// A public room with its connected sockets.
struct Room {
    name: String,
    since: Timestamp,
    active: Timestamp,
    clients: Vec<String>,
}

/// Returns `false` for internal rooms, whose names start with `#`.
fn is_public(name: &str) -> bool {
    !name.starts_with('#')
}

fn at(us: i64) -> Timestamp {
    Timestamp::from_microsecond(us).unwrap_or_default()
}

/// Collects all sockets and all public rooms that have members, as they are now.
fn survey(service: &Hall) -> (Vec<Row>, Vec<Room>) {
    let topics = service.exchange.topics();
    let mut rooms: HashMap<_, _> = topics
        .iter()
        .filter(|topic| is_public(topic.name.as_str()))
        .map(|topic| {
            let room = Room {
                name: topic.name.as_str().to_owned(),
                since: at(topic.opened_us),
                active: at(topic.active_us),
                clients: Vec::new(),
            };
            (topic.name.clone(), room)
        })
        .collect();
    let mut clients = service.everybody();
    let mut rows = Vec::with_capacity(clients.len());
    for connection in service.exchange.connections() {
        let Some(client) = clients.remove(&connection.id) else {
            continue;
        };
        let (mut names, mut active) = (Vec::new(), client.heard);
        for topic in connection.topics {
            if let Some(room) = rooms.get_mut(&topic) {
                room.clients.push(client.socket_id.to_string());
                active = active.max(room.active);
                names.push(room.name.clone());
            }
        }
        names.sort_unstable();
        rows.push(Row {
            id: connection.id,
            client,
            rooms: names,
            active,
        });
    }
    rows.sort_by_key(|row| row.client.since);
    let mut rooms: Vec<_> = rooms
        .into_values()
        .filter(|room| !room.clients.is_empty())
        .collect();
    rooms.sort_by(|a, b| b.active.cmp(&a.active).then_with(|| a.name.cmp(&b.name)));
    (rows, rooms)
}

/// Returns all connected sockets with their rooms.
pub(super) fn rows(service: &Hall) -> Vec<Row> {
    survey(service).0
}

pub(super) fn clients(service: &Hall) -> Vec<Value> {
    let now = service.clock.now();
    let row = |row: Row| {
        json!({
            "userId": row.client.who.as_ref().map(|user| &*user.id),
            "role": row.client.who.as_ref().map(|user| user.role.as_str()),
            "socketId": &*row.client.socket_id,
            "connectedAt": iso(row.client.since),
            "lastActivity": iso(row.active),
            "rooms": row.rooms,
            "isActive": is_active(row.active, now),
        })
    };
    rows(service).into_iter().map(row).collect()
}

fn is_active(active: Timestamp, now: Timestamp) -> bool {
    now.as_microsecond() - active.as_microsecond() < INACTIVE_US
}

pub(super) fn rooms(service: &Hall) -> Vec<Value> {
    let row = |room: Room| {
        json!({
            "name": room.name,
            "clientsCount": room.clients.len(),
            "createdAt": iso(room.since),
            "lastActivity": iso(room.active),
            "clients": room.clients,
            "metadata": {},
        })
    };
    survey(service).1.into_iter().map(row).collect()
}

pub(super) fn metrics(service: &Hall) -> Value {
    json!({
        "totalConnections": service.counts.connections.load(Ordering::Relaxed),
        "activeConnections": service.exchange.totals().connections,
        "eventsEmitted": service.counts.emitted.load(Ordering::Relaxed),
        "roomsCreated": service.counts.rooms.load(Ordering::Relaxed),
        "lastUpdated": iso(service.clock.now()),
    })
}

/// Returns totals over all sockets and rooms.
pub(super) fn overview(service: &Hall) -> Value {
    let (rows, rooms) = survey(service);
    let now = service.clock.now();
    let of_role = |role| {
        rows.iter()
            .filter(|row| {
                row.client
                    .who
                    .as_ref()
                    .is_some_and(|user| user.role == role)
            })
            .count()
    };
    // Not `sum()`, which returns -0.0 for an empty iterator.
    let minutes = rows
        .iter()
        .map(|row| now.duration_since(row.client.since).as_secs_f64() / 60.0)
        .fold(0.0, |sum, n| sum + n);
    let inactive = rows
        .iter()
        .filter(|row| !is_active(row.active, now))
        .count();
    let memberships: usize = rooms.iter().map(|room| room.clients.len()).sum();
    let mean = |sum: f64, count: usize| (sum / count.max(1) as f64 * 100.0).round() / 100.0;
    let most_active = rooms
        .iter()
        .take(MOST_ACTIVE)
        .map(|room| json!({"name": room.name, "clients": room.clients.len(), "lastActivity": iso(room.active)}));
    json!({
        "metrics": metrics(service),
        "clients": {
            "total": rows.len(),
            "byRole": {
                "cliente": of_role(Role::Cliente), "proveedor": of_role(Role::Proveedor), "admin": of_role(Role::Admin),
            },
            "averageConnectionTime": mean(minutes, rows.len()),
            "inactiveClients": inactive,
        },
        "rooms": {
            "total": rooms.len(),
            "totalClients": memberships,
            "averageClientsPerRoom": mean(memberships as f64, rooms.len()),
            "mostActiveRooms": most_active.collect::<Vec<_>>(),
        },
        "system": system(service),
    })
}

/// Returns process information in the shape of the former Node server. There is no separate heap,
/// so each memory field repeats the resident size; the version is this server's.
fn system(service: &Hall) -> Value {
    let memory = memory_bytes();
    json!({
        "uptime": service.started.elapsed().as_secs(),
        "memoryUsage": {"rss": memory, "heapTotal": memory, "heapUsed": memory, "external": 0},
        "nodeVersion": format!("latido {VERSION}"),
    })
}

/// Returns the shorter overview that sockets request with `get_dashboard_summary`.
pub(super) fn summary(service: &Hall) -> Value {
    let mut overview = overview(service);
    let rooms = json!({"total": overview["rooms"]["total"], "totalClients": overview["rooms"]["totalClients"]});
    let system = json!({"uptime": overview["system"]["uptime"], "nodeVersion": overview["system"]["nodeVersion"]});
    json!({"metrics": overview["metrics"].take(), "clients": overview["clients"].take(), "rooms": rooms, "system": system})
}

pub(super) fn stats(service: &Hall) -> Value {
    json!({
        "timestamp": iso(service.clock.now()),
        "activeConnections": service.exchange.totals().connections,
        "totalRooms": survey(service).1.len(),
        "eventsPerMinute": service.counts.minute.sum(service.clock.unix_s()),
        "systemLoad": load(),
    })
}

/// Returns the machine's load average over the last minute. Returns `None` without `/proc/loadavg`.
fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg")
        .ok()?
        .split(' ')
        .next()?
        .parse()
        .ok()
}

/// Returns up to `limit` recent events, newest first, in the version 2 shape.
pub(super) fn recent(service: &Hall, limit: usize) -> Vec<Value> {
    let events = service.exchange.recent(&TopicName::new(HISTORY), limit);
    events
        .iter()
        .filter_map(|event| words::entry(event))
        .map(|entry| json!(entry))
        .collect()
}

/// Returns the recent events and the total count in the version 1 shape.
pub(super) fn events(service: &Hall) -> Value {
    let line = |mut entry: Value| json!({"type": entry["type"], "timestamp": entry["timestamp"], "data": entry["payload"].take()});
    let events: Vec<_> = recent(service, HISTORY_LENGTH)
        .into_iter()
        .map(line)
        .collect();
    json!({"recentEvents": events, "totalEvents": service.counts.published.load(Ordering::Relaxed)})
}

/// Returns the API's status. A `state` of `None` means that the API is never asked because clients
/// are trusted.
pub(super) fn api_status(state: Option<ApiState>, now: Timestamp) -> Value {
    match state {
        None => {
            json!({"status": "disconnected", "lastCheck": iso(now), "error": "clients are trusted; the API is not asked"})
        }
        Some(ApiState {
            at,
            error: Some(error),
            ..
        }) => json!({"status": "disconnected", "lastCheck": iso(at), "error": error}),
        Some(ApiState { at, took, .. }) => {
            json!({"status": "connected", "lastCheck": iso(at), "responseTime": took.as_millis() as u64})
        }
    }
}
