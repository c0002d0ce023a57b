//! One WebSocket connection: unauthenticated until `auth`, then a user in a workspace.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::claims::{Credentials, Member, USER_CLAIMS, trust};
use crate::wire::{self, Auth, Incoming};
use crate::{DIALECT, Shared, user_topic, workspace_topic};
use latido_auth::{VerifiedToken, TokenError};
use latido_base::ident::UserId;
use latido_event_bus::{ConnectionId, BusEvent, Identity, JoinRequest};
use latido_protocol::Frame;
use latido_shard::{Actions, AsyncResult, HandlerContext, ProtocolHandler, ClientMessage, Timestamp};

/// The time limit for the `auth` frame of a connection without a token, in seconds.
const AUTH_DEADLINE_S: i64 = 10;
/// The time limit for verifying a token, including a fetch of the issuer's keys.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(4);
/// The maximum number of messages that are queued while a token is being verified.
const HELD: usize = 16;
/// The close code for missing or invalid authentication. RFC 6455 §7.4.2 leaves 4000 and above to
/// applications.
const UNAUTHORIZED: u16 = 4401;
/// The close code «try again later» (RFC 6455 §7.4.1, IANA registry).
const TRY_LATER: u16 = 1013;

/// The reasons for refusals, as metrics label them.
pub(super) const REFUSALS: [&str; 8] = [
    "auth_deadline",
    "token",
    "membership",
    "anonymous",
    "overloaded",
    "key",
    "body",
    "message_rate",
];

/// The protocol handler of one workspace connection.
pub(super) struct WorkspaceGuest {
    shared: Arc<Shared>,
    berth: HandlerContext,
    /// The id on the event bus. `None` if the bus refused the connection, which never happens to a
    /// new one.
    id: Option<ConnectionId>,
    /// The content of the token in the upgrade request, if there was one.
    credentials: Option<Credentials>,
    /// Set if the connection also has a native session, whose user comes from its own token.
    is_native: bool,
    /// Set if the native session follows the user of the `auth` frame.
    follows_auth: bool,
    member: Option<Member>,
    /// The next deadline in Unix seconds: for `auth`, then the token's expiry.
    deadline_s: Option<i64>,
    /// An `auth` frame whose token is being verified, and the messages received since.
    verifying: Option<(Auth, VecDeque<String>)>,
}

/// The outcome of verifying a token.
type Verified = Result<VerifiedToken, TokenError>;

impl WorkspaceGuest {
    pub(super) fn boxed(
        shared: Arc<Shared>,
        context: HandlerContext,
        credentials: Option<Credentials>,
        is_native: bool,
    ) -> Box<dyn ProtocolHandler> {
        let attached = shared.exchange.connect_on_shard(
            &context.queue,
            DIALECT,
            context.connection_slot,
            Identity::default(),
            &[],
        );
        let id = attached
            .inspect_err(|error| tracing::warn!(%error, "a client could not be attached"))
            .ok();
        shared.metrics.connections.inc();
        let deadline_s = (!is_native).then(|| shared.clock.unix_s() + AUTH_DEADLINE_S);
        let (follows_auth, member, verifying) = (false, None, None);
        Box::new(Self {
            shared,
            berth: context,
            id,
            credentials,
            is_native,
            follows_auth,
            member,
            deadline_s,
            verifying,
        })
    }

    fn on_text(&mut self, text: &str, actions: &mut Actions<'_>) {
        let incoming = wire::decode(text);
        if let Some((_, held)) = &mut self.verifying {
            if held.len() == HELD {
                return self.refuse(
                    "overloaded",
                    wire::UNAVAILABLE,
                    TRY_LATER,
                    "too much at once",
                    actions,
                );
            }
            return held.push_back(text.to_owned());
        }
        match incoming {
            Incoming::Auth(auth) => self.authenticate(auth, actions),
            Incoming::Native if self.is_native || self.follows_auth => actions.forward_native(text),
            Incoming::Native => self.refuse(
                "anonymous",
                wire::UNAUTHORIZED,
                UNAUTHORIZED,
                "unauthorized",
                actions,
            ),
            Incoming::Ping => reply(wire::PONG, actions),
            Incoming::Unknown => reply(wire::UNKNOWN_TYPE, actions),
            Incoming::Invalid => reply(wire::INVALID_JSON, actions),
        }
    }

    fn authenticate(&mut self, auth: Auth, actions: &mut Actions<'_>) {
        let Some(token) = &auth.token else {
            let claimed = self
                .credentials
                .as_ref()
                .map(|credentials| credentials.admit(&auth));
            let member = claimed.unwrap_or_else(|| {
                self.shared
                    .config
                    .trusts_client_ids
                    .then(|| trust(&auth))
                    .flatten()
            });
            return self.enter(member, actions);
        };
        match self.shared.verifier.try_verify_claims(token, &USER_CLAIMS) {
            Some(verified) => self.judge(&auth, verified, actions),
            None => self.verify(auth, actions),
        }
    }

    /// Verifies a token asynchronously, since the issuer's keys may have to be fetched.
    fn verify(&mut self, auth: Auth, actions: &mut Actions<'_>) {
        let (verifier, token) = (
            Arc::clone(&self.shared.verifier),
            auth.token.clone().unwrap_or_default(),
        );
        let is_started = actions.spawn(async move {
            let verified =
                tokio::time::timeout(VERIFY_TIMEOUT, verifier.verify_claims(&token, &USER_CLAIMS)).await;
            verified.unwrap_or(Err(TokenError::KeysUnavailable))
        });
        if is_started {
            self.verifying = Some((auth, VecDeque::new()));
        } else {
            self.refuse(
                "overloaded",
                wire::UNAVAILABLE,
                TRY_LATER,
                "try again later",
                actions,
            );
        }
    }

    fn judge(&mut self, auth: &Auth, verified: Verified, actions: &mut Actions<'_>) {
        match verified {
            Ok(verified) => {
                let credentials = Credentials::of(verified);
                let member = credentials.admit(auth);
                if member.is_some() && !self.is_native {
                    actions.attach_native_session(Arc::clone(&credentials.principal));
                    self.follows_auth = true;
                }
                self.enter(member, actions);
            }
            Err(error) if error.is_temporary() => {
                self.refuse(
                    "overloaded",
                    wire::UNAVAILABLE,
                    TRY_LATER,
                    "try again later",
                    actions,
                );
            }
            Err(error) => {
                tracing::debug!(reason = error.reason(), "a token was refused");
                self.refuse(
                    "token",
                    wire::UNAUTHORIZED,
                    UNAUTHORIZED,
                    "unauthorized",
                    actions,
                );
            }
        }
    }

    /// Makes the connection a member and ends its previous membership. Messages of the previous
    /// workspace are sent before `auth_success`, messages of the new one after it.
    fn enter(&mut self, member: Option<Member>, actions: &mut Actions<'_>) {
        let (Some(member), Some(id)) = (member, self.id) else {
            return self.refuse(
                "membership",
                wire::UNAUTHORIZED,
                UNAUTHORIZED,
                "unauthorized",
                actions,
            );
        };
        let exchange = &self.shared.exchange;
        let identity = Identity {
            user: Some(member.user.clone()),
            session: None,
            role: member.role.clone(),
        };
        let joins = [
            JoinRequest::new(workspace_topic(&member.workspace)).meta(&*member.user_json),
            JoinRequest::new(user_topic(member.user.as_str())),
        ];
        // An error means that the bus has ended the connection; the shard learns of that
        // separately.
        let _ = exchange.set_identity(id, Identity::default(), &[]);
        self.berth
            .queue
            .push_reply(self.berth.connection_slot, Frame::text(wire::AUTH_SUCCESS));
        let _ = exchange.set_identity(id, identity, &joins);
        self.deadline_s = member.ends_at_s;
        self.member = Some(member);
    }

    fn refuse(
        &mut self,
        reason: &'static str,
        frame: &str,
        code: u16,
        text: &'static str,
        actions: &mut Actions<'_>,
    ) {
        self.shared.metrics.count_refusal(reason);
        actions.send_text(frame);
        actions.close(code, text);
    }
}

/// Sends a frame after all events that are already queued for the connection.
fn reply(text: &str, actions: &mut Actions<'_>) {
    actions.send_after_events(Frame::text(text));
}

impl ProtocolHandler for WorkspaceGuest {
    fn on_message(&mut self, message: ClientMessage<'_>, _: Timestamp, actions: &mut Actions<'_>) {
        match message {
            ClientMessage::Text(text) => self.on_text(text, actions),
            ClientMessage::Binary(_) => reply(wire::INVALID_JSON, actions),
        }
    }

    fn on_async_result(&mut self, answer: AsyncResult, _: Timestamp, actions: &mut Actions<'_>) {
        let (Ok(verified), Some((auth, held))) =
            (answer.downcast::<Verified>(), self.verifying.take())
        else {
            return;
        };
        let is_valid = verified.is_ok();
        self.judge(&auth, *verified, actions);
        for text in held.into_iter().filter(|_| is_valid) {
            self.on_text(&text, actions);
        }
    }

    fn on_timer(&mut self, now: Timestamp, actions: &mut Actions<'_>) {
        if self
            .deadline_s
            .is_none_or(|deadline_s| now.unix_s < deadline_s)
            || self.verifying.is_some()
        {
            return;
        }
        self.deadline_s = None;
        let (reason, text) = if self.member.is_some() {
            ("token", "token expired; come back with a new one")
        } else {
            ("auth_deadline", "unauthorized")
        };
        self.refuse(reason, wire::UNAUTHORIZED, UNAUTHORIZED, text, actions);
    }

    fn next_timer(&self) -> Option<i64> {
        self.deadline_s
    }

    fn encode(&self, event: &BusEvent) -> Frame {
        Frame::text(event.message().map_or("{}", |message| &message.payload))
    }

    fn user(&self) -> Option<&UserId> {
        self.member.as_ref().map(|member| &member.user)
    }

    fn on_rate_limited(&mut self, actions: &mut Actions<'_>) {
        self.shared.metrics.count_refusal("message_rate");
        reply(wire::TOO_MANY, actions);
    }
}

/// Ends all memberships: when this returns, no list contains the connection.
impl Drop for WorkspaceGuest {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.shared.exchange.disconnect(id);
        }
        self.shared.metrics.connections.dec();
    }
}
