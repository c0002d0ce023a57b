//! The emit API: publishes events on behalf of a server. Each call corresponds to a method that
//! older servers called in their own process. Pure.
//!
//! Calls about a module's presence or telemetry change its known state. Calls about a module's row
//! are hints only: the row is read and its real changes are published. A caller that writes the row
//! and then calls therefore causes no duplicate events.

use serde_json::{Map, Value, json};

use latido_base::ident::UserId;

use crate::events::{self, OutgoingEvent};
use crate::page::WebPage;
use crate::time_format::{Millis, to_iso_string};
use crate::topics;
use crate::user::{id_to_json, parse_id};

/// Every method, with its arguments in order.
pub(super) const METHODS: [(&str, &[&str]); 24] = [
    ("emitModuleOnline", &["moduleId"]),
    ("emitModuleOffline", &["moduleId"]),
    ("emitModuleLastSeenUpdated", &["moduleId"]),
    ("emitModuleAdded", &["moduleId"]),
    ("emitModuleRemoved", &["moduleId"]),
    ("emitModuleUpdated", &["moduleId"]),
    ("emitTelemetryUpdated", &["moduleId", "telemetry"]),
    ("emitCommandSent", &["moduleId", "command", "userId"]),
    (
        "emitCommandResponse",
        &["moduleId", "command", "status", "position"],
    ),
    ("emitUserLoggedIn", &["user"]),
    ("emitUserLoggedOut", &["user"]),
    ("emitUserSessionNew", &["userId", "message"]),
    ("emitUserWelcome", &["user", "message"]),
    ("emitUserRegistered", &["user"]),
    ("emitUserProfileUpdated", &["user"]),
    ("emitUserPasswordChanged", &["userId", "message"]),
    ("emitUserActivity", &["userId", "activity", "details"]),
    ("emitGlobalStats", &[]),
    ("emitAdminAction", &["adminUserId", "action", "details"]),
    ("emitUsersListChanged", &["changeType", "user"]),
    ("emitModulesListChanged", &["changeType", "module"]),
    (
        "emitSystemMaintenance",
        &["inMaintenance", "reason", "adminUserId"],
    ),
    ("emitSystemAlert", &["level", "message", "details"]),
    ("emitPerformance", &["performance"]),
];

/// The user activities that administrators follow.
const FOLLOWED_ACTIVITIES: [&str; 3] = ["send_module_command", "module_added", "module_removed"];
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
struct EmitArguments(Map<String, Value>);

impl EmitArguments {
    fn new(names: &[&str], body: Value) -> Self {
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

    fn value(&self, name: &str) -> Value {
        self.0
            .get(name)
            .cloned()
            .map_or(Value::Null, |value| remove_secrets(value, MAX_DEPTH))
    }

    /// Returns an id. It is also accepted inside a `module` or `user` object, for callers that pass
    /// the whole object.
    fn id(&self, name: &'static str) -> Result<String, EmitError> {
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

    fn text(&self, name: &'static str) -> Result<String, EmitError> {
        self.0
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(ToOwned::to_owned)
            .ok_or(EmitError::InvalidArgument(name))
    }

    fn text_or(&self, name: &str, default: &str) -> String {
        self.0
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or(default)
            .to_owned()
    }

    fn user(&self) -> Result<(UserId, Value), EmitError> {
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

/// Parses a call and its arguments.
pub(super) fn parse(method: &str, body: Value, now: Millis) -> Result<EmitCall, EmitError> {
    let (_, names) = METHODS
        .iter()
        .find(|(name, _)| *name == method)
        .ok_or(EmitError::UnknownMethod)?;
    let arguments = &EmitArguments::new(names, body);
    match method {
        "emitModuleOnline" | "emitModuleOffline" => Ok(EmitCall::SetOnline {
            module: arguments.id("moduleId")?,
            online: method == "emitModuleOnline",
        }),
        "emitModuleLastSeenUpdated" => Ok(EmitCall::RecordSeen {
            module: arguments.id("moduleId")?,
            telemetry: None,
        }),
        "emitTelemetryUpdated" => match arguments.value("telemetry") {
            Value::Object(telemetry) => Ok(EmitCall::RecordSeen {
                module: arguments.id("moduleId")?,
                telemetry: Some(telemetry),
            }),
            _ => Err(EmitError::InvalidArgument("telemetry")),
        },
        "emitModuleAdded" | "emitModuleRemoved" | "emitModuleUpdated" => Ok(EmitCall::RefreshRow {
            module: arguments.id("moduleId")?,
        }),
        "emitCommandResponse" => Ok(EmitCall::CommandResponse {
            module: arguments.id("moduleId")?,
            command: arguments.text("command")?,
            status: arguments.text_or("status", "success"),
            position: arguments.value("position"),
        }),
        "emitGlobalStats" => Ok(EmitCall::PublishStats),
        method if method.starts_with("emitUser") && method != "emitUsersListChanged" => {
            user_events(method, arguments, now).map(EmitCall::Publish)
        }
        method => system_events(method, arguments, now).map(EmitCall::Publish),
    }
}

fn user_events(
    method: &str,
    arguments: &EmitArguments,
    now: Millis,
) -> Result<Vec<OutgoingEvent>, EmitError> {
    let at = to_iso_string(now);
    Ok(match method {
        "emitUserLoggedIn" | "emitUserLoggedOut" => {
            let (_, user) = arguments.user()?;
            let (name, action) = if method == "emitUserLoggedIn" {
                ("rt_user_logged_in", "logged_in")
            } else {
                ("rt_user_logged_out", "logged_out")
            };
            vec![OutgoingEvent::new(
                name,
                json!({"action": action, "user": user, "timestamp": at}),
                [topics::admins()],
            )]
        }
        "emitUserSessionNew" => {
            let user = UserId::new(&arguments.id("userId")?);
            let message = arguments.text_or("message", "New session");
            vec![OutgoingEvent::new(
                "user:session:new",
                json!({"message": message, "timestamp": at}),
                [topics::user(&user)],
            )]
        }
        "emitUserWelcome" => {
            let (id, user) = arguments.user()?;
            let message = arguments.text_or("message", "Welcome");
            vec![OutgoingEvent::new(
                "user:welcome",
                json!({"message": message, "user": user, "timestamp": at}),
                [topics::user(&id)],
            )]
        }
        "emitUserRegistered" => {
            let (_, user) = arguments.user()?;
            let payload = json!({"action": "registered", "user": user, "timestamp": at});
            vec![OutgoingEvent::new(
                "admin:user:registered",
                payload,
                [topics::admins()],
            )]
        }
        "emitUserProfileUpdated" => {
            let (id, user) = arguments.user()?;
            let payload = json!({"action": "profile_updated", "user": user, "timestamp": at});
            vec![OutgoingEvent::new(
                "rt_user_profile_updated",
                payload,
                [topics::user(&id), topics::admins()],
            )]
        }
        "emitUserPasswordChanged" => {
            let id = arguments.id("userId")?;
            let message = arguments.text_or("message", "Password changed");
            let own = json!({"message": message, "timestamp": at});
            let seen =
                json!({"action": "password_changed", "userId": id_to_json(&id), "timestamp": at});
            vec![
                OutgoingEvent::new(
                    "user:security:password_changed",
                    own,
                    [topics::user(&UserId::new(&id))],
                ),
                OutgoingEvent::new("admin:user:password_changed", seen, [topics::admins()]),
            ]
        }
        "emitUserActivity" => {
            let (id, activity) = (arguments.id("userId")?, arguments.text("activity")?);
            let followed = FOLLOWED_ACTIVITIES.contains(&&*activity);
            let event = || {
                events::activity_event(
                    &id_to_json(&id),
                    &activity,
                    &arguments.value("details"),
                    now,
                )
            };
            followed.then(event).into_iter().collect()
        }
        _ => return Err(EmitError::UnknownMethod),
    })
}

fn system_events(
    method: &str,
    arguments: &EmitArguments,
    now: Millis,
) -> Result<Vec<OutgoingEvent>, EmitError> {
    let at = to_iso_string(now);
    Ok(match method {
        "emitCommandSent" => {
            let (module, command) = (arguments.id("moduleId")?, arguments.text("command")?);
            events::command_sent_events(
                &module,
                &command,
                &UserId::new(&arguments.id("userId")?),
                now,
            )
            .into()
        }
        "emitAdminAction" => {
            let admin = arguments.id("adminUserId")?;
            let payload = json!({
                "adminUserId": id_to_json(&admin), "action": arguments.text("action")?, "details": arguments.value("details"),
                "timestamp": at,
            });
            let event = OutgoingEvent::new("admin:action:performed", payload, [topics::admins()]);
            vec![OutgoingEvent {
                except_user: Some(UserId::new(&admin)),
                ..event
            }]
        }
        "emitUsersListChanged" => {
            let user = arguments.user().map(|(_, user)| user).unwrap_or_default();
            let payload =
                json!({"changeType": arguments.text("changeType")?, "user": user, "timestamp": at});
            vec![OutgoingEvent::new(
                "admin:users:list_changed",
                payload,
                [topics::admins_on(WebPage::Admin)],
            )]
        }
        "emitModulesListChanged" => {
            let payload = json!({"changeType": arguments.text("changeType")?, "module": arguments.value("module"), "timestamp": at});
            vec![OutgoingEvent::new(
                "admin:modules:list_changed",
                payload,
                [topics::admins_on(WebPage::Admin)],
            )]
        }
        "emitSystemMaintenance" => {
            let on = arguments
                .0
                .get("inMaintenance")
                .and_then(Value::as_bool)
                .ok_or(EmitError::InvalidArgument("inMaintenance"))?;
            let payload = json!({
                "inMaintenance": on, "reason": arguments.value("reason"), "adminUserId": arguments.value("adminUserId"),
                "timestamp": at,
            });
            vec![OutgoingEvent::new(
                "system:maintenance",
                payload,
                [topics::everyone()],
            )]
        }
        "emitSystemAlert" => {
            let level = arguments.text("level")?;
            let to = if matches!(&*level, "critical" | "error") {
                topics::admins()
            } else {
                topics::admins_on(WebPage::Admin)
            };
            let payload = json!({
                "level": level, "message": arguments.text("message")?, "details": arguments.value("details"), "timestamp": at,
            });
            vec![OutgoingEvent::new("system:alert", payload, [to])]
        }
        "emitPerformance" => {
            let performance = Some(arguments.value("performance")).filter(|value| !value.is_null());
            let payload = json!({"performance": performance.ok_or(EmitError::InvalidArgument("performance"))?, "timestamp": at});
            vec![OutgoingEvent::new(
                "admin:performance:updated",
                payload,
                [topics::admins_on(WebPage::Admin)],
            )]
        }
        _ => return Err(EmitError::UnknownMethod),
    })
}

#[cfg(test)]
#[path = "emit_api_tests.rs"]
mod tests;
