//! What happens in the business: its names in both vocabularies, whom it concerns, and who may say it. Pure.

use serde_json::{Map, Value};

use crate::apps::gateway::who::{Role, Who, id_text, personal};

/// Ids in both spellings: the Django API writes the second.
const IDS: [(&str, &str); 4] = [
    ("clienteId", "cliente_id"),
    ("proveedorId", "proveedor_id"),
    ("servicioId", "servicio_id"),
    ("reservaId", "reserva_id"),
];

/// A kind of event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// Its names, in either generation.
    pub(super) names: &'static [&'static str],
    /// The names under which the second generation tells everybody.
    pub(super) second: &'static [&'static str],
    /// And those of one role alone, under which name.
    pub(super) second_role: Option<(Role, &'static str)>,
    /// Whose personal rooms of the first generation it goes to, by the ids in the payload.
    pub(super) first: &'static [Role],
    /// Which role's client may say it; None: the API alone.
    pub(super) by: Option<Role>,
}

/// Every kind that has a rule; whatever else is published is told under its own name.
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

/// What clients themselves may say; the rest comes from the API.
const SAID_BY_CLIENTS: [&str; 4] = [
    "reservation_created",
    "reservation_accepted",
    "payment_created",
    "comment_created",
];

impl Kind {
    /// The kind of an event's name.
    pub(super) fn of(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.names.contains(&name))
    }

    /// The kind of an event that clients may say.
    pub(super) fn said(name: &str) -> Option<&'static Self> {
        Self::of(name).filter(|_| SAID_BY_CLIENTS.contains(&name))
    }

    /// Under which name the first generation knows it.
    pub(super) fn first_name<'a>(&self, name: &'a str) -> &'a str {
        // Those of the second generation have a colon; the first among the names is the older one.
        if name.contains(':') {
            self.names.first().copied().unwrap_or(name)
        } else {
            name
        }
    }

    /// The personal rooms that it goes to.
    pub(super) fn rooms(&self, data: &Value) -> Vec<String> {
        let room = |role: &Role| Some(personal(*role, &party(data, *role)?));
        self.first.iter().filter_map(room).collect()
    }

    /// Whether somebody may say this: in his role, with his own id in it, and to somebody. An administrator may say all.
    pub(super) fn may_say(&self, who: &Who, data: &Value) -> Result<(), Unsaid> {
        if !data.is_object() || self.rooms(data).is_empty() {
            return Err(Unsaid::Data);
        }
        if who.role == Role::Admin {
            return Ok(());
        }
        let is_his =
            self.by == Some(who.role) && party(data, who.role).as_deref() == Some(&*who.id);
        if is_his {
            Ok(())
        } else {
            Err(Unsaid::Forbidden)
        }
    }
}

/// Why a client's event goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsaid {
    /// It lacks whom it concerns.
    Data,
    /// It is not his to say.
    Forbidden,
}

/// The id of a party in a payload. Two spellings that contradict each other name nobody.
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

/// A payload with every id in both spellings.
pub(super) fn spelled_out(data: &Value) -> Value {
    let Value::Object(fields) = data else {
        return data.clone();
    };
    let mut fields: Map<_, _> = fields.clone();
    for (camel, snake) in IDS {
        for (have, want) in [(camel, snake), (snake, camel)] {
            if let Some(id) = fields
                .get(have)
                .filter(|_| !fields.contains_key(want))
                .cloned()
            {
                fields.insert(want.to_owned(), id);
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
    fn every_name_has_one_kind() {
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
    fn the_first_generation_keeps_its_names() {
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
    fn who_may_say_what() {
        let who = |role, id: &str| Who {
            id: id.into(),
            role,
        };
        let data = json!({"clienteId": 7, "proveedorId": "9"});
        let say = |name, role, id| Kind::said(name).unwrap().may_say(&who(role, id), &data);
        for name in ["reservation_created", "payment_created", "comment_created"] {
            assert_eq!(say(name, Role::Cliente, "7"), Ok(()), "{name}");
            assert_eq!(
                say(name, Role::Cliente, "8"),
                Err(Unsaid::Forbidden),
                "{name}"
            );
            assert_eq!(
                say(name, Role::Proveedor, "9"),
                Err(Unsaid::Forbidden),
                "{name}"
            );
            assert_eq!(say(name, Role::Admin, "1"), Ok(()), "{name}");
        }
        assert_eq!(say("reservation_accepted", Role::Proveedor, "9"), Ok(()));
        assert_eq!(
            say("reservation_accepted", Role::Proveedor, "7"),
            Err(Unsaid::Forbidden)
        );
        assert_eq!(
            say("reservation_accepted", Role::Cliente, "7"),
            Err(Unsaid::Forbidden)
        );
        let created = Kind::said("reservation_created").unwrap();
        for nobody in [
            json!(null),
            json!([]),
            json!({"clienteId": 7}),
            json!({"clienteId": 7, "proveedorId": {}}),
        ] {
            assert_eq!(
                created.may_say(&who(Role::Cliente, "7"), &nobody),
                Err(Unsaid::Data)
            );
        }
        let two = json!({"clienteId": 7, "cliente_id": 8, "proveedorId": 9});
        assert_eq!(
            created.may_say(&who(Role::Cliente, "7"), &two),
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
