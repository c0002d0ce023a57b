//! Business events: their names in both versions, the rooms that they concern, and the roles that
//! may publish them. Pure.

use serde_json::{Map, Value};

use crate::user::{GatewayUser, Role, id_text, personal_room};

/// The id fields in both spellings. The Django API writes the second one.
const ID_SPELLINGS: [(&str, &str); 4] = [
    ("clienteId", "cliente_id"),
    ("proveedorId", "proveedor_id"),
    ("servicioId", "servicio_id"),
    ("reservaId", "reserva_id"),
];

/// A type of business event with its routing rules.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EventType {
    /// The published names of this type, in either version. The oldest version 1 name comes first.
    pub(super) names: &'static [&'static str],
    /// The names that all version 2 clients receive.
    pub(super) v2_names: &'static [&'static str],
    /// The additional name that only one role of version 2 receives.
    pub(super) v2_role_name: Option<(Role, &'static str)>,
    /// The roles whose personal rooms of version 1 receive it, by the ids in the payload.
    pub(super) v1_recipients: &'static [Role],
    /// The role whose clients may publish it. `None` if only the API may.
    pub(super) publisher_role: Option<Role>,
}

/// All types with a rule. Any other event is published under its own name.
const EVENT_TYPES: &[EventType] = &[
    EventType {
        names: &["reservation_created", "reserva:creada"],
        v2_names: &["reserva:nueva", "reservation_created"],
        v2_role_name: Some((Role::Admin, "reserva:notificacion")),
        v1_recipients: &[Role::Proveedor],
        publisher_role: Some(Role::Cliente),
    },
    EventType {
        names: &["reservation_updated", "reserva:actualizada"],
        v2_names: &["reserva:cambio", "reservation_updated"],
        v2_role_name: None,
        v1_recipients: &[Role::Proveedor, Role::Cliente],
        publisher_role: None,
    },
    EventType {
        names: &["reservation_deleted", "reserva:cancelada"],
        v2_names: &["reserva:cancelacion", "reservation_deleted"],
        v2_role_name: None,
        v1_recipients: &[Role::Proveedor, Role::Cliente],
        publisher_role: None,
    },
    EventType {
        names: &["reservation_accepted", "reserva:aceptada"],
        v2_names: &["reservation_accepted"],
        v2_role_name: None,
        v1_recipients: &[Role::Cliente],
        publisher_role: Some(Role::Proveedor),
    },
    EventType {
        names: &["payment_created", "payment_updated", "pago:procesado"],
        v2_names: &["pago:confirmado", "payment_created", "payment_updated"],
        v2_role_name: None,
        v1_recipients: &[Role::Proveedor],
        publisher_role: Some(Role::Cliente),
    },
    EventType {
        names: &["comment_created"],
        v2_names: &["comment_created"],
        v2_role_name: None,
        v1_recipients: &[Role::Proveedor],
        publisher_role: Some(Role::Cliente),
    },
    EventType {
        names: &["servicio:creado"],
        v2_names: &["servicio:disponible"],
        v2_role_name: Some((Role::Cliente, "servicio:nuevo")),
        v1_recipients: &[],
        publisher_role: None,
    },
    EventType {
        names: &["calificacion:creada"],
        v2_names: &["calificacion:nueva"],
        v2_role_name: None,
        v1_recipients: &[],
        publisher_role: None,
    },
    EventType {
        names: &["cliente:nuevo"],
        v2_names: &[],
        v2_role_name: Some((Role::Admin, "cliente:registrado")),
        v1_recipients: &[],
        publisher_role: None,
    },
];

/// The event names that clients may publish. All others come from the API.
const CLIENT_PUBLISHABLE: [&str; 4] = [
    "reservation_created",
    "reservation_accepted",
    "payment_created",
    "comment_created",
];

impl EventType {
    /// Returns the type with this published name.
    pub(super) fn by_name(name: &str) -> Option<&'static Self> {
        EVENT_TYPES.iter().find(|kind| kind.names.contains(&name))
    }

    /// Returns the type with this name if clients may publish it.
    pub(super) fn client_publishable(name: &str) -> Option<&'static Self> {
        Self::by_name(name).filter(|_| CLIENT_PUBLISHABLE.contains(&name))
    }

    /// Returns the name that version 1 clients receive.
    pub(super) fn v1_name<'a>(&self, name: &'a str) -> &'a str {
        // Version 2 names contain a colon; the first entry of `names` is the version 1 name.
        if name.contains(':') {
            self.names.first().copied().unwrap_or(name)
        } else {
            name
        }
    }

    /// Returns the personal rooms of version 1 that receive the event.
    pub(super) fn v1_rooms(&self, data: &Value) -> Vec<String> {
        let room = |role: &Role| Some(personal_room(*role, &party_id(data, *role)?));
        self.v1_recipients.iter().filter_map(room).collect()
    }

    /// Checks that a user may publish this event: the role fits, the payload has the user's own id,
    /// and it names a recipient. An administrator may publish any event.
    ///
    /// # Errors
    /// Returns the reason if the event is refused.
    pub(super) fn check_publish(
        &self,
        user: &GatewayUser,
        data: &Value,
    ) -> Result<(), PublishDenied> {
        if !data.is_object() || self.v1_rooms(data).is_empty() {
            return Err(PublishDenied::InvalidData);
        }
        if user.role == Role::Admin {
            return Ok(());
        }
        let is_own = self.publisher_role == Some(user.role)
            && party_id(data, user.role).as_deref() == Some(&*user.id);
        if is_own {
            Ok(())
        } else {
            Err(PublishDenied::Forbidden)
        }
    }
}

/// The reason for refusing an event that a client publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PublishDenied {
    /// The payload names no recipient.
    InvalidData,
    /// The event does not belong to the user or to the user's role.
    Forbidden,
}

/// Returns the id of a party in a payload. Returns `None` if the two spellings contradict each
/// other.
fn party_id(data: &Value, role: Role) -> Option<String> {
    let (camel, snake) = match role {
        Role::Cliente => ID_SPELLINGS[0],
        Role::Proveedor => ID_SPELLINGS[1],
        Role::Admin => return None,
    };
    let id = |name: &str| data.get(name).map(id_text);
    match (id(camel), id(snake)) {
        (Some(one), Some(other)) if one == other => one,
        (Some(one), None) | (None, Some(one)) => one,
        _ => None,
    }
}

/// Returns the payload with every id in both spellings.
pub(super) fn with_both_spellings(data: &Value) -> Value {
    let Value::Object(fields) = data else {
        return data.clone();
    };
    let mut fields: Map<_, _> = fields.clone();
    for (camel, snake) in ID_SPELLINGS {
        for (present, missing) in [(camel, snake), (snake, camel)] {
            if let Some(id) = fields
                .get(present)
                .filter(|_| !fields.contains_key(missing))
                .cloned()
            {
                fields.insert(missing.to_owned(), id);
            }
        }
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_name_has_one_type() {
        let mut names: Vec<_> = EVENT_TYPES.iter().flat_map(|kind| kind.names).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(CLIENT_PUBLISHABLE.iter().all(|name| {
            EventType::client_publishable(name).is_some_and(|kind| kind.publisher_role.is_some())
        }));
        assert!(
            EventType::client_publishable("reserva:creada").is_none()
                && EventType::by_name("dashboard").is_none()
        );
    }

    #[test]
    fn version_1_names_are_kept() {
        for (name, expected) in [
            ("reserva:creada", "reservation_created"),
            ("reservation_updated", "reservation_updated"),
            ("reserva:cancelada", "reservation_deleted"),
            ("payment_updated", "payment_updated"),
            ("pago:procesado", "payment_created"),
        ] {
            assert_eq!(EventType::by_name(name).unwrap().v1_name(name), expected);
        }
    }

    #[test]
    fn users_publish_only_their_own_events() {
        let user = |role, id: &str| GatewayUser {
            id: id.into(),
            role,
        };
        let data = json!({"clienteId": 7, "proveedorId": "9"});
        let publish = |name, role, id| {
            EventType::client_publishable(name)
                .unwrap()
                .check_publish(&user(role, id), &data)
        };
        for name in ["reservation_created", "payment_created", "comment_created"] {
            assert_eq!(publish(name, Role::Cliente, "7"), Ok(()), "{name}");
            assert_eq!(
                publish(name, Role::Cliente, "8"),
                Err(PublishDenied::Forbidden),
                "{name}"
            );
            assert_eq!(
                publish(name, Role::Proveedor, "9"),
                Err(PublishDenied::Forbidden),
                "{name}"
            );
            assert_eq!(publish(name, Role::Admin, "1"), Ok(()), "{name}");
        }
        assert_eq!(
            publish("reservation_accepted", Role::Proveedor, "9"),
            Ok(())
        );
        assert_eq!(
            publish("reservation_accepted", Role::Proveedor, "7"),
            Err(PublishDenied::Forbidden)
        );
        assert_eq!(
            publish("reservation_accepted", Role::Cliente, "7"),
            Err(PublishDenied::Forbidden)
        );
        let created = EventType::client_publishable("reservation_created").unwrap();
        for without_recipient in [
            json!(null),
            json!([]),
            json!({"clienteId": 7}),
            json!({"clienteId": 7, "proveedorId": {}}),
        ] {
            assert_eq!(
                created.check_publish(&user(Role::Cliente, "7"), &without_recipient),
                Err(PublishDenied::InvalidData)
            );
        }
        let contradictory = json!({"clienteId": 7, "cliente_id": 8, "proveedorId": 9});
        assert_eq!(
            created.check_publish(&user(Role::Cliente, "7"), &contradictory),
            Err(PublishDenied::Forbidden)
        );
    }

    #[test]
    fn ids_are_spelled_both_ways() {
        let data = with_both_spellings(&json!({"cliente_id": 1, "proveedorId": "2", "monto": 3}));
        assert_eq!(
            data,
            json!({"cliente_id": 1, "proveedorId": "2", "monto": 3, "clienteId": 1, "proveedor_id": "2"})
        );
        assert_eq!(with_both_spellings(&json!([1])), json!([1]));
    }
}
