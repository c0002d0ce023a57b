//! The users of web clients, and their authentication method.

use std::sync::Arc;

use serde_json::Value;

use latido_auth::TokenLifetime;
use latido_base::ident::UserId;
use latido_event_bus::Identity;

/// The longest id of a user or a module, in bytes.
pub(super) const MAX_ID_BYTES: usize = 200;
/// The largest integer that JavaScript represents exactly.
const MAX_SAFE_INTEGER: u64 = 9_007_199_254_740_991;

/// An authenticated user of a web client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WebUser {
    /// The user's id, always as text inside the server.
    pub(super) id: UserId,
    /// Taken from the token's role or the session, never from the client.
    pub(super) is_admin: bool,
    /// The display name, if the session has one.
    pub(super) nickname: Option<Arc<str>>,
    /// The method that authenticated the user.
    pub(super) auth_method: AuthMethod,
}

impl WebUser {
    /// Returns the identity of the user's connections.
    pub(super) fn identity(&self) -> Identity {
        Identity {
            user: Some(self.id.clone()),
        }
    }
}

/// The basis of an identity, which also determines its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AuthMethod {
    /// A token, which ends by its expiry or its revocation.
    Token(TokenLifetime),
    /// A session, which is looked up again periodically.
    Session(SessionId),
    /// The client's own claim, if the operator has enabled that.
    Unverified,
}

/// The id of a session. It grants access to the session, so `Debug` redacts it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct SessionId(Arc<str>);

impl SessionId {
    pub(super) fn new(id: &str) -> Self {
        Self(id.into())
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionId([redacted])")
    }
}

#[cfg(test)]
impl WebUser {
    /// Returns a user without rights.
    pub(super) fn test_user(user: &str) -> Self {
        Self {
            id: UserId::new(user),
            is_admin: false,
            nickname: None,
            auth_method: AuthMethod::Unverified,
        }
    }
}

/// Converts an id to JSON as clients know it: ids from integer columns are numbers, which scripts
/// compare as such.
pub(super) fn id_to_json(id: &str) -> Value {
    let number = id
        .parse::<i64>()
        .ok()
        .filter(|n| n.unsigned_abs() <= MAX_SAFE_INTEGER && n.to_string() == id);
    number.map_or_else(|| Value::from(id), Value::from)
}

/// Parses an id from JSON, which may be a number or a text.
pub(super) fn parse_id(value: &Value) -> Option<String> {
    let text = latido_app_kit::id_text(value)?.trim().to_owned();
    is_valid_id(&text).then_some(text)
}

/// Returns `true` if a text is valid as an id of a user or a module.
pub(super) fn is_valid_id(text: &str) -> bool {
    latido_app_kit::is_id(text, MAX_ID_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_are_text_inside_and_keep_their_json_type() {
        for (inside, outside) in [
            ("7", json!(7)),
            ("-3", json!(-3)),
            ("007", json!("007")),
            ("a1", json!("a1")),
        ] {
            assert_eq!(id_to_json(inside), outside);
            assert_eq!(parse_id(&outside).as_deref(), Some(inside));
        }
        assert_eq!(
            id_to_json("9007199254740993"),
            json!("9007199254740993"),
            "a script would round it"
        );
        let least = i64::MIN.to_string();
        assert_eq!(id_to_json(&least), json!(least), "it has no absolute value");
        assert_eq!(parse_id(&json!(" 7 ")).as_deref(), Some("7"));
        for bad in [
            json!(null),
            json!(1.5),
            json!(""),
            json!([7]),
            json!("a\nb"),
            json!("x".repeat(201)),
        ] {
            assert_eq!(parse_id(&bad), None, "{bad}");
        }
    }

    #[test]
    fn debug_output_hides_the_session_id() {
        assert!(!format!("{:?}", AuthMethod::Session(SessionId::new("s3cr3t"))).contains("s3cr3t"));
    }
}
