//! The Socket.IO events of one gateway socket.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::debug;

use crate::authenticator::{AuthError, IdentityClaim};
use crate::dashboard_views;
use crate::event_types::EventType;
use crate::rooms::{HISTORY_LENGTH, RoomMember};
use crate::shared::GatewayShared;
use crate::user::{ClientVersion, GatewayUser, Role, id_text};
use crate::wire;
use latido_base::secret::Secret;
use latido_base::time_format::iso_millis;
use latido_event_bus::{BusEvent, Identity};
use latido_socketio::{
    Ack, Args, ClientEvent, ConnectRequest, Emit, SocketActions, SocketHandler, SocketIoApp,
};

/// The events that this app handles, apart from the business events.
const CONTROL_EVENTS: [&str; 6] = [
    "authenticate",
    "join_room",
    "leave_room",
    "ping",
    "get_dashboard_summary",
    "get_recent_events",
];
/// The number of events that `get_recent_events` returns if the client sets no limit.
const DEFAULT_RECENT_EVENTS: u64 = 50;

/// The Socket.IO app of both client versions, one namespace each.
pub(super) struct GatewaySocketIo(pub(super) Arc<GatewayShared>);

impl SocketIoApp for GatewaySocketIo {
    fn namespaces(&self) -> &'static [&'static str] {
        ClientVersion::NAMESPACES
    }

    fn handles_event(&self, event: &str) -> bool {
        CONTROL_EVENTS.contains(&event) || EventType::by_name(event).is_some()
    }

    fn on_connect(
        &self,
        socket: &ConnectRequest<'_>,
        actions: &mut SocketActions<'_>,
    ) -> Option<Box<dyn SocketHandler>> {
        let rooms = &self.0.rooms;
        let id = actions.connect(&rooms.event_bus, Identity::default(), &[])?;
        let version = ClientVersion::of_namespace(socket.namespace);
        Some(Box::new(GatewaySocket {
            gateway: Arc::clone(&self.0),
            peer: socket.request.peer(),
            member: rooms.admit(id, version, socket.socket_id),
            auth_deadline: Some(Instant::now() + self.0.config.auth_deadline),
            failed_attempts: 0,
            pending: None,
            accepted: None,
        }))
    }

    fn encode(&self, namespace: &str, event: &BusEvent) -> Vec<Emit> {
        wire::encode_for(ClientVersion::of_namespace(namespace), event)
    }
}

struct GatewaySocket {
    gateway: Arc<GatewayShared>,
    peer: Option<SocketAddr>,
    member: RoomMember,
    /// The instant at which an unauthenticated socket is closed; `None` once it is authenticated.
    auth_deadline: Option<Instant>,
    /// The number of failed authentication attempts since the last success.
    failed_attempts: u32,
    /// The authentication in progress. The client's next event waits for it.
    pending: Option<Box<PendingAuth>>,
    /// The accepted token, with the instant at which the API is asked about it again.
    accepted: Option<Box<(AcceptedToken, Instant)>>,
}

/// An authentication in progress.
struct PendingAuth {
    accepted: AcceptedToken,
    /// The id in the form in which the client sent it.
    user_id: Option<Value>,
    ack: Option<Ack>,
}

/// A token that the API has accepted, and the identity that the client claimed with it.
#[derive(Clone)]
struct AcceptedToken {
    token: Secret,
    claim: IdentityClaim,
}

/// The result of an authentication.
struct AuthOutcome(Result<GatewayUser, AuthError>);

/// The result of asking the API again: whether the token is still valid.
struct RecheckOutcome(bool);

/// A reply: an event name and its payload.
type SocketReply = Option<(&'static str, Value)>;

fn error_reply(message: &str) -> SocketReply {
    Some(("error", wire::message_payload(message)))
}

impl SocketHandler for GatewaySocket {
    fn on_event(&mut self, received: ClientEvent, actions: &mut SocketActions<'_>) {
        self.member.record_activity();
        let ClientEvent {
            name: event,
            args,
            ack,
        } = received;
        let argument = args.values.first().cloned().unwrap_or_default();
        let reply = if !args.attachments.is_empty() {
            error_reply("No se aceptan datos binarios")
        } else if event == "authenticate" {
            return self.authenticate(&argument, ack, actions);
        } else {
            self.handle_event(&event, &argument)
        };
        self.answer(reply, ack, actions);
    }

    fn on_async_result(&mut self, output: Box<dyn Any + Send>, actions: &mut SocketActions<'_>) {
        match output.downcast::<AuthOutcome>() {
            Ok(outcome) => self.on_authenticated(outcome.0, actions),
            Err(output) => {
                let recheck = output.downcast::<RecheckOutcome>();
                if recheck.is_ok_and(|recheck| !recheck.0) {
                    actions.emit("auth_error", &wire::message_payload("Token inválido"));
                    actions.disconnect();
                }
            }
        }
    }

    fn next_timer(&self) -> Option<Instant> {
        let recheck = self.accepted.as_ref().map(|accepted| accepted.1);
        self.auth_deadline.into_iter().chain(recheck).min()
    }

    fn on_timer(&mut self, actions: &mut SocketActions<'_>) {
        let now = Instant::now();
        if self
            .accepted
            .as_ref()
            .is_some_and(|accepted| accepted.1 <= now)
        {
            self.recheck_token(actions);
        }
        if self.auth_deadline.is_none_or(|at| at > now) {
            return;
        }
        self.auth_deadline = None;
        actions.emit("error", &wire::message_payload("No autenticado"));
        actions.disconnect();
    }
}

impl GatewaySocket {
    /// Sends a reply, and the acknowledgement if the client requested one.
    fn answer(&mut self, reply: SocketReply, ack: Option<Ack>, actions: &mut SocketActions<'_>) {
        if let Some((name, payload)) = &reply {
            actions.emit(name, payload);
        }
        if let Some(ack) = ack {
            actions.acknowledge(&ack, &Args::new(reply.map(|(_, payload)| payload)));
        }
        if self.failed_attempts >= self.gateway.config.max_auth_attempts {
            let peer = self.peer.map(tracing::field::display);
            debug!(
                app = "gateway",
                peer, "a client failed to authenticate too often"
            );
            actions.disconnect();
        }
    }

    /// Starts an authentication. Its result comes to [`GatewaySocket::on_authenticated`].
    fn authenticate(
        &mut self,
        argument: &Value,
        ack: Option<Ack>,
        actions: &mut SocketActions<'_>,
    ) {
        let text = |name: &str| argument.get(name).and_then(Value::as_str);
        let user_id = argument
            .get("userId")
            .or_else(|| argument.get("user_id"))
            .cloned();
        let claimed_role = text("role").or_else(|| text("rol"));
        let claim = IdentityClaim {
            id: user_id.as_ref().and_then(id_text),
            role: claimed_role.and_then(Role::parse),
        };
        let is_malformed = user_id.is_some() != claim.id.is_some()
            || claimed_role.is_some() != claim.role.is_some();
        let accepted = AcceptedToken {
            token: Secret::new(text("token").unwrap_or_default()),
            claim,
        };
        let request = accepted.clone();
        self.pending = Some(Box::new(PendingAuth {
            accepted,
            user_id,
            ack,
        }));
        if is_malformed {
            return self.on_authenticated(Err(AuthError::Invalid), actions);
        }
        let authenticator = self.gateway.authenticator.clone();
        let answer = async move {
            let token = request.token.expose();
            AuthOutcome(authenticator.authenticate(token, &request.claim).await)
        };
        if !actions.wait_for(answer) {
            self.on_authenticated(Err(AuthError::Unavailable), actions);
        }
    }

    fn on_authenticated(
        &mut self,
        outcome: Result<GatewayUser, AuthError>,
        actions: &mut SocketActions<'_>,
    ) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        let user = match outcome {
            Ok(user) => user,
            Err(error) => {
                self.failed_attempts += 1;
                let message = match error {
                    AuthError::Invalid => "Token inválido",
                    AuthError::Unavailable => "Error en autenticación",
                };
                let reply = Some(("auth_error", wire::message_payload(message)));
                return self.answer(reply, pending.ack, actions);
            }
        };
        let id = pending.user_id.unwrap_or_else(|| json!(&*user.id));
        let answer = wire::auth_success_payload(&id, user.role, &self.member.socket_id);
        // Sent before any event of the rooms that the socket is about to join.
        actions.emit("auth_success", &answer);
        if self.member.identify(user) {
            self.auth_deadline = None;
            self.failed_attempts = 0;
            actions.mark_identified();
            let recheck_at = Instant::now() + self.gateway.config.api_cache_ttl;
            self.accepted = Some(Box::new((pending.accepted, recheck_at)));
            self.gateway.mark_changed();
        }
        self.answer(None, pending.ack, actions);
    }

    /// Asks the API about the token again, and disconnects the client if it is no longer valid. An
    /// API that does not answer disconnects nobody.
    fn recheck_token(&mut self, actions: &mut SocketActions<'_>) {
        let Some(accepted) = &mut self.accepted else {
            return;
        };
        accepted.1 = Instant::now() + self.gateway.config.api_cache_ttl;
        let AcceptedToken { token, claim } = accepted.0.clone();
        let authenticator = self.gateway.authenticator.clone();
        let recheck = async move {
            let answer = authenticator.authenticate(token.expose(), &claim).await;
            RecheckOutcome(answer.err() != Some(AuthError::Invalid))
        };
        // If too many are pending, the next recheck follows in its time.
        let _started = actions.spawn(recheck);
    }

    fn handle_event(&mut self, event: &str, argument: &Value) -> SocketReply {
        if let Some(kind) = EventType::client_publishable(event) {
            return self
                .member
                .publish(kind, event, argument)
                .map_or_else(|error| error_reply(&error.to_string()), |()| None);
        }
        match event {
            "join_room" => self.change_room(argument, true),
            "leave_room" => self.change_room(argument, false),
            "ping" => Some((
                "pong",
                json!({"data": argument, "timestamp": iso_millis(self.gateway.rooms.clock.now())}),
            )),
            "get_dashboard_summary" | "get_recent_events" if self.member.who().is_none() => {
                error_reply("No autenticado")
            }
            "get_dashboard_summary" => Some((
                "dashboard_summary",
                dashboard_views::summary_json(&self.gateway.rooms),
            )),
            "get_recent_events" => {
                let limit = argument
                    .get("limit")
                    .and_then(Value::as_u64)
                    .unwrap_or(DEFAULT_RECENT_EVENTS);
                let limit = usize::try_from(limit)
                    .unwrap_or(usize::MAX)
                    .min(HISTORY_LENGTH);
                Some((
                    "recent_events",
                    json!({"events": dashboard_views::recent_events(&self.gateway.rooms, limit)}),
                ))
            }
            _ => error_reply("Evento desconocido"),
        }
    }

    /// Joins or leaves a room. Both keys are accepted, and the reply repeats the one that was used.
    /// A version 2 client that leaves with the key `room` gets no reply.
    fn change_room(&mut self, argument: &Value, joins: bool) -> SocketReply {
        let given = ["roomName", "room"]
            .into_iter()
            .find_map(|key| Some((key, argument.get(key)?.as_str()?)));
        let Some((key, room)) = given else {
            return error_reply("Sala inválida");
        };
        let changed = if joins {
            self.member.join(room)
        } else {
            self.member.leave(room)
        };
        if let Err(error) = changed {
            return error_reply(&error.to_string());
        }
        if !joins && key == "room" && self.member.version == ClientVersion::V2 {
            return None;
        }
        Some((
            if joins { "room_joined" } else { "room_left" },
            json!({key: room}),
        ))
    }
}
