//! The publisher's calls.

use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use percent_encoding::percent_decode_str;
use serde_json::json;
use serde_json::value::RawValue;

use crate::apps::workspace::wire::{self, BadBody, is_id};
use crate::apps::workspace::{Shared, user_topic, workspace_topic};
use crate::http::{Answer, Asked, Site};
use crate::hub::exchange::{Publish, TopicName};

/// Largest body of a call: records with all that is populated in them.
const BODY_BYTES: usize = 1024 * 1024;
const API_KEY: &str = "x-api-key";

/// See the module's documentation.
pub(super) struct Addresses {
    shared: Arc<Shared>,
    /// Whether all of `/api` is ours to say that nothing is there.
    is_alone: bool,
    since: Instant,
}

/// What is asked, with the id in the path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Call {
    Health,
    Notify(String),
    Broadcast(String),
    Message(String),
    Users(String),
}

impl Call {
    /// None: nothing is there.
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

    /// The methods that it takes.
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

    /// What is asked, by somebody who may.
    fn judge(&self, asked: &Asked) -> Result<Call, Answer> {
        let call = Call::of(asked.path()).ok_or_else(|| error(404, "Not found"))?;
        if !call
            .methods()
            .split(", ")
            .any(|method| method == asked.method())
        {
            return Err(error(405, "Method not allowed").with("allow", call.methods()));
        }
        let may = call == Call::Health
            || asked
                .header_bytes(API_KEY)
                .is_some_and(|key| self.shared.config.admits(key));
        if may {
            Ok(call)
        } else {
            Err(self.refuse_key())
        }
    }

    fn refuse_key(&self) -> Answer {
        self.shared.metrics.refuse("key");
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

    /// The ids as the clients wrote them: integers stay integers.
    fn users(&self, workspace: &str) -> Answer {
        let present = self.shared.exchange.list(&workspace_topic(workspace));
        let ids = present
            .iter()
            .filter_map(|one| serde_json::from_str::<&RawValue>(&one.entries.first()?.meta).ok());
        Answer::json(200, json!({"users": ids.collect::<Vec<_>>()}).to_string())
    }

    fn publish(
        &self,
        topic: TopicName,
        kind: &'static str,
        frame: Result<String, BadBody>,
        done: &str,
    ) -> Answer {
        let frame = match frame {
            Ok(frame) => frame,
            Err(bad) => {
                self.shared.metrics.refuse("body");
                return error(
                    400,
                    if let BadBody::Shape(expected) = bad {
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
            Ok(published) => {
                self.shared.metrics.publish(kind, published.reached);
                Answer::json(200, json!({"status": done}).to_string())
            }
            Err(_) => {
                self.shared.metrics.refuse("overloaded");
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
        let below = |folder: &str| {
            path.strip_prefix(folder)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        path == "/api/health"
            || below("/api/workspaces")
            || below("/api/users")
            || (self.is_alone && below("/api"))
    }

    fn body_limit(&self) -> usize {
        BODY_BYTES
    }

    fn admit(&self, asked: &Asked) -> Result<(), Answer> {
        self.judge(asked).map(drop)
    }

    fn answer(&self, asked: Asked) -> BoxFuture<'static, Answer> {
        let answer = self
            .judge(&asked)
            .map_or_else(|refused| refused, |call| self.act(call, &asked.body));
        std::future::ready(answer).boxed()
    }

    fn refuse(&self, status: u16, _: &'static str, message: &'static str) -> Answer {
        self.shared.metrics.refuse("body");
        error(status, message)
    }
}
