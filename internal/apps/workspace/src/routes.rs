//! The HTTP routes of publishers.

use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use percent_encoding::percent_decode_str;
use serde_json::json;
use serde_json::value::RawValue;

use crate::wire::{self, PublishBodyError, is_id};
use crate::{WorkspaceShared, user_topic, workspace_topic};
use latido_event_bus::{Publish, TopicName};
use latido_http::{AppRequest, AppResponse, HttpApp};

/// The maximum size of a request body, in bytes. Records arrive with all their populated fields.
const MAX_BODY_BYTES: usize = 1024 * 1024;
const API_KEY_HEADER: &str = "x-api-key";

/// The HTTP routes of the workspace app.
pub(super) struct WorkspaceRoutes {
    shared: Arc<WorkspaceShared>,
    /// Set if the app has a listener of its own and answers all other paths below `/api` with 404.
    is_dedicated: bool,
    started: Instant,
}

/// The requested operation, with the id from the path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum WorkspaceRoute {
    Health,
    Notify(String),
    Broadcast(String),
    Message(String),
    Users(String),
}

impl WorkspaceRoute {
    /// Parses a path. Returns `None` if it is no route of the app.
    fn parse(path: &str) -> Option<Self> {
        let segments: Vec<_> = path.strip_prefix("/api/")?.split('/').collect();
        let id = |raw: &str| {
            percent_decode_str(raw)
                .decode_utf8()
                .ok()
                .filter(|id| is_id(id))
                .map(|id| id.into_owned())
        };
        match segments.as_slice() {
            ["health"] => Some(Self::Health),
            ["workspaces", raw, "notify"] => id(raw).map(Self::Notify),
            ["workspaces", raw, "broadcast"] => id(raw).map(Self::Broadcast),
            ["workspaces", raw, "users"] => id(raw).map(Self::Users),
            ["users", raw, "message"] => id(raw).map(Self::Message),
            _ => None,
        }
    }

    /// Returns the allowed methods, as in the `Allow` header.
    fn allowed_methods(&self) -> &'static str {
        match self {
            Self::Health | Self::Users(_) => "GET, HEAD",
            Self::Notify(_) | Self::Broadcast(_) | Self::Message(_) => "POST",
        }
    }
}

impl WorkspaceRoutes {
    pub(super) fn new(shared: Arc<WorkspaceShared>, is_dedicated: bool) -> Self {
        Self {
            shared,
            is_dedicated,
            started: Instant::now(),
        }
    }

    /// Parses and authorizes a request.
    ///
    /// # Errors
    /// Returns the 401, 404 or 405 response if the request is refused.
    fn match_route(&self, request: &AppRequest) -> Result<WorkspaceRoute, AppResponse> {
        let call = WorkspaceRoute::parse(request.path())
            .ok_or_else(|| error_response(404, "Not found"))?;
        if !call
            .allowed_methods()
            .split(", ")
            .any(|method| method == request.method())
        {
            return Err(error_response(405, "Method not allowed")
                .with_header("allow", call.allowed_methods()));
        }
        let is_authorized = call == WorkspaceRoute::Health
            || request
                .header_bytes(API_KEY_HEADER)
                .is_some_and(|key| self.shared.config.accepts_key(key));
        if is_authorized {
            Ok(call)
        } else {
            Err(self.reject_key())
        }
    }

    fn reject_key(&self) -> AppResponse {
        self.shared.metrics.count_refusal("key");
        unauthorized()
    }

    fn dispatch(&self, call: WorkspaceRoute, body: &[u8]) -> AppResponse {
        match call {
            WorkspaceRoute::Health => self.health(),
            WorkspaceRoute::Users(id) => self.users(&id),
            WorkspaceRoute::Notify(id) => self.publish(
                workspace_topic(&id),
                "data_change",
                wire::data_change_frame(body),
                "notified",
            ),
            WorkspaceRoute::Broadcast(id) => self.publish(
                workspace_topic(&id),
                "broadcast",
                wire::message_frame("broadcast", body),
                "sent",
            ),
            WorkspaceRoute::Message(id) => self.publish(
                user_topic(&id),
                "direct_message",
                wire::message_frame("direct_message", body),
                "sent",
            ),
        }
    }

    fn health(&self) -> AppResponse {
        let timestamp = self.shared.clock.now().to_string();
        AppResponse::json(200, json!({"status": "ok", "timestamp": timestamp, "uptime": self.started.elapsed().as_secs()}).to_string())
    }

    /// Lists the users of a workspace. Ids have the form in which clients sent them: integers stay
    /// integers.
    fn users(&self, workspace: &str) -> AppResponse {
        let present = self
            .shared
            .event_bus
            .present_users(&workspace_topic(workspace));
        let ids = present
            .iter()
            .filter_map(|user| serde_json::from_str::<&RawValue>(&user.entries.first()?.meta).ok());
        AppResponse::json(200, json!({"users": ids.collect::<Vec<_>>()}).to_string())
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
            Err(body_error) => {
                self.shared.metrics.count_refusal("body");
                return error_response(
                    400,
                    if let PublishBodyError::InvalidShape(expected) = body_error {
                        expected
                    } else {
                        "Invalid JSON"
                    },
                );
            }
        };
        match self
            .shared
            .event_bus
            .publish(Publish::new([topic], kind, frame))
        {
            Ok(outcome) => {
                self.shared.metrics.count_publish(kind, outcome.reached);
                AppResponse::json(200, json!({"status": status}).to_string())
            }
            Err(_) => {
                self.shared.metrics.count_refusal("overloaded");
                unavailable()
            }
        }
    }
}

fn error_response(status: u16, message: &str) -> AppResponse {
    AppResponse::json(status, json!({"error": message}).to_string())
}

pub(super) fn unauthorized() -> AppResponse {
    error_response(401, "Unauthorized")
}

pub(super) fn unavailable() -> AppResponse {
    error_response(503, "Unavailable").with_header("retry-after", "1")
}

impl HttpApp for WorkspaceRoutes {
    fn matches(&self, path: &str) -> bool {
        let is_below = |folder: &str| {
            path.strip_prefix(folder)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        path == "/api/health"
            || is_below("/api/workspaces")
            || is_below("/api/users")
            || (self.is_dedicated && is_below("/api"))
    }

    fn body_limit(&self) -> usize {
        MAX_BODY_BYTES
    }

    fn authorize(&self, request: &AppRequest) -> Result<(), AppResponse> {
        self.match_route(request).map(drop)
    }

    fn handle(&self, request: AppRequest) -> BoxFuture<'static, AppResponse> {
        let answer = self.match_route(&request).map_or_else(
            |response| response,
            |call| self.dispatch(call, &request.body),
        );
        std::future::ready(answer).boxed()
    }

    fn error_response(&self, status: u16, _: &'static str, message: &'static str) -> AppResponse {
        self.shared.metrics.count_refusal("body");
        error_response(status, message)
    }
}
