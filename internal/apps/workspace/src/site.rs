//! The HTTP routes of publishers.

use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use percent_encoding::percent_decode_str;
use serde_json::json;
use serde_json::value::RawValue;

use crate::wire::{self, BadBody, is_id};
use crate::{Shared, user_topic, workspace_topic};
use latido_event_bus::{Publish, TopicName};
use latido_http::{Answer, Asked, Site};

/// The maximum size of a request body, in bytes. Records arrive with all their populated fields.
const BODY_BYTES: usize = 1024 * 1024;
const API_KEY: &str = "x-api-key";

/// The HTTP routes of the workspace app.
pub(super) struct Addresses {
    shared: Arc<Shared>,
    /// Set if the app has a listener of its own and answers all other paths below `/api` with 404.
    is_alone: bool,
    since: Instant,
}

/// The requested operation, with the id from the path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Call {
    Health,
    Notify(String),
    Broadcast(String),
    Message(String),
    Users(String),
}

impl Call {
    /// Parses a path. Returns `None` if it is no route of the app.
    fn of(path: &str) -> Option<Self> {
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
    fn methods(&self) -> &'static str {
        match self {
            Self::Health | Self::Users(_) => "GET, HEAD",
            Self::Notify(_) | Self::Broadcast(_) | Self::Message(_) => "POST",
        }
    }
}

impl Addresses {
    pub(super) fn new(shared: Arc<Shared>, is_alone: bool) -> Self {
        Self {
            shared,
            is_alone,
            since: Instant::now(),
        }
    }

    /// Parses and authorizes a request.
    ///
    /// # Errors
    /// Returns the 401, 404 or 405 response if the request is refused.
    fn judge(&self, request: &Asked) -> Result<Call, Answer> {
        let call = Call::of(request.path()).ok_or_else(|| error(404, "Not found"))?;
        if !call
            .methods()
            .split(", ")
            .any(|method| method == request.method())
        {
            return Err(error(405, "Method not allowed").with("allow", call.methods()));
        }
        let is_authorized = call == Call::Health
            || request
                .header_bytes(API_KEY)
                .is_some_and(|key| self.shared.config.admits(key));
        if is_authorized {
            Ok(call)
        } else {
            Err(self.refuse_key())
        }
    }

    fn refuse_key(&self) -> Answer {
        self.shared.metrics.count_refusal("key");
        unauthorized()
    }

    fn act(&self, call: Call, body: &[u8]) -> Answer {
        match call {
            Call::Health => self.health(),
            Call::Users(id) => self.users(&id),
            Call::Notify(id) => self.publish(
                workspace_topic(&id),
                "data_change",
                wire::data_change(body),
                "notified",
            ),
            Call::Broadcast(id) => self.publish(
                workspace_topic(&id),
                "broadcast",
                wire::message("broadcast", body),
                "sent",
            ),
            Call::Message(id) => self.publish(
                user_topic(&id),
                "direct_message",
                wire::message("direct_message", body),
                "sent",
            ),
        }
    }

    fn health(&self) -> Answer {
        let timestamp = self.shared.clock.now().to_string();
        Answer::json(200, json!({"status": "ok", "timestamp": timestamp, "uptime": self.since.elapsed().as_secs()}).to_string())
    }

    /// Lists the users of a workspace. Ids have the form in which clients sent them: integers stay
    /// integers.
    fn users(&self, workspace: &str) -> Answer {
        let present = self.shared.exchange.present_users(&workspace_topic(workspace));
        let ids = present
            .iter()
            .filter_map(|user| serde_json::from_str::<&RawValue>(&user.entries.first()?.meta).ok());
        Answer::json(200, json!({"users": ids.collect::<Vec<_>>()}).to_string())
    }

    fn publish(
        &self,
        topic: TopicName,
        kind: &'static str,
        frame: Result<String, BadBody>,
        status: &str,
    ) -> Answer {
        let frame = match frame {
            Ok(frame) => frame,
            Err(body_error) => {
                self.shared.metrics.count_refusal("body");
                return error(
                    400,
                    if let BadBody::Shape(expected) = body_error {
                        expected
                    } else {
                        "Invalid JSON"
                    },
                );
            }
        };
        match self
            .shared
            .exchange
            .publish(Publish::new([topic], kind, frame))
        {
            Ok(outcome) => {
                self.shared.metrics.count_publish(kind, outcome.reached);
                Answer::json(200, json!({"status": status}).to_string())
            }
            Err(_) => {
                self.shared.metrics.count_refusal("overloaded");
                unavailable()
            }
        }
    }
}

fn error(status: u16, message: &str) -> Answer {
    Answer::json(status, json!({"error": message}).to_string())
}

pub(super) fn unauthorized() -> Answer {
    error(401, "Unauthorized")
}

pub(super) fn unavailable() -> Answer {
    error(503, "Unavailable").with("retry-after", "1")
}

impl Site for Addresses {
    fn has(&self, path: &str) -> bool {
        let is_below = |folder: &str| {
            path.strip_prefix(folder)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        path == "/api/health"
            || is_below("/api/workspaces")
            || is_below("/api/users")
            || (self.is_alone && is_below("/api"))
    }

    fn body_limit(&self) -> usize {
        BODY_BYTES
    }

    fn admit(&self, request: &Asked) -> Result<(), Answer> {
        self.judge(request).map(drop)
    }

    fn answer(&self, request: Asked) -> BoxFuture<'static, Answer> {
        let answer = self
            .judge(&request)
            .map_or_else(|response| response, |call| self.act(call, &request.body));
        std::future::ready(answer).boxed()
    }

    fn refuse(&self, status: u16, _: &'static str, message: &'static str) -> Answer {
        self.shared.metrics.count_refusal("body");
        error(status, message)
    }
}
