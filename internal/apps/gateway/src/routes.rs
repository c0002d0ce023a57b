//! The HTTP routes of the dashboard and of publishers: `/dashboard…` for version 1,
//! `/api/dashboard…` for version 2.

use std::future::ready;
use std::sync::Arc;

use serde_json::{Value, json};
use tracing::debug;

use latido_app_kit::{ErrorFormat, RouteRequest, Router, public};
use latido_base::time_format::iso_millis;
use latido_http::{AppRequest, AppResponse};

use crate::authenticator::IdentityClaim;
use crate::rooms::HISTORY_LENGTH;
use crate::shared::GatewayShared;
use crate::user::{ALL_V2_ROOM, Role, id_text};
use crate::wire::{dashboard_metrics_event, is_event_name};
use crate::{dashboard_views, maintenance};

const MAX_BODY_BYTES: usize = 256 * 1024;
const PAGE_HTML: &str = include_str!("assets/dashboard.html");
/// The rules of the page for the browser: it loads nothing from elsewhere.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The form of the app's error responses.
const ERRORS: ErrorFormat = ErrorFormat {
    body: |_, message| json!({"success": false, "message": message}),
    not_found: "nothing is here",
    method_not_allowed: "this address has another method",
};

/// The version of a request, which the folder of its path determines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PathVersion {
    V1,
    V2,
}

/// The folders of the two versions.
const FOLDERS: [(&str, PathVersion); 2] = [
    ("/dashboard", PathVersion::V1),
    ("/api/dashboard", PathVersion::V2),
];

/// The parts of the dashboard that clients read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    Overview,
    Clients,
    Rooms,
    Events,
    Stats,
    Metrics,
    ApiStatus,
}

/// The views, by the last segment of their path.
const VIEWS: [(&str, View); 8] = [
    ("", View::Overview),
    ("clients", View::Clients),
    ("rooms", View::Rooms),
    ("events", View::Events),
    ("stats", View::Stats),
    ("metrics", View::Metrics),
    ("api-status", View::ApiStatus),
    ("status", View::ApiStatus),
];

/// The commands of publishers that publish something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PublishCommand {
    EmitEvent,
    NotifyRole,
    NotifyUser,
    UpdateDashboard,
}

/// The publish commands, by the last segment of their path.
const PUBLISH_COMMANDS: [(&str, PublishCommand); 4] = [
    ("emit-event", PublishCommand::EmitEvent),
    ("notify-role", PublishCommand::NotifyRole),
    ("notify-user", PublishCommand::NotifyUser),
    ("update-dashboard", PublishCommand::UpdateDashboard),
];

/// The reason why a request of a publisher publishes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum PublishError {
    /// A field of the body is missing or invalid; the text names it.
    #[error("{0}")]
    Invalid(&'static str),
    #[error("the server is too busy; publish again later")]
    TooBusy,
}

/// A client that may publish.
struct Publisher;

/// A client that wants to read. Without a publisher's rights it needs an administrator's token,
/// whose check may take a request to the API.
struct Reader {
    is_trusted: bool,
}

/// Builds the routes of both versions.
pub(super) fn router(gateway: Arc<GatewayShared>) -> Router<GatewayShared> {
    let mut router = Router::new(gateway, ERRORS)
        .max_body_bytes(MAX_BODY_BYTES)
        .guard_unmatched(guard_unmatched)
        .client_files()
        .get("/dashboard.html", public, |_, _| ready(dashboard_page()))
        .get("/api/health", public, |gateway, _| {
            ready(health_response(&gateway))
        });
    for (folder, version) in FOLDERS {
        router = router.folder(folder);
        for (name, view) in VIEWS {
            let handler = move |gateway, request| show(gateway, request, version, view);
            router = router.get(&format!("{folder}/{name}/"), reader, handler);
        }
        for (name, command) in PUBLISH_COMMANDS {
            let handler = move |gateway: Arc<GatewayShared>, request: RouteRequest<Publisher>| {
                ready(handle_publish(&gateway, &request, version, command))
            };
            router = router.post(&format!("{folder}/{name}/"), publisher, handler);
        }
        let handler =
            move |gateway: Arc<GatewayShared>, _| ready(handle_cleanup(&gateway, version));
        router = router.post(&format!("{folder}/cleanup/"), publisher, handler);
    }
    router
}

fn publisher(gateway: &GatewayShared, request: &AppRequest) -> Result<Publisher, AppResponse> {
    if gateway.is_trusted(request) {
        Ok(Publisher)
    } else {
        Err(unauthorized())
    }
}

fn reader(gateway: &GatewayShared, request: &AppRequest) -> Result<Reader, AppResponse> {
    let is_trusted = gateway.is_trusted(request);
    Ok(Reader { is_trusted })
}

/// Rejects the requests of unknown publishers also where there is no route for them.
fn guard_unmatched(gateway: &GatewayShared, request: &AppRequest) -> Result<(), AppResponse> {
    if request.method() == "POST" {
        publisher(gateway, request)?;
    }
    Ok(())
}

async fn show(
    gateway: Arc<GatewayShared>,
    request: RouteRequest<Reader>,
    version: PathVersion,
    view: View,
) -> AppResponse {
    if !request.client.is_trusted && !gateway.is_admin(&request.request).await {
        return unauthorized();
    }
    let service = &gateway.rooms;
    let list = |name: &str, list: Vec<Value>| match version {
        PathVersion::V1 => Value::from(list),
        PathVersion::V2 => json!({name: list}),
    };
    let body = match (view, version) {
        (View::Overview, _) => dashboard_views::overview_json(service),
        (View::Clients, _) => list("clients", dashboard_views::clients_json(service)),
        (View::Rooms, _) => list("rooms", dashboard_views::rooms_json(service)),
        (View::Events, PathVersion::V1) => dashboard_views::recent_events_v1_json(service),
        (View::Events, PathVersion::V2) => {
            json!({"events": dashboard_views::recent_events(service, HISTORY_LENGTH)})
        }
        (View::Stats, _) => dashboard_views::stats_json(service),
        (View::Metrics, _) => dashboard_views::metrics_json(service),
        (View::ApiStatus, _) => {
            let state = gateway.authenticator.api_state().await;
            dashboard_views::api_status_json(state, service.clock.now())
        }
    };
    AppResponse::json(200, body.to_string())
}

fn handle_cleanup(gateway: &GatewayShared, version: PathVersion) -> AppResponse {
    let disconnected = maintenance::disconnect_inactive(gateway);
    debug!(
        app = "gateway",
        disconnected, "inactive clients were disconnected on request"
    );
    match version {
        PathVersion::V1 => AppResponse {
            status: 201,
            headers: Vec::new(),
            body: bytes::Bytes::new(),
        },
        PathVersion::V2 => success_response(version, "Limpieza realizada"),
    }
}

fn handle_publish(
    gateway: &GatewayShared,
    request: &RouteRequest<Publisher>,
    version: PathVersion,
    command: PublishCommand,
) -> AppResponse {
    let body = serde_json::from_slice::<Value>(&request.request.body).ok();
    let Some(body) = body.filter(Value::is_object) else {
        return ERRORS.bad_request("expected a JSON object");
    };
    match gateway.publish(command, &body) {
        Ok(message) => success_response(version, message),
        Err(error @ PublishError::Invalid(_)) => ERRORS.bad_request(&error.to_string()),
        Err(error @ PublishError::TooBusy) => ERRORS.retry_later(&error.to_string()),
    }
}

impl GatewayShared {
    /// Returns `true` if the request has the token of an administrator.
    async fn is_admin(&self, request: &AppRequest) -> bool {
        let token = request
            .header("authorization")
            .and_then(|value| value.strip_prefix("Token "));
        let Some(token) = token.filter(|_| !self.config.trusts_clients) else {
            return false;
        };
        let claim = IdentityClaim {
            id: None,
            role: Some(Role::Admin),
        };
        self.authenticator
            .authenticate(token.trim(), &claim)
            .await
            .is_ok_and(|user| user.role == Role::Admin)
    }

    /// Publishes a request and returns the message of the response.
    fn publish(&self, command: PublishCommand, body: &Value) -> Result<&'static str, PublishError> {
        let (is_published, message) = match command {
            PublishCommand::EmitEvent => (self.emit_event(body)?, "Evento emitido"),
            PublishCommand::NotifyRole => (self.notify_role(body)?, "Notificación enviada"),
            PublishCommand::NotifyUser => (self.notify_user(body)?, "Notificación enviada"),
            PublishCommand::UpdateDashboard => {
                let event = dashboard_metrics_event(body);
                (
                    self.rooms.broadcast([ALL_V2_ROOM], &event, None),
                    "Dashboard actualizado",
                )
            }
        };
        if is_published {
            Ok(message)
        } else {
            Err(PublishError::TooBusy)
        }
    }

    fn emit_event(&self, body: &Value) -> Result<bool, PublishError> {
        let kind = event_name(body, "type", "expected type: an event's name")?;
        let data = member(body, "data");
        Ok(if kind == "system_notification" {
            self.rooms.notify_all(&data)
        } else {
            self.rooms.publish_event(kind, &data, None)
        })
    }

    fn notify_role(&self, body: &Value) -> Result<bool, PublishError> {
        let role = body.get("role").and_then(Value::as_str);
        let expected = PublishError::Invalid("expected role: cliente, proveedor or admin");
        let role = role.and_then(Role::parse).ok_or(expected)?;
        let event = event_name(body, "event", "expected event: an event's name")?;
        Ok(self
            .rooms
            .notify_role(role, event, &member(body, "payload")))
    }

    fn notify_user(&self, body: &Value) -> Result<bool, PublishError> {
        let id = body.get("userId").or_else(|| body.get("user_id"));
        let id = id
            .and_then(id_text)
            .ok_or(PublishError::Invalid("expected userId"))?;
        let event = event_name(body, "event", "expected event: an event's name")?;
        Ok(self.rooms.notify_user(&id, event, &member(body, "payload")))
    }
}

fn event_name<'b>(
    body: &'b Value,
    field: &str,
    expected: &'static str,
) -> Result<&'b str, PublishError> {
    body.get(field)
        .and_then(Value::as_str)
        .filter(|name| is_event_name(name))
        .ok_or(PublishError::Invalid(expected))
}

fn member(body: &Value, name: &str) -> Value {
    body.get(name).cloned().unwrap_or_default()
}

fn dashboard_page() -> AppResponse {
    AppResponse {
        status: 200,
        headers: Vec::new(),
        body: PAGE_HTML.into(),
    }
    .with_header("content-type", "text/html; charset=utf-8")
    .with_header("content-security-policy", PAGE_POLICY)
    .with_header("cache-control", "no-cache")
}

fn health_response(gateway: &GatewayShared) -> AppResponse {
    let now = iso_millis(gateway.rooms.clock.now());
    let uptime = gateway.rooms.started.elapsed().as_secs();
    let body = json!({"status": "ok", "timestamp": now, "uptime": uptime});
    AppResponse::json(200, body.to_string())
}

fn success_response(version: PathVersion, message: &str) -> AppResponse {
    let status = match version {
        PathVersion::V1 => 200,
        PathVersion::V2 => 202,
    };
    let body = json!({"success": true, "message": message});
    AppResponse::json(status, body.to_string())
}

fn unauthorized() -> AppResponse {
    ERRORS
        .unauthorized("expected X-API-Key, or a token of an administrator to read")
        .with_header("www-authenticate", "Bearer")
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
