//! Authenticated users and the rooms that belong to them. Pure.

use std::sync::Arc;

use serde_json::Value;

use latido_base::ident::UserId;
use latido_event_bus::{Identity, JoinRequest, TopicName};

/// The maximum length of a room's name, in bytes.
const MAX_ROOM_BYTES: usize = 128;
/// The administrators' room of version 1.
pub(super) const ADMINS_ROOM: &str = "admin_dashboard";
/// Internal rooms of all authenticated clients on `/` and on `/ws`. No client can join them by
/// name, because names that start with `#` are refused.
pub(super) const ALL_V1_ROOM: &str = "#first";
pub(super) const ALL_V2_ROOM: &str = "#second";
/// The internal topic that keeps published events for later queries. It has no members.
pub(super) const HISTORY_ROOM: &str = "#history";

/// The client version, which selects event names and payloads. The namespace determines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ClientVersion {
    /// Version 1, on namespace `/`.
    V1,
    /// Version 2, on namespace `/ws`.
    V2,
}

impl ClientVersion {
    pub(super) const NAMESPACES: &[&str] = &["/", "/ws"];

    pub(super) fn of_namespace(namespace: &str) -> Self {
        if namespace == "/ws" {
            Self::V2
        } else {
            Self::V1
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
pub(super) struct GatewayUser {
    /// The user's id as text, even if the wire had a number.
    pub(super) id: Arc<str>,
    pub(super) role: Role,
}

impl GatewayUser {
    pub(super) fn identity(&self) -> Identity {
        Identity {
            user: Some(UserId::new(&self.id)),
        }
    }

    /// Returns the rooms that the server joins for the user after authentication.
    pub(super) fn initial_rooms(&self, generation: ClientVersion) -> Vec<JoinRequest> {
        let mut rooms = match generation {
            ClientVersion::V1 => vec![
                ALL_V1_ROOM.to_owned(),
                self.personal_room(),
                role_room(self.role),
            ],
            ClientVersion::V2 => vec![
                ALL_V2_ROOM.to_owned(),
                self.role.as_str().to_owned(),
                user_room(&self.id),
            ],
        };
        if generation == ClientVersion::V1 && self.role == Role::Admin {
            rooms.push(ADMINS_ROOM.to_owned());
        }
        rooms
            .iter()
            .map(|room| JoinRequest::new(TopicName::new(room)))
            .collect()
    }

    /// Returns `true` if the user may join a room by name: any room of a service or a location, and
    /// of the other rooms only the user's own.
    pub(super) fn can_join(&self, room: &str) -> bool {
        if room.len() > MAX_ROOM_BYTES || room.chars().any(char::is_control) {
            return false;
        }
        let has_id_after =
            |prefix: &str| room.strip_prefix(prefix).is_some_and(|id| !id.is_empty());
        has_id_after("service_")
            || has_id_after("location_")
            || room == self.personal_room()
            || room == role_room(self.role)
            || room == self.role.as_str()
            || room == user_room(&self.id)
            || (room == ADMINS_ROOM && self.role == Role::Admin)
    }

    fn personal_room(&self) -> String {
        personal_room(self.role, &self.id)
    }
}

/// Returns the personal room of a user in a role, such as `cliente_7`.
pub(super) fn personal_room(role: Role, id: &str) -> String {
    format!("{}_{id}", role.as_str())
}

/// Returns the room of all version 1 clients of a role, such as `all_clientes`. `all_admins`
/// follows the wire contract, not Spanish grammar.
pub(super) fn role_room(role: Role) -> String {
    match role {
        Role::Proveedor => "all_proveedores".to_owned(),
        Role::Cliente | Role::Admin => format!("all_{}s", role.as_str()),
    }
}

/// Returns the personal room of a version 2 user, such as `user:7`.
pub(super) fn user_room(id: &str) -> String {
    format!("user:{id}")
}

/// Converts a wire id to text. Returns `None` unless it is a short string or an integer.
pub(super) fn id_text(value: &Value) -> Option<String> {
    latido_app_kit::id_text(value).filter(|id| (1..=MAX_ROOM_BYTES).contains(&id.len()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn test_user(id: &str, role: Role) -> GatewayUser {
        GatewayUser {
            id: id.into(),
            role,
        }
    }

    fn names(user: &GatewayUser, generation: ClientVersion) -> Vec<String> {
        user.initial_rooms(generation)
            .iter()
            .map(|join| join.topic.as_str().to_owned())
            .collect()
    }

    #[test]
    fn initial_rooms_depend_on_version_and_role() {
        assert_eq!(
            names(&test_user("7", Role::Cliente), ClientVersion::V1),
            ["#first", "cliente_7", "all_clientes"]
        );
        assert_eq!(
            names(&test_user("7", Role::Proveedor), ClientVersion::V1),
            ["#first", "proveedor_7", "all_proveedores"]
        );
        assert_eq!(
            names(&test_user("1", Role::Admin), ClientVersion::V1),
            ["#first", "admin_1", "all_admins", "admin_dashboard"]
        );
        assert_eq!(
            names(&test_user("1", Role::Admin), ClientVersion::V2),
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
            assert!(cliente.can_join(room), "{room}");
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
            assert!(!cliente.can_join(room), "{room}");
        }
        assert!(
            test_user("1", Role::Admin).can_join(ADMINS_ROOM)
                && !test_user("1", Role::Admin).can_join("cliente_7")
        );
        assert!(!cliente.can_join(&format!("service_{}", "x".repeat(MAX_ROOM_BYTES))));
    }

    #[test]
    fn user_ids_are_strings_or_integers() {
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
