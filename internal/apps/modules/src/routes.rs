//! The app's HTTP routes: the counts for polling pages, the emit API, and the Socket.IO client
//! script.

use serde_json::{Value, json};

use latido_auth::Secret;

use crate::ModulesApp;
use crate::authenticator::PresentedCredentials;
use crate::device::frame::DeviceReport;
use crate::emit_api::{self, EmitCall, EmitError};
use crate::events;
use crate::user::WebUser;

/// The official Socket.IO client script, unchanged, which pages load from their server
/// (`assets/README.md`).
const CLIENT_SCRIPT: &str = include_str!("assets/socket.io.min.js");
/// The largest request body, in bytes.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;

const SCRIPT_PATH: &str = "/socket.io/socket.io.js";
/// The paths of the counts. On a shared listener the first one belongs to the admin dashboard, so
/// the app has a second one.
const STATS_PATHS: [&str; 2] = ["/dashboard/stats", "/api/modules/stats"];
const EMIT_PATH_PREFIX: &str = "/api/modules/emit/";

/// One of the app's HTTP routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ModulesRoute<'p> {
    Script,
    Stats,
    Emit(&'p str),
}

impl<'p> ModulesRoute<'p> {
    /// Parses a path. Returns `None` if it is none of the app's routes.
    pub(super) fn parse(path: &'p str) -> Option<Self> {
        match path {
            SCRIPT_PATH => Some(Self::Script),
            path if STATS_PATHS.contains(&path) => Some(Self::Stats),
            path => path
                .strip_prefix(EMIT_PATH_PREFIX)
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
pub(super) enum RouteResponse {
    /// The text of the client script.
    Script(&'static str),
    /// A status code and a JSON body.
    Json(u16, Value),
}

impl RouteResponse {
    fn error(status: u16, message: &str) -> Self {
        Self::Json(status, json!({"success": false, "error": message}))
    }
}

impl ModulesApp {
    /// Returns the error response if the request is not authorised. Called before the body is read.
    pub(super) fn authorize<'h>(
        &self,
        address: ModulesRoute<'_>,
        header: impl Fn(&str) -> Option<&'h str>,
    ) -> Option<RouteResponse> {
        let ModulesRoute::Emit(_) = address else {
            return None;
        };
        let key = header("x-api-key").unwrap_or_default();
        let is_valid = self
            .config
            .api_key
            .as_ref()
            .is_some_and(|expected| expected.matches(key.as_bytes()));
        (!is_valid).then(|| RouteResponse::error(401, "A valid X-API-Key is required"))
    }

    /// Handles an authorised request for one of the app's routes and methods. `header` returns a
    /// header's value by its lower-case name.
    pub(super) async fn handle_request<'h>(
        &self,
        address: ModulesRoute<'_>,
        token: Option<String>,
        header: impl Fn(&str) -> Option<&'h str>,
        body: &[u8],
    ) -> RouteResponse {
        match address {
            ModulesRoute::Script => RouteResponse::Script(CLIENT_SCRIPT),
            ModulesRoute::Stats => {
                let credentials = PresentedCredentials {
                    token: token.map(Secret::new),
                    session: self.authenticator.cookie_session(header),
                };
                match self.authenticator.authenticate(&credentials).await {
                    Ok(Some(user)) => RouteResponse::Json(200, self.summary(&user)),
                    Ok(None) => RouteResponse::error(401, "Not authenticated"),
                    Err(unavailable) => RouteResponse::error(503, &unavailable.to_string()),
                }
            }
            ModulesRoute::Emit(method) => self.handle_emit(method, body).await,
        }
    }

    fn summary(&self, user: &WebUser) -> Value {
        self.service.summary_for(user)
    }

    async fn handle_emit(&self, method: &str, body: &[u8]) -> RouteResponse {
        let text = if body.is_empty() { b"null" } else { body };
        let Ok(arguments) = serde_json::from_slice(text) else {
            return RouteResponse::error(400, "The body must be JSON");
        };
        let now = self.service.now();
        let call = match emit_api::parse(method, arguments, now) {
            Ok(call) => call,
            Err(EmitError::UnknownMethod) => return RouteResponse::error(404, "No such method"),
            Err(bad @ EmitError::InvalidArgument(_)) => {
                return RouteResponse::error(400, &bad.to_string());
            }
        };
        let is_known_module = match call {
            EmitCall::SetOnline { module, online } => self.service.set_online(&module, online),
            EmitCall::RecordSeen { module, telemetry } => {
                self.service.record_seen(&module, telemetry)
            }
            EmitCall::CommandResponse {
                module,
                command,
                status,
                position,
            } => self.service.on_command_response(
                &module,
                DeviceReport::CommandResponse {
                    command,
                    status,
                    position,
                },
            ),
            EmitCall::RefreshRow { module } => match self.sync_rows(&[module]).await {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!(%error, "a row of modules could not be read for an emit call");
                    return RouteResponse::error(503, "The table of modules can't be read now");
                }
            },
            EmitCall::PublishStats => {
                let stats = self.service.stats().0;
                self.service.publish([events::global_stats_event(stats)]);
                true
            }
            EmitCall::Publish(events) => {
                self.service.publish(events);
                true
            }
        };
        if is_known_module {
            RouteResponse::Json(200, json!({"success": true}))
        } else {
            RouteResponse::error(404, "No such module")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_paths_are_routes() {
        assert_eq!(
            ModulesRoute::parse("/socket.io/socket.io.js"),
            Some(ModulesRoute::Script)
        );
        assert_eq!(
            ModulesRoute::parse("/dashboard/stats"),
            Some(ModulesRoute::Stats)
        );
        assert_eq!(
            ModulesRoute::parse("/api/modules/stats"),
            Some(ModulesRoute::Stats)
        );
        assert_eq!(
            ModulesRoute::parse("/api/modules/emit/emitModuleOnline"),
            Some(ModulesRoute::Emit("emitModuleOnline"))
        );
        for other in [
            "/socket.io/",
            "/dashboard",
            "/dashboard/stats/x",
            "/api/modules/emit/a/b",
            "/api/modules/emit",
        ] {
            assert_eq!(ModulesRoute::parse(other), None, "{other}");
        }
    }

    #[test]
    fn script_contains_its_licence() {
        assert!(
            CLIENT_SCRIPT.starts_with("/*!\n * Socket.IO v4.8.4\n")
                && CLIENT_SCRIPT.contains("MIT License")
        );
    }
}
