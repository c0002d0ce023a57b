//! Authenticated users and the rooms that belong to them. Pure.

use std::sync::Arc;

use serde_json::Value;

use latido_base::ident::UserId;
use latido_event_bus::{Identity, JoinRequest, TopicName};

/// The maximum length of a room's name, in bytes.
const MAX_ROOM: usize = 128;
/// The administrators' room of version 1.
pub(super) const ADMINS: &str = "admin_dashboard";
/// Internal rooms of all authenticated clients on `/` and on `/ws`. No client can join them by
/// name, because names that start with `#` are refused.
pub(super) const FIRST: &str = "#first";
pub(super) const SECOND: &str = "#second";
/// The internal topic that keeps published events for later queries. It has no members.
pub(super) const HISTORY: &str = "#history";

/// The client version, which selects event names and payloads. The namespace determines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Generation {
    /// Version 1, on namespace `/`.
    First,
    /// Version 2, on namespace `/ws`.
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

/// The user's role in the business.
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

/// A user whose token was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    /// The user's id as text, even if the wire had a number.
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

    /// Returns the rooms that the server joins for the user after authentication.
    pub(super) fn rooms(&self, generation: Generation) -> Vec<JoinRequest> {
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
            .map(|room| JoinRequest::new(TopicName::new(room)))
            .collect()
    }

    /// Returns `true` if the user may join a room by name: any room of a service or a location, and
    /// of the other rooms only the user's own.
    pub(super) fn may_join(&self, room: &str) -> bool {
        if room.len() > MAX_ROOM || room.chars().any(char::is_control) {
            return false;
        }
        let has_id_after =
            |prefix: &str| room.strip_prefix(prefix).is_some_and(|id| !id.is_empty());
        has_id_after("service_")
            || has_id_after("location_")
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

/// Returns the personal room of a user in a role, such as `cliente_7`.
pub(super) fn personal(role: Role, id: &str) -> String {
    format!("{}_{id}", role.as_str())
}

/// Returns the room of all version 1 clients of a role, such as `all_clientes`. `all_admins`
/// follows the wire contract, not Spanish grammar.
pub(super) fn everybody(role: Role) -> String {
    match role {
        Role::Proveedor => "all_proveedores".to_owned(),
        Role::Cliente | Role::Admin => format!("all_{}s", role.as_str()),
    }
}

/// Returns the personal room of a version 2 user, such as `user:7`.
pub(super) fn user(id: &str) -> String {
    format!("user:{id}")
}

/// Converts a wire id to text. Returns `None` unless it is a short string or an integer.
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

    fn test_user(id: &str, role: Role) -> Who {
        Who {
            id: id.into(),
            role,
        }
    }

    fn names(user: &Who, generation: Generation) -> Vec<String> {
        user.rooms(generation)
            .iter()
            .map(|join| join.topic.as_str().to_owned())
            .collect()
    }

    #[test]
    fn initial_rooms_depend_on_version_and_role() {
        assert_eq!(
            names(&test_user("7", Role::Cliente), Generation::First),
            ["#first", "cliente_7", "all_clientes"]
        );
        assert_eq!(
            names(&test_user("7", Role::Proveedor), Generation::First),
            ["#first", "proveedor_7", "all_proveedores"]
        );
        assert_eq!(
            names(&test_user("1", Role::Admin), Generation::First),
            ["#first", "admin_1", "all_admins", "admin_dashboard"]
        );
        assert_eq!(
            names(&test_user("1", Role::Admin), Generation::Second),
            ["#second", "admin", "user:1"]
        );
    }

    #[test]
    fn users_may_join_only_their_own_and_public_rooms() {
        let cliente = test_user("7", Role::Cliente);
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
            test_user("1", Role::Admin).may_join(ADMINS)
                && !test_user("1", Role::Admin).may_join("cliente_7")
        );
        assert!(!cliente.may_join(&format!("service_{}", "x".repeat(MAX_ROOM))));
    }

    #[test]
    fn ids_are_strings_or_integers() {
        assert_eq!(
            (id_text(&json!(7)), id_text(&json!("7"))),
            (Some("7".into()), Some("7".into()))
        );
        for invalid in [
            json!(null),
            json!(1.5),
            json!(""),
            json!([7]),
            json!("x".repeat(200)),
        ] {
            assert_eq!(id_text(&invalid), None);
        }
    }
}
