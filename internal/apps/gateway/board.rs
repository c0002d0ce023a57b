//! The dashboard's answers, in the shapes of both generations.

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::apps::gateway::doorkeeper::ApiState;
use crate::apps::gateway::hall::{Client, HISTORY_LENGTH, Hall};
use crate::apps::gateway::who::{HISTORY, Role};
use crate::apps::gateway::words::{self, iso};
use crate::hub::exchange::{ConnId, TopicName};
use crate::operations::{VERSION, memory_bytes};

/// Rooms that are named as the most active.
const MOST_ACTIVE: usize = 5;
/// Who said nothing for so long counts as inactive, in microseconds.
const INACTIVE_US: i64 = 30 * 60 * 1_000_000;

/// A socket with its rooms.
pub(super) struct Row {
    pub(super) id: ConnId,
    pub(super) client: Client,
    /// Those that have names of the wire, sorted.
    rooms: Vec<String>,
    /// When it last said something, or something was said to its rooms.
    pub(super) active: Timestamp,
}

/// A room with who is there.
struct Room {
    name: String,
    since: Timestamp,
    active: Timestamp,
    clients: Vec<String>,
}

/// Rooms of ours are nobody's business.
fn is_public(name: &str) -> bool {
    !name.starts_with('#')
}

fn at(us: i64) -> Timestamp {
    Timestamp::from_microsecond(us).unwrap_or_default()
}

/// Every socket and every room, as they are now.
fn survey(hall: &Hall) -> (Vec<Row>, Vec<Room>) {
    let topics = hall.exchange.topics();
    let mut rooms: HashMap<_, _> = topics
        .iter()
        .filter(|topic| is_public(topic.name.as_str()))
        .map(|topic| {
            let room = Room {
                name: topic.name.as_str().to_owned(),
                since: at(topic.since_us),
                active: at(topic.active_us),
                clients: Vec::new(),
            };
            (topic.name.clone(), room)
        })
        .collect();
    let mut clients = hall.everybody();
    let mut rows = Vec::with_capacity(clients.len());
    for connection in hall.exchange.connections() {
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

/// Every socket.
pub(super) fn rows(hall: &Hall) -> Vec<Row> {
    survey(hall).0
}

pub(super) fn clients(hall: &Hall) -> Vec<Value> {
    let now = hall.clock.now();
    let row = |row: Row| {
        json!({
            "userId": row.client.who.as_ref().map(|who| &*who.id),
            "role": row.client.who.as_ref().map(|who| who.role.as_str()),
            "socketId": &*row.client.socket_id,
            "connectedAt": iso(row.client.since),
            "lastActivity": iso(row.active),
            "rooms": row.rooms,
            "isActive": is_active(row.active, now),
        })
    };
    rows(hall).into_iter().map(row).collect()
}

fn is_active(active: Timestamp, now: Timestamp) -> bool {
    now.as_microsecond() - active.as_microsecond() < INACTIVE_US
}

pub(super) fn rooms(hall: &Hall) -> Vec<Value> {
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
    survey(hall).1.into_iter().map(row).collect()
}

pub(super) fn metrics(hall: &Hall) -> Value {
    json!({
        "totalConnections": hall.counts.connections.load(Ordering::Relaxed),
        "activeConnections": hall.exchange.totals().connections,
        "eventsEmitted": hall.counts.emitted.load(Ordering::Relaxed),
        "roomsCreated": hall.counts.rooms.load(Ordering::Relaxed),
        "lastUpdated": iso(hall.clock.now()),
    })
}

/// All of it in sums.
pub(super) fn overview(hall: &Hall) -> Value {
    let (rows, rooms) = survey(hall);
    let now = hall.clock.now();
    let of_role = |role| {
        rows.iter()
            .filter(|row| row.client.who.as_ref().is_some_and(|who| who.role == role))
            .count()
    };
    // Not `sum`, which is -0.0 of nothing.
    let minutes = rows
        .iter()
        .map(|row| now.duration_since(row.client.since).as_secs_f64() / 60.0)
        .fold(0.0, |sum, n| sum + n);
    let inactive = rows
        .iter()
        .filter(|row| !is_active(row.active, now))
        .count();
    let seats: usize = rooms.iter().map(|room| room.clients.len()).sum();
    let mean = |sum: f64, count: usize| (sum / count.max(1) as f64 * 100.0).round() / 100.0;
    let most_active = rooms
        .iter()
        .take(MOST_ACTIVE)
        .map(|room| json!({"name": room.name, "clients": room.clients.len(), "lastActivity": iso(room.active)}));
    json!({
        "metrics": metrics(hall),
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
            "totalClients": seats,
            "averageClientsPerRoom": mean(seats as f64, rooms.len()),
            "mostActiveRooms": most_active.collect::<Vec<_>>(),
        },
        "system": system(hall),
    })
}

/// There is one memory, not a heap in it; and the version is ours.
fn system(hall: &Hall) -> Value {
    let memory = memory_bytes();
    json!({
        "uptime": hall.started.elapsed().as_secs(),
        "memoryUsage": {"rss": memory, "heapTotal": memory, "heapUsed": memory, "external": 0},
        "nodeVersion": format!("latido {VERSION}"),
    })
}

/// The shorter one, for sockets of the second generation.
pub(super) fn summary(hall: &Hall) -> Value {
    let mut overview = overview(hall);
    let rooms = json!({"total": overview["rooms"]["total"], "totalClients": overview["rooms"]["totalClients"]});
    let system = json!({"uptime": overview["system"]["uptime"], "nodeVersion": overview["system"]["nodeVersion"]});
    json!({"metrics": overview["metrics"].take(), "clients": overview["clients"].take(), "rooms": rooms, "system": system})
}

pub(super) fn stats(hall: &Hall) -> Value {
    json!({
        "timestamp": iso(hall.clock.now()),
        "activeConnections": hall.exchange.totals().connections,
        "totalRooms": survey(hall).1.len(),
        "eventsPerMinute": hall.counts.minute.sum(hall.clock.unix_s()),
        "systemLoad": load(),
    })
}

/// The machine's load over the last minute.
fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg")
        .ok()?
        .split(' ')
        .next()?
        .parse()
        .ok()
}

/// The newest first, as the second generation tells them.
pub(super) fn recent(hall: &Hall, limit: usize) -> Vec<Value> {
    let events = hall.exchange.recent(&TopicName::new(HISTORY), limit);
    events
        .iter()
        .filter_map(|event| words::entry(event))
        .map(|entry| json!(entry))
        .collect()
}

/// The same as the first one does.
pub(super) fn events(hall: &Hall) -> Value {
    let line = |mut entry: Value| json!({"type": entry["type"], "timestamp": entry["timestamp"], "data": entry["payload"].take()});
    let events: Vec<_> = recent(hall, HISTORY_LENGTH).into_iter().map(line).collect();
    json!({"recentEvents": events, "totalEvents": hall.counts.published.load(Ordering::Relaxed)})
}

/// None: the API is not asked, since clients are trusted.
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
