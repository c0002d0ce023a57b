//! The JSON responses of the dashboard, in the shapes of both versions.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::authenticator::ApiState;
use crate::rooms::{HISTORY_LENGTH, RoomService, SocketInfo};
use crate::user::{HISTORY_ROOM, Role};
use crate::wire;
use latido_admin::{VERSION, load_average, memory_bytes};
use latido_base::time_format::{from_unix_us, iso_millis};
use latido_event_bus::{ConnectionId, TopicName};

/// The number of rooms listed as the most active ones.
const MAX_ACTIVE_ROOMS: usize = 5;
/// The inactivity after which a client counts as inactive, in microseconds (30 minutes).
const INACTIVE_AFTER_US: i64 = 30 * 60 * 1_000_000;

/// A connected socket with its rooms.
pub(super) struct SocketRow {
    pub(super) id: ConnectionId,
    pub(super) info: SocketInfo,
    /// The names of its public rooms, sorted.
    rooms: Vec<String>,
    /// The time of the last event from the socket or to one of its rooms.
    pub(super) last_active: Timestamp,
}

/// A public room with its connected sockets.
struct DashboardRoom {
    name: String,
    created_at: Timestamp,
    last_active: Timestamp,
    socket_ids: Vec<String>,
}

/// Returns `false` for internal rooms, whose names start with `#`.
fn is_public_room(name: &str) -> bool {
    !name.starts_with('#')
}

/// Collects all sockets and all public rooms that have members, as they are now.
fn collect_sockets_and_rooms(service: &RoomService) -> (Vec<SocketRow>, Vec<DashboardRoom>) {
    let topics = service.event_bus.topics();
    let mut rooms: HashMap<_, _> = topics
        .iter()
        .filter(|topic| is_public_room(topic.name.as_str()))
        .map(|topic| {
            let room = DashboardRoom {
                name: topic.name.as_str().to_owned(),
                created_at: from_unix_us(topic.opened_us),
                last_active: from_unix_us(topic.active_us),
                socket_ids: Vec::new(),
            };
            (topic.name.clone(), room)
        })
        .collect();
    let mut clients = service.sockets();
    let mut rows = Vec::with_capacity(clients.len());
    for connection in service.event_bus.connections() {
        let Some(client) = clients.remove(&connection.id) else {
            continue;
        };
        let (mut names, mut active) = (Vec::new(), client.last_activity);
        for topic in connection.topics {
            if let Some(room) = rooms.get_mut(&topic) {
                room.socket_ids.push(client.socket_id.to_string());
                active = active.max(room.last_active);
                names.push(room.name.clone());
            }
        }
        names.sort_unstable();
        rows.push(SocketRow {
            id: connection.id,
            info: client,
            rooms: names,
            last_active: active,
        });
    }
    rows.sort_by_key(|row| row.info.connected_at);
    let mut rooms: Vec<_> = rooms
        .into_values()
        .filter(|room| !room.socket_ids.is_empty())
        .collect();
    rooms.sort_by(|a, b| {
        b.last_active
            .cmp(&a.last_active)
            .then_with(|| a.name.cmp(&b.name))
    });
    (rows, rooms)
}

/// Returns all connected sockets with their rooms.
pub(super) fn socket_rows(service: &RoomService) -> Vec<SocketRow> {
    collect_sockets_and_rooms(service).0
}

pub(super) fn clients_json(service: &RoomService) -> Vec<Value> {
    let now = service.clock.now();
    let row = |row: SocketRow| {
        json!({
            "userId": row.info.user.as_ref().map(|user| &*user.id),
            "role": row.info.user.as_ref().map(|user| user.role.as_str()),
            "socketId": &*row.info.socket_id,
            "connectedAt": iso_millis(row.info.connected_at),
            "lastActivity": iso_millis(row.last_active),
            "rooms": row.rooms,
            "isActive": is_active(row.last_active, now),
        })
    };
    socket_rows(service).into_iter().map(row).collect()
}

fn is_active(active: Timestamp, now: Timestamp) -> bool {
    now.as_microsecond() - active.as_microsecond() < INACTIVE_AFTER_US
}

pub(super) fn rooms_json(service: &RoomService) -> Vec<Value> {
    let row = |room: DashboardRoom| {
        json!({
            "name": room.name,
            "clientsCount": room.socket_ids.len(),
            "createdAt": iso_millis(room.created_at),
            "lastActivity": iso_millis(room.last_active),
            "clients": room.socket_ids,
            "metadata": {},
        })
    };
    collect_sockets_and_rooms(service)
        .1
        .into_iter()
        .map(row)
        .collect()
}

pub(super) fn metrics_json(service: &RoomService) -> Value {
    json!({
        "totalConnections": service.counters.connections.load(Ordering::Relaxed),
        "activeConnections": service.event_bus.totals().connections,
        "eventsEmitted": service.counters.events_delivered.load(Ordering::Relaxed),
        "roomsCreated": service.counters.rooms_opened.load(Ordering::Relaxed),
        "lastUpdated": iso_millis(service.clock.now()),
    })
}

/// Returns totals over all sockets and rooms.
pub(super) fn overview_json(service: &RoomService) -> Value {
    let (rows, rooms) = collect_sockets_and_rooms(service);
    let now = service.clock.now();
    let of_role = |role| {
        rows.iter()
            .filter(|row| row.info.user.as_ref().is_some_and(|user| user.role == role))
            .count()
    };
    // Not `sum()`, which returns -0.0 for an empty iterator.
    let minutes = rows
        .iter()
        .map(|row| now.duration_since(row.info.connected_at).as_secs_f64() / 60.0)
        .fold(0.0, |sum, n| sum + n);
    let inactive = rows
        .iter()
        .filter(|row| !is_active(row.last_active, now))
        .count();
    let memberships: usize = rooms.iter().map(|room| room.socket_ids.len()).sum();
    let mean = |sum: f64, count: usize| (sum / count.max(1) as f64 * 100.0).round() / 100.0;
    let most_active = rooms
        .iter()
        .take(MAX_ACTIVE_ROOMS)
        .map(|room| json!({"name": room.name, "clients": room.socket_ids.len(), "lastActivity": iso_millis(room.last_active)}));
    json!({
        "metrics": metrics_json(service),
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
        "system": system_json(service),
    })
}

/// Returns process information in the shape of the former Node server. There is no separate heap,
/// so each memory field repeats the resident size; the version is this server's.
fn system_json(service: &RoomService) -> Value {
    let memory = memory_bytes();
    json!({
        "uptime": service.started.elapsed().as_secs(),
        "memoryUsage": {"rss": memory, "heapTotal": memory, "heapUsed": memory, "external": 0},
        "nodeVersion": format!("latido {VERSION}"),
    })
}

/// Returns the shorter overview that sockets request with `get_dashboard_summary`.
pub(super) fn summary_json(service: &RoomService) -> Value {
    let mut overview = overview_json(service);
    let rooms = json!({"total": overview["rooms"]["total"], "totalClients": overview["rooms"]["totalClients"]});
    let system = json!({"uptime": overview["system"]["uptime"], "nodeVersion": overview["system"]["nodeVersion"]});
    json!({"metrics": overview["metrics"].take(), "clients": overview["clients"].take(), "rooms": rooms, "system": system})
}

pub(super) fn stats_json(service: &RoomService) -> Value {
    json!({
        "timestamp": iso_millis(service.clock.now()),
        "activeConnections": service.event_bus.totals().connections,
        "totalRooms": collect_sockets_and_rooms(service).1.len(),
        "eventsPerMinute": service.counters.delivered_per_minute.last_minute(service.clock.unix_s()),
        "systemLoad": load_average(),
    })
}

/// Returns up to `limit` recent events, newest first, in the version 2 shape.
pub(super) fn recent_events(service: &RoomService, limit: usize) -> Vec<Value> {
    let events = service
        .event_bus
        .recent(&TopicName::new(HISTORY_ROOM), limit);
    events
        .iter()
        .filter_map(|event| wire::history_entry(event))
        .map(|entry| json!(entry))
        .collect()
}

/// Returns the recent events and the total count in the version 1 shape.
pub(super) fn recent_events_v1_json(service: &RoomService) -> Value {
    let line = |mut entry: Value| json!({"type": entry["type"], "timestamp": entry["timestamp"], "data": entry["payload"].take()});
    let events: Vec<_> = recent_events(service, HISTORY_LENGTH)
        .into_iter()
        .map(line)
        .collect();
    json!({"recentEvents": events, "totalEvents": service.counters.events_published.load(Ordering::Relaxed)})
}

/// Returns the API's status. A `state` of `None` means that the API is never asked because clients
/// are trusted.
pub(super) fn api_status_json(state: Option<ApiState>, now: Timestamp) -> Value {
    match state {
        None => {
            json!({"status": "disconnected", "lastCheck": iso_millis(now), "error": "clients are trusted; the API is not asked"})
        }
        Some(ApiState {
            checked_at: at,
            error: Some(error),
            ..
        }) => json!({"status": "disconnected", "lastCheck": iso_millis(at), "error": error}),
        Some(ApiState {
            checked_at: at,
            response_time: took,
            ..
        }) => {
            json!({"status": "connected", "lastCheck": iso_millis(at), "responseTime": took.as_millis() as u64})
        }
    }
}
