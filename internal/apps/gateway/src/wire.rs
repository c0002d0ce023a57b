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
mod tests {
    use super::*;

    fn at() -> Timestamp {
        "2026-01-02T03:04:05.006789Z".parse().unwrap()
    }

    const AT: &str = "2026-01-02T03:04:05.006Z";

    fn names(events: &[(String, Value)]) -> Vec<&str> {
        events.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn reservation_is_encoded_for_both_versions() {
        let data = json!({"clienteId": 7, "proveedorId": 9, "servicioId": 3, "fecha": "2026-01-01", "estado": "pendiente"});
        let user = GatewayUser {
            id: "7".into(),
            role: Role::Cliente,
        };
        let EncodedEvent {
            first,
            second,
            entry,
        } = business_event("reservation_created", &data, Some(&user), at());
        let both_spellings = with_both_spellings(&data);
        let event = json!({"type": "reservation_created", "data": both_spellings, "from": "7", "timestamp": AT});
        assert_eq!(
            first,
            [
                ("event".into(), event),
                ("reservation_created".into(), both_spellings.clone())
            ]
        );
        assert_eq!(
            names(&second),
            ["negocio:evento", "reserva:nueva", "reservation_created"]
        );
        let negocio = json!({"type": "reservation_created", "payload": both_spellings, "timestamp": AT, "source": "SOCKET_IO"});
        assert_eq!(second[0].1, negocio);
        assert_eq!(json!(entry), negocio);
    }

    #[test]
    fn version_2_names_follow_the_contract_table() {
        for (published, everybody, role) in [
            (
                "reserva:creada",
                &["reserva:nueva", "reservation_created"][..],
                Some((Role::Admin, "reserva:notificacion")),
            ),
            (
                "reservation_created",
                &["reserva:nueva", "reservation_created"],
                Some((Role::Admin, "reserva:notificacion")),
            ),
            (
                "reserva:actualizada",
                &["reserva:cambio", "reservation_updated"],
                None,
            ),
            (
                "reservation_updated",
                &["reserva:cambio", "reservation_updated"],
                None,
            ),
            (
                "reserva:cancelada",
                &["reserva:cancelacion", "reservation_deleted"],
                None,
            ),
            (
                "reservation_deleted",
                &["reserva:cancelacion", "reservation_deleted"],
                None,
            ),
            (
                "servicio:creado",
                &["servicio:disponible"],
                Some((Role::Cliente, "servicio:nuevo")),
            ),
            ("calificacion:creada", &["calificacion:nueva"], None),
            (
                "cliente:nuevo",
                &[],
                Some((Role::Admin, "cliente:registrado")),
            ),
            (
                "pago:procesado",
                &["pago:confirmado", "payment_created", "payment_updated"],
                None,
            ),
            (
                "payment_created",
                &["pago:confirmado", "payment_created", "payment_updated"],
                None,
            ),
            (
                "payment_updated",
                &["pago:confirmado", "payment_created", "payment_updated"],
                None,
            ),
            ("algo:nuevo", &["algo:nuevo"], None),
        ] {
            let data = json!({"cliente_id": 1});
            let packed = business_event(published, &data, None, at());
            let expected: Vec<_> = std::iter::once("negocio:evento")
                .chain(everybody.iter().copied())
                .collect();
            assert_eq!(names(&packed.second), expected, "{published}");
            assert_eq!(packed.second[0].1["source"], "REST_API");
            assert_eq!(packed.second[0].1["type"], published);
            let of_role = role_event(published, &data)
                .map(|(role, packed)| (role, packed.second[0].0.clone()));
            assert_eq!(
                of_role,
                role.map(|(role, name)| (role, name.to_owned())),
                "{published}"
            );
        }
    }

    #[test]
    fn version_1_names_follow_the_contract_table() {
        for (published, bare) in [
            ("reservation_created", "reservation_created"),
            ("reserva:actualizada", "reservation_updated"),
            ("reserva:cancelada", "reservation_deleted"),
            ("reservation_accepted", "reservation_accepted"),
            ("payment_created", "payment_created"),
            ("payment_updated", "payment_updated"),
            ("comment_created", "comment_created"),
        ] {
            let packed = business_event(published, &json!({}), None, at());
            assert_eq!(names(&packed.first), ["event", bare]);
            assert_eq!(
                packed.first[0].1,
                json!({"type": bare, "data": {}, "timestamp": AT})
            );
        }
    }

    #[test]
    fn client_and_system_notices() {
        let user = GatewayUser {
            id: "7".into(),
            role: Role::Proveedor,
        };
        let packed = client_event("client_authenticated", "abc", Some(&user), at());
        let data = json!({"userId": "7", "role": "proveedor", "socketId": "abc", "timestamp": AT});
        assert_eq!(
            packed.first,
            [(
                "event".into(),
                json!({"type": "client_authenticated", "data": data, "timestamp": AT})
            )]
        );
        let packed = client_event("client_connected", "abc", None, at());
        assert_eq!(
            packed.first[0].1["data"],
            json!({"socketId": "abc", "timestamp": AT})
        );
        let packed = system_notification(&json!({"message": "hola", "type": "info"}), at());
        assert_eq!(
            packed.second,
            [(
                "system_notification".into(),
                json!({"message": "hola", "type": "info"})
            )]
        );
        assert_eq!(names(&packed.first), ["event", "system_notification"]);
    }

    #[test]
    fn replies_and_reserved_names() {
        let expected = json!({"message": "Autenticación exitosa", "userId": 7, "role": "cliente", "socketId": "abc"});
        assert_eq!(
            auth_success_payload(&json!(7), Role::Cliente, "abc"),
            expected
        );
        assert_eq!(
            message_payload("No autenticado"),
            json!({"message": "No autenticado"})
        );
        for name in RESERVED_NAMES.into_iter().chain(["", "a\nb"]) {
            assert!(!is_event_name(name), "{name}");
        }
        assert!(
            is_event_name("reserva:creada")
                && is_event_name("error")
                && !is_event_name(&"x".repeat(200))
        );
    }
}
