//! The app's HTTP routes: the counts for polling pages, the emit API, and the Socket.IO client
//! script.

use serde_json::{Value, json};

use latido_auth::Secret;

use crate::Modules;
use crate::device::frame::Report;
use crate::emit::{self, BadCall, Call};
use crate::identity::Person;
use crate::news;
use crate::people::Shown;

/// The official Socket.IO client script, unchanged, which pages load from their server
/// (`assets/README.md`).
const SCRIPT: &str = include_str!("assets/socket.io.min.js");
/// The largest request body, in bytes.
pub(super) const BODY_BYTES: usize = 64 * 1024;

const SCRIPT_PATH: &str = "/socket.io/socket.io.js";
/// The paths of the counts. On a shared listener the first one belongs to the admin dashboard, so
/// the app has a second one.
const STATS_PATHS: [&str; 2] = ["/dashboard/stats", "/api/modules/stats"];
const EMIT_PATH: &str = "/api/modules/emit/";

/// One of the app's HTTP routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Address<'p> {
    Script,
    Stats,
    Emit(&'p str),
}

impl<'p> Address<'p> {
    /// Parses a path. Returns `None` if it is none of the app's routes.
    pub(super) fn of(path: &'p str) -> Option<Self> {
        match path {
            SCRIPT_PATH => Some(Self::Script),
            path if STATS_PATHS.contains(&path) => Some(Self::Stats),
            path => path
                .strip_prefix(EMIT_PATH)
                .filter(|method| !method.contains('/'))
                .map(Self::Emit),
        }
    }

    /// Returns the HTTP methods that the route accepts.
    pub(super) fn methods(self) -> &'static [&'static str] {
        match self {
            Self::Script | Self::Stats => &["GET", "HEAD"],
            Self::Emit(_) => &["POST"],
        }
    }
}

/// The response of a route.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reply {
    /// The text of the client script.
    Script(&'static str),
    /// A status code and a JSON body.
    Json(u16, Value),
}

impl Reply {
    fn refusal(status: u16, message: &str) -> Self {
        Self::Json(status, json!({"success": false, "error": message}))
    }
}

impl Modules {
    /// Returns the error response if the request is not authorised. Called before the body is read.
    pub(super) fn admit<'h>(
        &self,
        address: Address<'_>,
        header: impl Fn(&str) -> Option<&'h str>,
    ) -> Option<Reply> {
        let Address::Emit(_) = address else {
            return None;
        };
        let key = header("x-api-key").unwrap_or_default();
        let is_valid = self
            .config
            .api_key
            .as_ref()
            .is_some_and(|expected| expected.matches(key.as_bytes()));
        (!is_valid).then(|| Reply::refusal(401, "A valid X-API-Key is required"))
    }

    /// Handles an authorised request for one of the app's routes and methods. `header` returns a
    /// header's value by its lower-case name.
    pub(super) async fn reply<'h>(
        &self,
        address: Address<'_>,
        token: Option<String>,
        header: impl Fn(&str) -> Option<&'h str>,
        body: &[u8],
    ) -> Reply {
        match address {
            Address::Script => Reply::Script(SCRIPT),
            Address::Stats => {
                let credentials = Shown {
                    token: token.map(Secret::new),
                    session: self.people.session(header),
                };
                match self.people.identify(&credentials).await {
                    Ok(Some(user)) => Reply::Json(200, self.summary(&user)),
                    Ok(None) => Reply::refusal(401, "Not authenticated"),
                    Err(unavailable) => Reply::refusal(503, &unavailable.to_string()),
                }
            }
            Address::Emit(method) => self.emit(method, body).await,
        }
    }

    fn summary(&self, user: &Person) -> Value {
        self.office.summary(user)
    }

    async fn emit(&self, method: &str, body: &[u8]) -> Reply {
        let text = if body.is_empty() { b"null" } else { body };
        let Ok(arguments) = serde_json::from_slice(text) else {
            return Reply::refusal(400, "The body must be JSON");
        };
        let now = self.office.now();
        let call = match emit::read(method, arguments, now) {
            Ok(call) => call,
            Err(BadCall::Unknown) => return Reply::refusal(404, "No such method"),
            Err(bad @ BadCall::Argument(_)) => return Reply::refusal(400, &bad.to_string()),
        };
        let is_known_module = match call {
            Call::Turn { module, online } => self.office.turn(&module, online).is_some(),
            Call::Tell { module, telemetry } => self.office.tell(&module, telemetry),
            Call::Answer {
                module,
                command,
                status,
                position,
            } => self.office.answer(
                &module,
                Report::Answer {
                    command,
                    status,
                    position,
                },
            ),
            Call::Reread { module } => match self.read_rows(&[module]).await {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!(%error, "a row of modules could not be read for an emit call");
                    return Reply::refusal(503, "The table of modules can't be read now");
                }
            },
            Call::Counts => {
                let stats = self.office.stats().0;
                self.office.say([news::global_stats(stats)]);
                true
            }
            Call::Say(events) => {
                self.office.say(events);
                true
            }
        };
        if is_known_module {
            Reply::Json(200, json!({"success": true}))
        } else {
            Reply::refusal(404, "No such module")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_paths_are_routes() {
        assert_eq!(
            Address::of("/socket.io/socket.io.js"),
            Some(Address::Script)
        );
        assert_eq!(Address::of("/dashboard/stats"), Some(Address::Stats));
        assert_eq!(Address::of("/api/modules/stats"), Some(Address::Stats));
        assert_eq!(
            Address::of("/api/modules/emit/emitModuleOnline"),
            Some(Address::Emit("emitModuleOnline"))
        );
        for other in [
            "/socket.io/",
            "/dashboard",
            "/dashboard/stats/x",
            "/api/modules/emit/a/b",
            "/api/modules/emit",
        ] {
            assert_eq!(Address::of(other), None, "{other}");
        }
    }

    #[test]
    fn script_contains_its_licence() {
        assert!(SCRIPT.starts_with("/*!\n * Socket.IO v4.8.4\n") && SCRIPT.contains("MIT License"));
    }
}
