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

/// The names of the document beside those of this API.
const OTHER_NAMES: [(&str, &str); 7] = [
    ("moduleData", "module"),
    ("telemetryData", "telemetry"),
    ("userData", "user"),
    ("performanceData", "performance"),
    ("adminId", "adminUserId"),
    ("metadata", "details"),
    ("user_id", "userId"),
];

/// The fields of a user that are passed on, each with its name as a column.
const USER_FIELDS: [(&str, &str); 6] = [
    ("id", "id"),
    ("name", "name"),
    ("nickname", "nickname"),
    ("email", "email"),
    ("isAdmin", "is_admin"),
    ("lastLogin", "last_login"),
];

impl EmitArguments {
    pub(super) fn new(names: &[&str], body: Value) -> Self {
        let mut arguments = match body {
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
        };
        for (other, name) in OTHER_NAMES {
            if !arguments.contains_key(name)
                && let Some(value) = arguments.remove(other)
            {
                arguments.insert(name.to_owned(), value);
            }
        }
        Self(arguments)
    }

    pub(super) fn value(&self, name: &str) -> Value {
        self.0
            .get(name)
            .cloned()
            .map_or(Value::Null, |value| remove_secrets(value, MAX_DEPTH))
    }

    pub(super) fn id(&self, name: &'static str) -> Result<String, EmitError> {
        self.id_of(&[name]).ok_or(EmitError::InvalidArgument(name))
    }

    /// Returns the id of the module: an argument of its own, or a field of the module's object.
    pub(super) fn module_id(&self) -> Result<String, EmitError> {
        let fields = ["moduleId", "module_id", "id"];
        self.id_of(&["moduleId", "module_id"])
            .or_else(|| id_in(self.object(&["module", "data", "moduleId"])?, &fields))
            .or_else(|| self.id_of(&["module", "id"]))
            .ok_or(EmitError::InvalidArgument("moduleId"))
    }

    /// Returns the id of the user: an argument of its own, or a field of the user's object.
    pub(super) fn user_id(&self) -> Result<String, EmitError> {
        self.id_of(&["userId"])
            .or_else(|| id_in(self.user_object()?, &["userId", "id"]))
            .or_else(|| self.id_of(&["user"]))
            .ok_or(EmitError::InvalidArgument("userId"))
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
        let invalid = EmitError::InvalidArgument("user");
        let user = self.user_object().ok_or(invalid.clone())?;
        let id = id_in(user, &["id"]).ok_or(invalid)?;
        let kept = USER_FIELDS.iter().filter_map(|(name, column)| {
            let value = user.get(*name).or_else(|| user.get(*column))?;
            Some(((*name).to_owned(), value.clone()))
        });
        Ok((UserId::new(&id), Value::Object(kept.collect())))
    }

    /// Returns the user's object. It may be the only argument, and then also the whole body. Of two
    /// versions of a user it is the new one.
    fn user_object(&self) -> Option<&Map<String, Value>> {
        self.object(&["newData", "user", "data", "userId"])
            .or_else(|| self.0.contains_key("id").then_some(&self.0))
    }

    /// Returns the first of these arguments that is an object.
    fn object(&self, names: &[&str]) -> Option<&Map<String, Value>> {
        let mut found = names.iter().filter_map(|name| self.0.get(*name));
        found.find_map(Value::as_object)
    }

    fn id_of(&self, names: &[&str]) -> Option<String> {
        id_in(&self.0, names)
    }
}

/// Returns the first of these fields that is an id.
fn id_in(object: &Map<String, Value>, fields: &[&str]) -> Option<String> {
    let mut found = fields.iter().filter_map(|field| object.get(*field));
    found.find_map(parse_id)
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
