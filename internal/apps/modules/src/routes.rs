//! The app's HTTP routes: the counts for polling pages, the emit API, and the Socket.IO client
//! scripts.

use std::sync::Arc;

use serde_json::json;

use latido_app_kit::{ErrorFormat, RouteRequest, Router};
use latido_auth::Secret;
use latido_http::{AppRequest, AppResponse};
use latido_postgres::DatabaseError;

use crate::app::ModulesApp;
use crate::authenticator::PresentedCredentials;
use crate::device::frame::DeviceReport;
use crate::emit_api;
use crate::emit_call::{EmitCall, EmitError};
use crate::events;

/// The largest request body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The paths of the counts. On a shared listener the first one belongs to the admin dashboard, so
/// the app has a second one.
const STATS_PATHS: [&str; 2] = ["/dashboard/stats", "/api/modules/stats"];
const EMIT_PATH: &str = "/api/modules/emit/{method}";

/// The form of the app's error responses.
const ERRORS: ErrorFormat = ErrorFormat {
    body: |_, message| json!({"success": false, "error": message}),
    not_found: "Not found",
    method_not_allowed: "Method not allowed",
};

/// A server with the key of the emit API.
struct EmitClient;

/// Builds the routes.
pub(super) fn router(app: Arc<ModulesApp>) -> Router<ModulesApp> {
    let router = Router::new(app, ERRORS)
        .server_errors(ErrorFormat::default())
        .max_body_bytes(MAX_BODY_BYTES)
        // The names of methods need no decoding.
        .parse_params(|raw| Some(raw.to_owned()))
        .client_files()
        .post(EMIT_PATH, emit_client, emit);
    STATS_PATHS
        .into_iter()
        .fold(router, |router, path| router.get(path, credentials, stats))
}

/// Checks the key of the emit API before the body is read.
fn emit_client(app: &ModulesApp, request: &AppRequest) -> Result<EmitClient, AppResponse> {
    if app.emit_keys.match_header(request) {
        Ok(EmitClient)
    } else {
        Err(ERRORS.unauthorized("A valid X-API-Key is required"))
    }
}

/// Reads the credentials of a page. The handler verifies them, which may need the database.
fn credentials(
    app: &ModulesApp,
    request: &AppRequest,
) -> Result<PresentedCredentials, AppResponse> {
    Ok(PresentedCredentials {
        token: request.token().map(Secret::new),
        session: app
            .authenticator
            .cookie_session(|name| request.header(name)),
        address: request.client.map(|client| client.ip()),
    })
}

async fn stats(app: Arc<ModulesApp>, request: RouteRequest<PresentedCredentials>) -> AppResponse {
    match app.authenticator.authenticate(&request.client).await {
        Ok(Some(user)) => AppResponse::json(200, app.service.summary_for(&user).to_string()),
        Ok(None) => ERRORS.unauthorized("Not authenticated"),
        Err(unavailable) => ERRORS.unavailable(&unavailable.to_string()),
    }
}

async fn emit(app: Arc<ModulesApp>, request: RouteRequest<EmitClient>) -> AppResponse {
    let body = &*request.request.body;
    let text = if body.is_empty() { b"null" } else { body };
    let Ok(arguments) = serde_json::from_slice(text) else {
        return ERRORS.bad_request("The body must be JSON");
    };
    let method = request.params.get("method");
    let call = match emit_api::parse(method, arguments, app.service.now()) {
        Ok(call) => call,
        Err(EmitError::UnknownMethod) => return ERRORS.not_found("No such method"),
        Err(error @ EmitError::InvalidArgument(_)) => {
            return ERRORS.bad_request(&error.to_string());
        }
    };
    match app.execute(call).await {
        Ok(true) => AppResponse::json(200, json!({"success": true}).to_string()),
        Ok(false) => ERRORS.not_found("No such module"),
        Err(error) => {
            tracing::warn!(%error, "a row of modules could not be read for an emit call");
            ERRORS.unavailable("The table of modules can't be read now")
        }
    }
}

impl ModulesApp {
    /// Executes a call of the emit API. Returns `false` if the module does not exist.
    ///
    /// # Errors
    /// Returns an error if the module's row can't be read now.
    async fn execute(&self, call: EmitCall) -> Result<bool, DatabaseError> {
        Ok(match call {
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
            EmitCall::RefreshRow { module } => {
                self.sync_rows(&[module]).await?;
                true
            }
            EmitCall::PublishStats => {
                let stats = self.service.stats().0;
                self.service.publish([events::global_stats_event(stats)]);
                true
            }
            EmitCall::Publish(events) => {
                self.service.publish(events);
                true
            }
        })
    }
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
