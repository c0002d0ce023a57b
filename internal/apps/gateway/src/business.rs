//! Business events: their names in both versions, the rooms that they concern, and the roles that
//! may publish them. Pure.

use serde_json::{Map, Value};

use crate::who::{Role, Who, id_text, personal};

/// The id fields in both spellings. The Django API writes the second one.
const IDS: [(&str, &str); 4] = [
    ("clienteId", "cliente_id"),
    ("proveedorId", "proveedor_id"),
    ("servicioId", "servicio_id"),
    ("reservaId", "reserva_id"),
];

/// A type of business event with its routing rules.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// The published names of this type, in either version. The oldest version 1 name comes first.
    pub(super) names: &'static [&'static str],
    /// The names that all version 2 clients receive.
    pub(super) second: &'static [&'static str],
    /// The additional name that only one role of version 2 receives.
    pub(super) second_role: Option<(Role, &'static str)>,
    /// The roles whose personal rooms of version 1 receive it, by the ids in the payload.
    pub(super) first: &'static [Role],
    /// The role whose clients may publish it. `None` if only the API may.
    pub(super) by: Option<Role>,
}

/// All types with a rule. Any other event is published under its own name.
const KINDS: &[Kind] = &[
    Kind {
        names: &["reservation_created", "reserva:creada"],
        second: &["reserva:nueva", "reservation_created"],
        second_role: Some((Role::Admin, "reserva:notificacion")),
        first: &[Role::Proveedor],
        by: Some(Role::Cliente),
    },
    Kind {
        names: &["reservation_updated", "reserva:actualizada"],
        second: &["reserva:cambio", "reservation_updated"],
        second_role: None,
        first: &[Role::Proveedor, Role::Cliente],
        by: None,
    },
    Kind {
        names: &["reservation_deleted", "reserva:cancelada"],
        second: &["reserva:cancelacion", "reservation_deleted"],
        second_role: None,
        first: &[Role::Proveedor, Role::Cliente],
        by: None,
    },
    Kind {
        names: &["reservation_accepted", "reserva:aceptada"],
        second: &["reservation_accepted"],
        second_role: None,
        first: &[Role::Cliente],
        by: Some(Role::Proveedor),
    },
    Kind {
        names: &["payment_created", "payment_updated", "pago:procesado"],
        second: &["pago:confirmado", "payment_created", "payment_updated"],
        second_role: None,
        first: &[Role::Proveedor],
        by: Some(Role::Cliente),
    },
    Kind {
        names: &["comment_created"],
        second: &["comment_created"],
        second_role: None,
        first: &[Role::Proveedor],
        by: Some(Role::Cliente),
    },
    Kind {
        names: &["servicio:creado"],
        second: &["servicio:disponible"],
        second_role: Some((Role::Cliente, "servicio:nuevo")),
        first: &[],
        by: None,
    },
    Kind {
        names: &["calificacion:creada"],
        second: &["calificacion:nueva"],
        second_role: None,
        first: &[],
        by: None,
    },
    Kind {
        names: &["cliente:nuevo"],
        second: &[],
        second_role: Some((Role::Admin, "cliente:registrado")),
        first: &[],
        by: None,
    },
];

/// The event names that clients may publish. All others come from the API.
const SAID_BY_CLIENTS: [&str; 4] = [
    "reservation_created",
    "reservation_accepted",
    "payment_created",
    "comment_created",
];

impl Kind {
    /// Returns the type with this published name.
    pub(super) fn of(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.names.contains(&name))
    }

    /// Returns the type with this name if clients may publish it.
    pub(super) fn said(name: &str) -> Option<&'static Self> {
        Self::of(name).filter(|_| SAID_BY_CLIENTS.contains(&name))
    }

    /// Returns the name that version 1 clients receive.
    pub(super) fn first_name<'a>(&self, name: &'a str) -> &'a str {
        // Version 2 names contain a colon; the first entry of `names` is the version 1 name.
        if name.contains(':') {
            self.names.first().copied().unwrap_or(name)
        } else {
            name
        }
    }

    /// Returns the personal rooms of version 1 that receive the event.
    pub(super) fn rooms(&self, data: &Value) -> Vec<String> {
        let room = |role: &Role| Some(personal(*role, &party(data, *role)?));
        self.first.iter().filter_map(room).collect()
    }

    /// Checks that a user may publish this event: the role fits, the payload has the user's own id,
    /// and it names a recipient. An administrator may publish any event.
    ///
    /// # Errors
    /// Returns the reason if the event is refused.
    pub(super) fn may_say(&self, user: &Who, data: &Value) -> Result<(), Unsaid> {
        if !data.is_object() || self.rooms(data).is_empty() {
            return Err(Unsaid::Data);
        }
        if user.role == Role::Admin {
            return Ok(());
        }
        let is_own =
            self.by == Some(user.role) && party(data, user.role).as_deref() == Some(&*user.id);
        if is_own {
            Ok(())
        } else {
            Err(Unsaid::Forbidden)
        }
    }
}

/// The reason for refusing an event that a client publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsaid {
    /// The payload names no recipient.
    Data,
    /// The event does not belong to the user or to the user's role.
    Forbidden,
}

/// Returns the id of a party in a payload. Returns `None` if the two spellings contradict each
/// other.
fn party(data: &Value, role: Role) -> Option<String> {
    let (camel, snake) = match role {
        Role::Cliente => IDS[0],
        Role::Proveedor => IDS[1],
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
pub(super) fn spelled_out(data: &Value) -> Value {
    let Value::Object(fields) = data else {
        return data.clone();
    };
    let mut fields: Map<_, _> = fields.clone();
    for (camel, snake) in IDS {
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
        let mut names: Vec<_> = KINDS.iter().flat_map(|kind| kind.names).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(
            SAID_BY_CLIENTS
                .iter()
                .all(|name| Kind::said(name).is_some_and(|kind| kind.by.is_some()))
        );
        assert!(Kind::said("reserva:creada").is_none() && Kind::of("dashboard").is_none());
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
            assert_eq!(Kind::of(name).unwrap().first_name(name), expected);
        }
    }

    #[test]
    fn users_publish_only_their_own_events() {
        let user = |role, id: &str| Who {
            id: id.into(),
            role,
        };
        let data = json!({"clienteId": 7, "proveedorId": "9"});
        let publish = |name, role, id| Kind::said(name).unwrap().may_say(&user(role, id), &data);
        for name in ["reservation_created", "payment_created", "comment_created"] {
            assert_eq!(publish(name, Role::Cliente, "7"), Ok(()), "{name}");
            assert_eq!(
                publish(name, Role::Cliente, "8"),
                Err(Unsaid::Forbidden),
                "{name}"
            );
            assert_eq!(
                publish(name, Role::Proveedor, "9"),
                Err(Unsaid::Forbidden),
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
            Err(Unsaid::Forbidden)
        );
        assert_eq!(
            publish("reservation_accepted", Role::Cliente, "7"),
            Err(Unsaid::Forbidden)
        );
        let created = Kind::said("reservation_created").unwrap();
        for without_recipient in [
            json!(null),
            json!([]),
            json!({"clienteId": 7}),
            json!({"clienteId": 7, "proveedorId": {}}),
        ] {
            assert_eq!(
                created.may_say(&user(Role::Cliente, "7"), &without_recipient),
                Err(Unsaid::Data)
            );
        }
        let contradictory = json!({"clienteId": 7, "cliente_id": 8, "proveedorId": 9});
        assert_eq!(
            created.may_say(&user(Role::Cliente, "7"), &contradictory),
            Err(Unsaid::Forbidden)
        );
    }

    #[test]
    fn ids_are_spelled_both_ways() {
        let data = spelled_out(&json!({"cliente_id": 1, "proveedorId": "2", "monto": 3}));
        assert_eq!(
            data,
            json!({"cliente_id": 1, "proveedorId": "2", "monto": 3, "clienteId": 1, "proveedor_id": "2"})
        );
        assert_eq!(spelled_out(&json!([1])), json!([1]));
    }
}
