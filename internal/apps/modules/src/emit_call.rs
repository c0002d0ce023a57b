//! A parsed call of the emit API, and the arguments it is parsed from. Pure.

use serde_json::{Map, Value};

use latido_base::ident::UserId;

use crate::events::OutgoingEvent;
use crate::user::parse_id;

/// The names of fields that are removed at any depth.
const SECRET_FIELDS: [&str; 9] = [
    "sessionid",
    "session_id",
    "password",
    "password_hash",
    "passwordhash",
    "module_password_hash",
    "module_code",
    "token",
    "sid",
];
/// The largest depth of an object that is passed on.
const MAX_DEPTH: usize = 16;

/// The parsed meaning of a call.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum EmitCall {
    /// Sets a module's online flag.
    SetOnline { module: String, online: bool },
    /// Records that a module was seen, with telemetry if given.
    RecordSeen {
        module: String,
        telemetry: Option<Map<String, Value>>,
    },
    /// Publishes a device's response to a command.
    CommandResponse {
        module: String,
        command: String,
        status: String,
        position: Value,
    },
    /// Reads the row of a module, which may have changed.
    RefreshRow { module: String },
    /// Publishes the current counts again.
    PublishStats,
    /// Publishes these events unchanged.
    Publish(Vec<OutgoingEvent>),
}

/// The reason why a call is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum EmitError {
    #[error("no such method")]
    UnknownMethod,
    #[error("{0} is required, or is not what it should be")]
    InvalidArgument(&'static str),
}

/// The arguments of a call: an object with names, or an array in the documented order.
pub(super) struct EmitArguments(Map<String, Value>);

impl EmitArguments {
    pub(super) fn new(names: &[&str], body: Value) -> Self {
        Self(match body {
            Value::Object(named) => named,
            Value::Array(values) => names
                .iter()
                .map(|name| (*name).to_owned())
                .zip(values)
                .collect(),
            Value::Null => Map::new(),
            // A bare value is the only argument.
            single => names
                .first()
                .map(|name| ((*name).to_owned(), single))
                .into_iter()
                .collect(),
        })
    }

    pub(super) fn value(&self, name: &str) -> Value {
        self.0
            .get(name)
            .cloned()
            .map_or(Value::Null, |value| remove_secrets(value, MAX_DEPTH))
    }

    /// Returns an id. It is also accepted inside a `module` or `user` object, for callers that pass
    /// the whole object.
    pub(super) fn id(&self, name: &'static str) -> Result<String, EmitError> {
        let nested = || {
            let object = ["module", "user"]
                .iter()
                .find_map(|object| self.0.get(*object))?;
            [name, "module_id", "id"]
                .iter()
                .find_map(|field| object.get(*field))
                .and_then(parse_id)
        };
        self.0
            .get(name)
            .and_then(parse_id)
            .or_else(nested)
            .ok_or(EmitError::InvalidArgument(name))
    }

    pub(super) fn text(&self, name: &'static str) -> Result<String, EmitError> {
        self.0
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(ToOwned::to_owned)
            .ok_or(EmitError::InvalidArgument(name))
    }

    /// Returns a flag.
    pub(super) fn flag(&self, name: &'static str) -> Result<bool, EmitError> {
        self.0
            .get(name)
            .and_then(Value::as_bool)
            .ok_or(EmitError::InvalidArgument(name))
    }

    pub(super) fn text_or(&self, name: &str, default: &str) -> String {
        self.0
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or(default)
            .to_owned()
    }

    pub(super) fn user(&self) -> Result<(UserId, Value), EmitError> {
        let user = self
            .0
            .get("user")
            .and_then(Value::as_object)
            .ok_or(EmitError::InvalidArgument("user"))?;
        let id = user
            .get("id")
            .and_then(parse_id)
            .ok_or(EmitError::InvalidArgument("user"))?;
        let known = ["id", "name", "nickname", "email", "isAdmin", "lastLogin"];
        let kept = known
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), user.get(*name)?.clone())));
        Ok((UserId::new(&id), Value::Object(kept.collect())))
    }
}

/// Removes secret fields, and everything below the depth limit.
fn remove_secrets(value: Value, depth: usize) -> Value {
    match value {
        Value::Object(_) | Value::Array(_) if depth == 0 => Value::Null,
        Value::Object(fields) => {
            let kept = fields
                .into_iter()
                .filter(|(name, _)| !SECRET_FIELDS.contains(&&*name.to_ascii_lowercase()));
            Value::Object(
                kept.map(|(name, value)| (name, remove_secrets(value, depth - 1)))
                    .collect(),
            )
        }
        Value::Array(values) => values
            .into_iter()
            .map(|value| remove_secrets(value, depth - 1))
            .collect(),
        plain => plain,
    }
}
