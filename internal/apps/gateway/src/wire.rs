//! Encodes every event for both client versions. Pure; the tests below check the golden payloads of
//! the contract.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::event_types::{EventType, with_both_spellings};
use crate::user::{ClientVersion, GatewayUser, Role};
use latido_base::time_format::iso_millis;
use latido_event_bus::BusEvent;
use latido_socketio::Emit;

/// The name under which every event travels through the event bus; clients never see it.
pub(super) const ENCODED_EVENT_NAME: &str = "packed";
/// Event names that Socket.IO reserves for itself.
const RESERVED_NAMES: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];
const MAX_NAME_BYTES: usize = 128;

/// One event, encoded once for both client versions.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct EncodedEvent {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    first: Vec<(String, Value)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    second: Vec<(String, Value)>,
    /// The entry that the history shows for this event.
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<HistoryEntry>,
}

/// One entry of the event history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct HistoryEntry {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) payload: Value,
    pub(super) timestamp: String,
    pub(super) source: String,
}

/// The same event as it is read for one client: names and unparsed JSON.
#[derive(Deserialize)]
struct EncodedEventRef<'a> {
    #[serde(borrow, default)]
    first: Vec<(String, &'a RawValue)>,
    #[serde(borrow, default)]
    second: Vec<(String, &'a RawValue)>,
}

impl EncodedEvent {
    pub(super) fn to_json_text(&self) -> Arc<str> {
        serde_json::to_string(self).unwrap_or_default().into()
    }
}

/// Returns the Socket.IO events that an event of the bus contains for a client version.
pub(super) fn encode_for(generation: ClientVersion, event: &BusEvent) -> Vec<Emit> {
    let Some(message) = event
        .message()
        .filter(|message| &*message.name == ENCODED_EVENT_NAME)
    else {
        return Vec::new();
    };
    let Ok(EncodedEventRef { first, second }) = serde_json::from_str(&message.payload) else {
        return Vec::new();
    };
    let events = match generation {
        ClientVersion::V1 => first,
        ClientVersion::V2 => second,
    };
    events
        .into_iter()
        .map(|(name, payload)| Emit::new(name, payload.get()))
        .collect()
}

/// Returns the history entry of an event, if it has one.
pub(super) fn history_entry(event: &BusEvent) -> Option<HistoryEntry> {
    #[derive(Deserialize)]
    struct EntryOnly {
        entry: Option<HistoryEntry>,
    }
    serde_json::from_str::<EntryOnly>(&event.message()?.payload)
        .ok()?
        .entry
}

/// Returns `true` if publishers may use this event name.
pub(super) fn is_event_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && !RESERVED_NAMES.contains(&name)
        && !name.chars().any(char::is_control)
}

fn room_event(kind: &str, data: &Value, from: Option<&str>, at: &str) -> Value {
    match from {
        Some(from) => json!({"type": kind, "data": data, "from": from, "timestamp": at}),
        None => json!({"type": kind, "data": data, "timestamp": at}),
    }
}

/// Encodes a business event for the rooms that it concerns, for all version 2 clients and for the
/// history.
pub(super) fn business_event(
    name: &str,
    data: &Value,
    from: Option<&GatewayUser>,
    at: Timestamp,
) -> EncodedEvent {
    let (kind, at, data) = (
        EventType::by_name(name),
        iso_millis(at),
        with_both_spellings(data),
    );
    let first_name = kind.map_or(name, |kind| kind.v1_name(name));
    let source = if from.is_some() {
        "SOCKET_IO"
    } else {
        "REST_API"
    };
    let first = vec![
        (
            "event".to_owned(),
            room_event(first_name, &data, from.map(|user| &*user.id), &at),
        ),
        (first_name.to_owned(), data.clone()),
    ];
    let entry = HistoryEntry {
        kind: name.to_owned(),
        payload: data.clone(),
        timestamp: at,
        source: source.to_owned(),
    };
    let mut second = vec![("negocio:evento".to_owned(), json!(entry))];
    match kind {
        Some(kind) => second.extend(
            kind.v2_names
                .iter()
                .map(|name| ((*name).to_owned(), data.clone())),
        ),
        None => second.push((name.to_owned(), data.clone())),
    }
    EncodedEvent {
        first,
        second,
        entry: Some(entry),
    }
}

/// Encodes the additional event that one role of version 2 receives, if there is one.
pub(super) fn role_event(name: &str, data: &Value) -> Option<(Role, EncodedEvent)> {
    let (role, name) = EventType::by_name(name)?.v2_role_name?;
    Some((
        role,
        EncodedEvent {
            second: vec![(name.to_owned(), with_both_spellings(data))],
            ..EncodedEvent::default()
        },
    ))
}

/// Encodes a message from the API to a role or a user.
pub(super) fn api_notice(name: &str, payload: &Value, at: Timestamp) -> EncodedEvent {
    let event = room_event(name, payload, None, &iso_millis(at));
    EncodedEvent {
        first: vec![
            ("event".to_owned(), event),
            (name.to_owned(), payload.clone()),
        ],
        second: vec![(name.to_owned(), payload.clone())],
        entry: None,
    }
}

/// Encodes a message to all authenticated clients.
pub(super) fn system_notification(data: &Value, at: Timestamp) -> EncodedEvent {
    api_notice("system_notification", data, at)
}

/// Encodes an event about a client for the administrators: `client_connected`,
/// `client_authenticated` or `client_disconnected`.
pub(super) fn client_event(
    kind: &str,
    socket_id: &str,
    user: Option<&GatewayUser>,
    at: Timestamp,
) -> EncodedEvent {
    let at = iso_millis(at);
    let data = match user {
        Some(user) => {
            json!({"userId": &*user.id, "role": user.role.as_str(), "socketId": socket_id, "timestamp": at})
        }
        None => json!({"socketId": socket_id, "timestamp": at}),
    };
    let event = room_event(kind, &data, None, &at);
    EncodedEvent {
        first: vec![("event".to_owned(), event.clone())],
        second: vec![("event".to_owned(), event)],
        entry: None,
    }
}

/// Encodes the dashboard metrics. Version 2 sends them to all clients, not only to administrators.
pub(super) fn dashboard_metrics_event(metrics: &Value) -> EncodedEvent {
    EncodedEvent {
        second: vec![("dashboard:metrics".to_owned(), metrics.clone())],
        ..EncodedEvent::default()
    }
}

pub(super) fn auth_success_payload(user_id: &Value, role: Role, socket_id: &str) -> Value {
    json!({"message": "Autenticación exitosa", "userId": user_id, "role": role.as_str(), "socketId": socket_id})
}

pub(super) fn message_payload(message: &str) -> Value {
    json!({"message": message})
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
