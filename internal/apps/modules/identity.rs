//! Who a web client is, and how that was proved.

use std::sync::Arc;

use serde_json::Value;

use crate::ident::UserId;

/// Longest id of a user or a module, in bytes.
pub(super) const MAX_ID_BYTES: usize = 200;
/// Integers up to here are the same in JavaScript.
const MAX_SAFE_INTEGER: i64 = 9_007_199_254_740_991;

/// Somebody who has proved who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    /// Always text inside.
    pub(super) user: UserId,
    /// From the token's role or the session, never from the client.
    pub(super) is_admin: bool,
    /// What to call them, where the session says it.
    pub(super) nickname: Option<Arc<str>>,
    /// What proved it.
    pub(super) proof: Proof,
}

/// What an identity rests on, and so when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// A token, refused from this second (Unix epoch) on.
    Token { ends_at_s: i64 },
    /// A session, to be looked up again from time to time.
    Session(SessionId),
    /// The client's own word, where the operator has switched that on.
    Word,
}

/// The name of a session: whoever has it is in. Never shown.
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
impl Person {
    /// A user without rights.
    pub(super) fn fake(user: &str) -> Self {
        Self {
            user: UserId::new(user),
            is_admin: false,
            nickname: None,
            proof: Proof::Word,
        }
    }
}

/// The id as clients know it: numbers came from columns of integers, and scripts compare them as such.
pub(super) fn id_value(id: &str) -> Value {
    let number = id
        .parse::<i64>()
        .ok()
        .filter(|n| n.abs() <= MAX_SAFE_INTEGER && n.to_string() == id);
    number.map_or_else(|| Value::from(id), Value::from)
}

/// An id as a client or a caller writes it: a number or a text.
pub(super) fn id_text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        _ => return None,
    };
    is_id(&text).then_some(text)
}

/// Whether a text can be somebody's or something's id.
pub(super) fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_ID_BYTES && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_are_text_inside_and_go_out_as_they_came() {
        for (inside, outside) in [
            ("7", json!(7)),
            ("-3", json!(-3)),
            ("007", json!("007")),
            ("a1", json!("a1")),
        ] {
            assert_eq!(id_value(inside), outside);
            assert_eq!(id_text(&outside).as_deref(), Some(inside));
        }
        assert_eq!(
            id_value("9007199254740993"),
            json!("9007199254740993"),
            "a script would round it"
        );
        assert_eq!(id_text(&json!(" 7 ")).as_deref(), Some("7"));
        for bad in [
            json!(null),
            json!(1.5),
            json!(""),
            json!([7]),
            json!("a\nb"),
            json!("x".repeat(201)),
        ] {
            assert_eq!(id_text(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_session_is_never_shown() {
        assert!(!format!("{:?}", Proof::Session(SessionId::new("s3cr3t"))).contains("s3cr3t"));
    }
}
