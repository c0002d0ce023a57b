//! Who a client is, and the rooms that are his. Pure.

use std::sync::Arc;

use serde_json::Value;

use crate::hub::exchange::{Identity, Join, TopicName};
use crate::ident::UserId;

/// Longest name of a room, in bytes.
const MAX_ROOM: usize = 128;
/// The administrators' room of the first generation.
pub(super) const ADMINS: &str = "admin_dashboard";
/// Rooms of ours: no client can name them, for what begins with `#` is never joined by name. Everybody identified on `/`, and on `/ws`.
pub(super) const FIRST: &str = "#first";
pub(super) const SECOND: &str = "#second";
/// What was published, kept for who asks later; nobody is in it.
pub(super) const HISTORY: &str = "#history";

/// Which of the two vocabularies a socket speaks: the namespace tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Generation {
    /// Namespace `/`.
    First,
    /// Namespace `/ws`.
    Second,
}

impl Generation {
    pub(super) const NAMESPACES: &[&str] = &["/", "/ws"];

    pub(super) fn of(namespace: &str) -> Self {
        if namespace == "/ws" {
            Self::Second
        } else {
            Self::First
        }
    }
}

/// What somebody is in the business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Role {
    Cliente,
    Proveedor,
    Admin,
}

impl Role {
    pub(super) const ALL: [Self; 3] = [Self::Cliente, Self::Proveedor, Self::Admin];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Cliente => "cliente",
            Self::Proveedor => "proveedor",
            Self::Admin => "admin",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// Somebody whose token was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    /// As text, whatever it was on the wire.
    pub(super) id: Arc<str>,
    pub(super) role: Role,
}

impl Who {
    pub(super) fn identity(&self) -> Identity {
        Identity {
            user: Some(UserId::new(&self.id)),
            session: None,
            role: Some(self.role.as_str().into()),
        }
    }

    /// Joined for him when he is identified.
    pub(super) fn rooms(&self, generation: Generation) -> Vec<Join> {
        let mut rooms = match generation {
            Generation::First => vec![FIRST.to_owned(), self.personal(), everybody(self.role)],
            Generation::Second => vec![
                SECOND.to_owned(),
                self.role.as_str().to_owned(),
                user(&self.id),
            ],
        };
        if generation == Generation::First && self.role == Role::Admin {
            rooms.push(ADMINS.to_owned());
        }
        rooms
            .iter()
            .map(|room| Join::new(TopicName::new(room)))
            .collect()
    }

    /// Whether he may join a room by its name: those of services and places, and of the others his own alone.
    pub(super) fn may_join(&self, room: &str) -> bool {
        if room.len() > MAX_ROOM || room.chars().any(char::is_control) {
            return false;
        }
        let place = |prefix: &str| room.strip_prefix(prefix).is_some_and(|id| !id.is_empty());
        place("service_")
            || place("location_")
            || room == self.personal()
            || room == everybody(self.role)
            || room == self.role.as_str()
            || room == user(&self.id)
            || (room == ADMINS && self.role == Role::Admin)
    }

    fn personal(&self) -> String {
        personal(self.role, &self.id)
    }
}

/// `cliente_7`
pub(super) fn personal(role: Role, id: &str) -> String {
    format!("{}_{id}", role.as_str())
}

/// `all_clientes`; regular, whatever Spanish says.
pub(super) fn everybody(role: Role) -> String {
    match role {
        Role::Proveedor => "all_proveedores".to_owned(),
        Role::Cliente | Role::Admin => format!("all_{}s", role.as_str()),
    }
}

/// `user:7`
pub(super) fn user(id: &str) -> String {
    format!("user:{id}")
}

/// An id of the wire as text; none if it is no id.
pub(super) fn id_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() && text.len() <= MAX_ROOM => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn who(id: &str, role: Role) -> Who {
        Who {
            id: id.into(),
            role,
        }
    }

    fn names(who: &Who, generation: Generation) -> Vec<String> {
        who.rooms(generation)
            .iter()
            .map(|join| join.topic.as_str().to_owned())
            .collect()
    }

    #[test]
    fn rooms_of_each_generation() {
        assert_eq!(
            names(&who("7", Role::Cliente), Generation::First),
            ["#first", "cliente_7", "all_clientes"]
        );
        assert_eq!(
            names(&who("7", Role::Proveedor), Generation::First),
            ["#first", "proveedor_7", "all_proveedores"]
        );
        assert_eq!(
            names(&who("1", Role::Admin), Generation::First),
            ["#first", "admin_1", "all_admins", "admin_dashboard"]
        );
        assert_eq!(
            names(&who("1", Role::Admin), Generation::Second),
            ["#second", "admin", "user:1"]
        );
    }

    #[test]
    fn only_ones_own_and_places_are_joined() {
        let cliente = who("7", Role::Cliente);
        for room in [
            "service_1",
            "location_quito",
            "cliente_7",
            "all_clientes",
            "cliente",
            "user:7",
        ] {
            assert!(cliente.may_join(room), "{room}");
        }
        for room in [
            "",
            "service_",
            "location_",
            "cliente_8",
            "proveedor_7",
            "all_proveedores",
            "all_admins",
            "admin_dashboard",
            "admin",
            "proveedor",
            "user:8",
            "#first",
            "#history",
            "service_\n",
            "dashboard",
        ] {
            assert!(!cliente.may_join(room), "{room}");
        }
        assert!(
            who("1", Role::Admin).may_join(ADMINS) && !who("1", Role::Admin).may_join("cliente_7")
        );
        assert!(!cliente.may_join(&format!("service_{}", "x".repeat(MAX_ROOM))));
    }

    #[test]
    fn ids_are_text_or_whole_numbers() {
        assert_eq!(
            (id_text(&json!(7)), id_text(&json!("7"))),
            (Some("7".into()), Some("7".into()))
        );
        for nothing in [
            json!(null),
            json!(1.5),
            json!(""),
            json!([7]),
            json!("x".repeat(200)),
        ] {
            assert_eq!(id_text(&nothing), None);
        }
    }
}
