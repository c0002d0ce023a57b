//! The emit API: publishes events on behalf of a server. Each call corresponds to a method that
//! older servers called in their own process. Pure.
//!
//! Calls about a module's presence or telemetry change its known state. Calls about a module's row
//! are hints only: the row is read and its real changes are published. A caller that writes the row
//! and then calls therefore causes no duplicate events.

use serde_json::{Map, Value, json};

use latido_base::ident::UserId;

use crate::dates::{Millis, iso};
use crate::identity::{id_text, id_value};
use crate::news::{self, News};
use crate::page::Page;
use crate::topics;

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
const ACTIVITIES: [&str; 3] = ["send_module_command", "module_added", "module_removed"];
/// The names of fields that are removed at any depth.
const SECRET: [&str; 9] = [
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
const DEPTH: usize = 16;

/// The parsed meaning of a call.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Call {
    /// Sets a module's online flag.
    Turn { module: String, online: bool },
    /// Records that a module was seen, with telemetry if given.
    Tell {
        module: String,
        telemetry: Option<Map<String, Value>>,
    },
    /// Publishes a device's response to a command.
    Answer {
        module: String,
        command: String,
        status: String,
        position: Value,
    },
    /// Reads the row of a module, which may have changed.
    Reread { module: String },
    /// Publishes the current counts again.
    Counts,
    /// Publishes these events unchanged.
    Say(Vec<News>),
}

/// The reason why a call is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadCall {
    #[error("no such method")]
    Unknown,
    #[error("{0} is required, or is not what it should be")]
    Argument(&'static str),
}

/// The arguments of a call: an object with names, or an array in the documented order.
struct Arguments(Map<String, Value>);

impl Arguments {
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
            .map_or(Value::Null, |value| scrubbed(value, DEPTH))
    }

    /// Returns an id. It is also accepted inside a `module` or `user` object, for callers that pass
    /// the whole object.
    fn id(&self, name: &'static str) -> Result<String, BadCall> {
        let nested = || {
            let object = ["module", "user"]
                .iter()
                .find_map(|object| self.0.get(*object))?;
            [name, "module_id", "id"]
                .iter()
                .find_map(|field| object.get(*field))
                .and_then(id_text)
        };
        self.0
            .get(name)
            .and_then(id_text)
            .or_else(nested)
            .ok_or(BadCall::Argument(name))
    }

    fn text(&self, name: &'static str) -> Result<String, BadCall> {
        self.0
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(ToOwned::to_owned)
            .ok_or(BadCall::Argument(name))
    }

    fn text_or(&self, name: &str, default: &str) -> String {
        self.0
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or(default)
            .to_owned()
    }

    fn user(&self) -> Result<(UserId, Value), BadCall> {
        let user = self
            .0
            .get("user")
            .and_then(Value::as_object)
            .ok_or(BadCall::Argument("user"))?;
        let id = user
            .get("id")
            .and_then(id_text)
            .ok_or(BadCall::Argument("user"))?;
        let known = ["id", "name", "nickname", "email", "isAdmin", "lastLogin"];
        let kept = known
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), user.get(*name)?.clone())));
        Ok((UserId::new(&id), Value::Object(kept.collect())))
    }
}

/// Removes secret fields, and everything below the depth limit.
fn scrubbed(value: Value, depth: usize) -> Value {
    match value {
        Value::Object(_) | Value::Array(_) if depth == 0 => Value::Null,
        Value::Object(fields) => {
            let kept = fields
                .into_iter()
                .filter(|(name, _)| !SECRET.contains(&&*name.to_ascii_lowercase()));
            Value::Object(
                kept.map(|(name, value)| (name, scrubbed(value, depth - 1)))
                    .collect(),
            )
        }
        Value::Array(values) => values
            .into_iter()
            .map(|value| scrubbed(value, depth - 1))
            .collect(),
        plain => plain,
    }
}

/// Parses a call and its arguments.
pub(super) fn read(method: &str, body: Value, now: Millis) -> Result<Call, BadCall> {
    let (_, names) = METHODS
        .iter()
        .find(|(name, _)| *name == method)
        .ok_or(BadCall::Unknown)?;
    let arguments = &Arguments::new(names, body);
    match method {
        "emitModuleOnline" | "emitModuleOffline" => Ok(Call::Turn {
            module: arguments.id("moduleId")?,
            online: method == "emitModuleOnline",
        }),
        "emitModuleLastSeenUpdated" => Ok(Call::Tell {
            module: arguments.id("moduleId")?,
            telemetry: None,
        }),
        "emitTelemetryUpdated" => match arguments.value("telemetry") {
            Value::Object(telemetry) => Ok(Call::Tell {
                module: arguments.id("moduleId")?,
                telemetry: Some(telemetry),
            }),
            _ => Err(BadCall::Argument("telemetry")),
        },
        "emitModuleAdded" | "emitModuleRemoved" | "emitModuleUpdated" => Ok(Call::Reread {
            module: arguments.id("moduleId")?,
        }),
        "emitCommandResponse" => Ok(Call::Answer {
            module: arguments.id("moduleId")?,
            command: arguments.text("command")?,
            status: arguments.text_or("status", "success"),
            position: arguments.value("position"),
        }),
        "emitGlobalStats" => Ok(Call::Counts),
        method if method.starts_with("emitUser") && method != "emitUsersListChanged" => {
            of_user(method, arguments, now).map(Call::Say)
        }
        method => of_system(method, arguments, now).map(Call::Say),
    }
}

fn of_user(method: &str, arguments: &Arguments, now: Millis) -> Result<Vec<News>, BadCall> {
    let at = iso(now);
    Ok(match method {
        "emitUserLoggedIn" | "emitUserLoggedOut" => {
            let (_, user) = arguments.user()?;
            let (name, action) = if method == "emitUserLoggedIn" {
                ("rt_user_logged_in", "logged_in")
            } else {
                ("rt_user_logged_out", "logged_out")
            };
            vec![News::new(
                name,
                json!({"action": action, "user": user, "timestamp": at}),
                [topics::admins()],
            )]
        }
        "emitUserSessionNew" => {
            let user = UserId::new(&arguments.id("userId")?);
            let message = arguments.text_or("message", "New session");
            vec![News::new(
                "user:session:new",
                json!({"message": message, "timestamp": at}),
                [topics::user(&user)],
            )]
        }
        "emitUserWelcome" => {
            let (id, user) = arguments.user()?;
            let message = arguments.text_or("message", "Welcome");
            vec![News::new(
                "user:welcome",
                json!({"message": message, "user": user, "timestamp": at}),
                [topics::user(&id)],
            )]
        }
        "emitUserRegistered" => {
            let (_, user) = arguments.user()?;
            let payload = json!({"action": "registered", "user": user, "timestamp": at});
            vec![News::new(
                "admin:user:registered",
                payload,
                [topics::admins()],
            )]
        }
        "emitUserProfileUpdated" => {
            let (id, user) = arguments.user()?;
            let payload = json!({"action": "profile_updated", "user": user, "timestamp": at});
            vec![News::new(
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
                json!({"action": "password_changed", "userId": id_value(&id), "timestamp": at});
            vec![
                News::new(
                    "user:security:password_changed",
                    own,
                    [topics::user(&UserId::new(&id))],
                ),
                News::new("admin:user:password_changed", seen, [topics::admins()]),
            ]
        }
        "emitUserActivity" => {
            let (id, activity) = (arguments.id("userId")?, arguments.text("activity")?);
            let followed = ACTIVITIES.contains(&&*activity);
            let event =
                || news::activity(&id_value(&id), &activity, &arguments.value("details"), now);
            followed.then(event).into_iter().collect()
        }
        _ => return Err(BadCall::Unknown),
    })
}

fn of_system(method: &str, arguments: &Arguments, now: Millis) -> Result<Vec<News>, BadCall> {
    let at = iso(now);
    Ok(match method {
        "emitCommandSent" => {
            let (module, command) = (arguments.id("moduleId")?, arguments.text("command")?);
            news::command_sent(
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
                "adminUserId": id_value(&admin), "action": arguments.text("action")?, "details": arguments.value("details"),
                "timestamp": at,
            });
            let event = News::new("admin:action:performed", payload, [topics::admins()]);
            vec![News {
                except: Some(UserId::new(&admin)),
                ..event
            }]
        }
        "emitUsersListChanged" => {
            let user = arguments.user().map(|(_, user)| user).unwrap_or_default();
            let payload =
                json!({"changeType": arguments.text("changeType")?, "user": user, "timestamp": at});
            vec![News::new(
                "admin:users:list_changed",
                payload,
                [topics::admins_on(Page::Admin)],
            )]
        }
        "emitModulesListChanged" => {
            let payload = json!({"changeType": arguments.text("changeType")?, "module": arguments.value("module"), "timestamp": at});
            vec![News::new(
                "admin:modules:list_changed",
                payload,
                [topics::admins_on(Page::Admin)],
            )]
        }
        "emitSystemMaintenance" => {
            let on = arguments
                .0
                .get("inMaintenance")
                .and_then(Value::as_bool)
                .ok_or(BadCall::Argument("inMaintenance"))?;
            let payload = json!({
                "inMaintenance": on, "reason": arguments.value("reason"), "adminUserId": arguments.value("adminUserId"),
                "timestamp": at,
            });
            vec![News::new(
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
                topics::admins_on(Page::Admin)
            };
            let payload = json!({
                "level": level, "message": arguments.text("message")?, "details": arguments.value("details"), "timestamp": at,
            });
            vec![News::new("system:alert", payload, [to])]
        }
        "emitPerformance" => {
            let performance = Some(arguments.value("performance")).filter(|value| !value.is_null());
            let payload = json!({"performance": performance.ok_or(BadCall::Argument("performance"))?, "timestamp": at});
            vec![News::new(
                "admin:performance:updated",
                payload,
                [topics::admins_on(Page::Admin)],
            )]
        }
        _ => return Err(BadCall::Unknown),
    })
}

#[cfg(test)]
#[path = "emit_tests.rs"]
mod tests;
