//! The app's HTTP addresses: the counts for pages that poll, the emit API, and the script of Socket.IO's client.

use serde_json::{Value, json};

use crate::auth::Secret;

use crate::apps::modules::Modules;
use crate::apps::modules::device::frame::Report;
use crate::apps::modules::emit::{self, BadCall, Call};
use crate::apps::modules::identity::Person;
use crate::apps::modules::news;
use crate::apps::modules::people::Shown;

/// The script that pages of Socket.IO load from their server: the official client's, unchanged (`assets/README.md`).
const SCRIPT: &str = include_str!("assets/socket.io.min.js");
/// Longest body of a call, in bytes.
pub(super) const BODY_BYTES: usize = 64 * 1024;

const SCRIPT_PATH: &str = "/socket.io/socket.io.js";
/// Where pages ask; on a shared listener that is the operators' address, so there is one of our own beside it.
const STATS_PATHS: [&str; 2] = ["/dashboard/stats", "/api/modules/stats"];
const EMIT_PATH: &str = "/api/modules/emit/";

/// One of the app's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Address<'p> {
    Script,
    Stats,
    Emit(&'p str),
}

impl<'p> Address<'p> {
    /// What a path means.
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

    /// The methods that it answers.
    pub(super) fn methods(self) -> &'static [&'static str] {
        match self {
            Self::Script | Self::Stats => &["GET", "HEAD"],
            Self::Emit(_) => &["POST"],
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reply {
    /// The script.
    Script(&'static str),
    /// A status and JSON.
    Json(u16, Value),
}

impl Reply {
    fn refusal(status: u16, message: &str) -> Self {
        Self::Json(status, json!({"success": false, "error": message}))
    }
}

impl Modules {
    /// What is answered to whoever may not ask, before the body is read.
    pub(super) fn admit<'h>(
        &self,
        address: Address<'_>,
        header: impl Fn(&str) -> Option<&'h str>,
    ) -> Option<Reply> {
        let Address::Emit(_) = address else {
            return None;
        };
        let key = header("x-api-key").unwrap_or_default();
        let good = self
            .config
            .api_key
            .as_ref()
            .is_some_and(|expected| expected.matches(key.as_bytes()));
        (!good).then(|| Reply::refusal(401, "A valid X-API-Key is required"))
    }

    /// Answers a request, once it was admitted, of one of the app's addresses and methods. `header` gives a header's value by its name in lower case.
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
                let shown = Shown {
                    token: token.map(Secret::new),
                    session: self.people.session(header),
                };
                match self.people.identify(&shown).await {
                    Ok(Some(person)) => Reply::Json(200, self.summary(&person)),
                    Ok(None) => Reply::refusal(401, "Not authenticated"),
                    Err(unknowable) => Reply::refusal(503, &unknowable.to_string()),
                }
            }
            Address::Emit(method) => self.emit(method, body).await,
        }
    }

    fn summary(&self, person: &Person) -> Value {
        self.office.summary(person)
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
        let known = match call {
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
                    tracing::warn!(%error, "a row of modules could not be read for a caller");
                    return Reply::refusal(503, "The table of modules can't be read now");
                }
            },
            Call::Counts => {
                let stats = self.office.stats().0;
                self.office.say([news::global_stats(stats)]);
                true
            }
            Call::Say(news) => {
                self.office.say(news);
                true
            }
        };
        if known {
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
    fn addresses_are_few() {
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
    fn the_script_names_its_licence() {
        assert!(SCRIPT.starts_with("/*!\n * Socket.IO v4.8.4\n") && SCRIPT.contains("MIT License"));
    }
}
