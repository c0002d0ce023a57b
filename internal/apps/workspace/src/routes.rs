//! The HTTP routes of publishers.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use serde_json::value::RawValue;

use latido_app_kit::{ErrorFormat, RouteRequest, Router, decode_segment, public};
use latido_event_bus::{Publish, TopicName};
use latido_http::{AppRequest, AppResponse};

use crate::shared::{WorkspaceShared, user_topic, workspace_topic};
use crate::wire::{self, PublishBodyError, is_id};

/// The maximum size of a request body, in bytes. Records arrive with all their populated fields.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The form of the app's error responses.
const ERRORS: ErrorFormat = ErrorFormat {
    body: |_, message| json!({"error": message}),
    not_found: "Not found",
    method_not_allowed: "Method not allowed",
};

/// A client that has presented a publisher's key.
struct Publisher;

/// Builds the routes. On a listener of its own the app answers all other paths below `/api` with
/// 404, and all that the server does not have.
pub(super) fn router(shared: Arc<WorkspaceShared>, is_dedicated: bool) -> Router<WorkspaceShared> {
    let started = Instant::now();
    let router = Router::new(shared, ERRORS)
        .max_body_bytes(MAX_BODY_BYTES)
        .parse_params(|raw| decode_segment(raw).filter(|id| is_id(id)))
        .on_server_error(|shared| shared.metrics.count_refusal("body"))
        .get("/api/health", public, move |shared, _| {
            ready(shared.health(started))
        })
        .get("/api/workspaces/{workspace}/users", authenticate, users)
        .post("/api/workspaces/{workspace}/notify", authenticate, notify)
        .post(
            "/api/workspaces/{workspace}/broadcast",
            authenticate,
            broadcast,
        )
        .post("/api/users/{user}/message", authenticate, message)
        .folder("/api/workspaces")
        .folder("/api/users");
    if is_dedicated {
        router.folder("/api").answer_unknown_paths()
    } else {
        router
    }
}

/// Checks the key of a publisher.
fn authenticate(shared: &WorkspaceShared, request: &AppRequest) -> Result<Publisher, AppResponse> {
    if shared.config.keys.match_header(request) {
        Ok(Publisher)
    } else {
        shared.metrics.count_refusal("key");
        Err(unauthorized())
    }
}

/// Lists the users of a workspace. Ids have the form in which clients sent them: integers stay
/// integers.
fn users(shared: Arc<WorkspaceShared>, request: RouteRequest<Publisher>) -> Ready<AppResponse> {
    let topic = workspace_topic(request.params.get("workspace"));
    let present = shared.event_bus.present_users(&topic);
    let ids = present
        .iter()
        .filter_map(|user| serde_json::from_str::<&RawValue>(&user.entries.first()?.meta).ok());
    let body = json!({"users": ids.collect::<Vec<_>>()});
    ready(AppResponse::json(200, body.to_string()))
}

fn notify(shared: Arc<WorkspaceShared>, request: RouteRequest<Publisher>) -> Ready<AppResponse> {
    let topic = workspace_topic(request.params.get("workspace"));
    let frame = wire::data_change_frame(&request.request.body);
    ready(shared.publish(topic, "data_change", frame, "notified"))
}

fn broadcast(shared: Arc<WorkspaceShared>, request: RouteRequest<Publisher>) -> Ready<AppResponse> {
    let topic = workspace_topic(request.params.get("workspace"));
    let frame = wire::message_frame("broadcast", &request.request.body);
    ready(shared.publish(topic, "broadcast", frame, "sent"))
}

fn message(shared: Arc<WorkspaceShared>, request: RouteRequest<Publisher>) -> Ready<AppResponse> {
    let topic = user_topic(request.params.get("user"));
    let frame = wire::message_frame("direct_message", &request.request.body);
    ready(shared.publish(topic, "direct_message", frame, "sent"))
}

impl WorkspaceShared {
    fn health(&self, started: Instant) -> AppResponse {
        let timestamp = self.clock.now().to_string();
        let uptime = started.elapsed().as_secs();
        let body = json!({"status": "ok", "timestamp": timestamp, "uptime": uptime});
        AppResponse::json(200, body.to_string())
    }

    fn publish(
        &self,
        topic: TopicName,
        kind: &'static str,
        frame: Result<String, PublishBodyError>,
        status: &str,
    ) -> AppResponse {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                self.metrics.count_refusal("body");
                return ERRORS.bad_request(match error {
                    PublishBodyError::InvalidShape(expected) => expected,
                    PublishBodyError::InvalidJson => "Invalid JSON",
                });
            }
        };
        match self.event_bus.publish(Publish::new([topic], kind, frame)) {
            Ok(outcome) => {
                self.metrics.count_publish(kind, outcome.reached);
                AppResponse::json(200, json!({"status": status}).to_string())
            }
            Err(_) => {
                self.metrics.count_refusal("overloaded");
                unavailable()
            }
        }
    }
}

pub(super) fn unauthorized() -> AppResponse {
    ERRORS.unauthorized("Unauthorized")
}

pub(super) fn unavailable() -> AppResponse {
    ERRORS.retry_later("Unavailable")
}
