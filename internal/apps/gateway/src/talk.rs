//! The Socket.IO events of one gateway socket.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::debug;

use crate::board;
use crate::business::Kind;
use crate::doorkeeper::{Claim, Refused};
use crate::hall::{HISTORY_LENGTH, Member};
use crate::who::{Generation, Role, id_text};
use crate::{Gateway, words};
use latido_event_bus::{BusEvent, Mailbox};
use latido_socketio::{Args, SocketIoApp, Emit, ClientEvent, SocketHandle, SocketHandler};

/// The events that this app handles, apart from the business events.
const OWN: [&str; 6] = [
    "authenticate",
    "join_room",
    "leave_room",
    "ping",
    "get_dashboard_summary",
    "get_recent_events",
];
/// The number of events that `get_recent_events` returns if the client sets no limit.
const RECENT: u64 = 50;

/// The Socket.IO app of both client versions, one namespace each.
pub(super) struct Gatekeeper(pub(super) Arc<Gateway>);

impl SocketIoApp for Gatekeeper {
    fn namespaces(&self) -> &'static [&'static str] {
        Generation::NAMESPACES
    }

    fn handles_event(&self, event: &str) -> bool {
        OWN.contains(&event) || Kind::of(event).is_some()
    }

    fn on_connect(&self, handle: &SocketHandle, _auth: Value) -> Option<(Box<dyn SocketHandler>, Mailbox)> {
        let (member, mailbox) = self
            .0
            .hall
            .enter(Generation::of(handle.namespace()), &handle.id())?;
        let deadline = Some(Instant::now() + self.0.config.auth_deadline);
        let socket = Visit {
            gateway: Arc::clone(&self.0),
            link: handle.clone(),
            member,
            deadline,
            refused: 0,
        };
        Some((Box::new(socket), mailbox))
    }

    fn encode(&self, namespace: &str, event: &BusEvent) -> Vec<Emit> {
        words::emits(Generation::of(namespace), event)
    }
}

struct Visit {
    gateway: Arc<Gateway>,
    link: SocketHandle,
    member: Member,
    /// The instant at which an unauthenticated socket is closed; `None` once it is authenticated.
    deadline: Option<Instant>,
    /// The number of failed authentication attempts since the last success.
    refused: u32,
}

/// A reply: an event name and its payload.
type Reply = Option<(&'static str, Value)>;

fn error(message: &str) -> Reply {
    Some(("error", words::said(message)))
}

impl SocketHandler for Visit {
    fn on_event<'a>(&'a mut self, received: ClientEvent) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.member.touch();
            let ClientEvent { name: event, args, ack } = received;
            let argument = args.values.first().cloned().unwrap_or_default();
            let reply = if !args.attachments.is_empty() {
                error("No se aceptan datos binarios")
            } else if event == "authenticate" {
                self.authenticate(&argument).await
            } else {
                self.answer(&event, &argument)
            };
            if let Some((name, payload)) = &reply {
                self.link.emit(name, payload);
            }
            if let Some(ack) = ack {
                ack.send(&Args::new(reply.map(|(_, payload)| payload)));
            }
            if self.refused >= self.gateway.config.auth_attempts {
                debug!(app = "gateway", peer = ?self.link.peer(), "a client failed to authenticate too often");
                self.link.disconnect();
            }
        })
    }

    fn next_timer(&self) -> Option<Instant> {
        self.deadline
    }

    fn on_timer(&mut self) {
        self.deadline = None;
        self.link.emit("error", &words::said("No autenticado"));
        self.link.disconnect();
    }
}

impl Visit {
    async fn authenticate(&mut self, argument: &Value) -> Reply {
        let text = |name: &str| argument.get(name).and_then(Value::as_str);
        let user_id = argument
            .get("userId")
            .or_else(|| argument.get("user_id"))
            .cloned();
        let claimed_role = text("role").or_else(|| text("rol"));
        let claim = Claim {
            id: user_id.as_ref().and_then(id_text),
            role: claimed_role.and_then(Role::parse),
        };
        let is_malformed = user_id.is_some() != claim.id.is_some()
            || claimed_role.is_some() != claim.role.is_some();
        let authenticated = match text("token").unwrap_or_default() {
            _ if is_malformed => Err(Refused::Invalid),
            token => self.gateway.door.admit(token, &claim).await,
        };
        let user = match authenticated {
            Ok(user) => user,
            Err(error) => {
                self.refused += 1;
                let message = match error {
                    Refused::Invalid => "Token inválido",
                    Refused::Unavailable => "Error en autenticación",
                };
                return Some(("auth_error", words::said(message)));
            }
        };
        // The reply repeats the id in the form in which the client sent it.
        let (id, role) = (user_id.unwrap_or_else(|| json!(&*user.id)), user.role);
        let answer = words::auth_success(&id, role, &self.member.socket_id);
        // Sent before any event of the rooms that the socket is about to join.
        self.link.emit("auth_success", &answer);
        if !self.member.identify(user) {
            return None;
        }
        self.deadline = None;
        self.refused = 0;
        self.gateway.note_change();
        None
    }

    fn answer(&mut self, event: &str, argument: &Value) -> Reply {
        if let Some(kind) = Kind::said(event) {
            return self
                .member
                .say(kind, event, argument)
                .map_or_else(error, |()| None);
        }
        match event {
            "join_room" => self.change_room(argument, true),
            "leave_room" => self.change_room(argument, false),
            "ping" => Some((
                "pong",
                json!({"data": argument, "timestamp": words::iso(self.gateway.hall.clock.now())}),
            )),
            "get_dashboard_summary" | "get_recent_events" if self.member.who().is_none() => {
                error("No autenticado")
            }
            "get_dashboard_summary" => {
                Some(("dashboard_summary", board::summary(&self.gateway.hall)))
            }
            "get_recent_events" => {
                let limit = argument
                    .get("limit")
                    .and_then(Value::as_u64)
                    .unwrap_or(RECENT);
                let limit = usize::try_from(limit)
                    .unwrap_or(usize::MAX)
                    .min(HISTORY_LENGTH);
                Some((
                    "recent_events",
                    json!({"events": board::recent(&self.gateway.hall, limit)}),
                ))
            }
            _ => error("Evento desconocido"),
        }
    }

    /// Joins or leaves a room. Both keys are accepted, and the reply repeats the one that was used.
    /// A version 2 client that leaves with the key `room` gets no reply.
    fn change_room(&mut self, argument: &Value, joins: bool) -> Reply {
        let given = ["roomName", "room"]
            .into_iter()
            .find_map(|key| Some((key, argument.get(key)?.as_str()?)));
        let Some((key, room)) = given else {
            return error("Sala inválida");
        };
        let changed = if joins {
            self.member.join(room)
        } else {
            self.member.leave(room)
        };
        if let Err(message) = changed {
            return error(message);
        }
        if !joins && key == "room" && self.member.generation == Generation::Second {
            return None;
        }
        Some((
            if joins { "room_joined" } else { "room_left" },
            json!({key: room}),
        ))
    }
}
