//! One WebSocket connection: unauthenticated until `auth`, then a user in a workspace.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::claims::{TokenClaims, USER_CLAIMS, WorkspaceMember, unverified_membership};
use crate::shared::{ENCODING, WorkspaceShared, user_topic, workspace_topic};
use crate::wire::{self, AuthFrame, WorkspaceFrame};
use latido_auth::{TokenEnd, TokenError, TokenSender, VerifiedToken};
use latido_base::ident::UserId;
use latido_event_bus::{BusEvent, ConnectionId, Identity, JoinRequest};
use latido_protocol::Frame;
use latido_shard::{
    Actions, AsyncResult, ClientMessage, HandlerContext, ProtocolHandler, Timestamp,
};

/// The time limit for the `auth` frame of a connection without a token, in seconds.
const AUTH_DEADLINE_S: i64 = 10;
/// The time limit for verifying a token, including a fetch of the issuer's keys.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(4);
/// The maximum number of messages that are queued while a token is being verified.
const MAX_HELD_MESSAGES: usize = 16;
/// The close code for missing or invalid authentication. RFC 6455 §7.4.2 leaves 4000 and above to
/// applications.
const CLOSE_UNAUTHORIZED: u16 = 4401;
/// The close code «try again later» (RFC 6455 §7.4.1, IANA registry).
const CLOSE_TRY_LATER: u16 = 1013;

/// The protocol handler of one workspace connection.
pub(super) struct WorkspaceConnection {
    shared: Arc<WorkspaceShared>,
    context: HandlerContext,
    /// The sender of tokens on this connection.
    sender: TokenSender,
    /// The id on the event bus. `None` if the bus refused the connection, which never happens to a
    /// new one.
    connection_id: Option<ConnectionId>,
    /// The content of the token in the upgrade request, if there was one.
    token_claims: Option<TokenClaims>,
    /// Set if the connection also has a native session, whose user comes from its own token.
    has_native_session: bool,
    /// Set if the native session follows the user of the `auth` frame.
    native_follows_auth: bool,
    member: Option<WorkspaceMember>,
    /// The next deadline in Unix seconds: for `auth`, then the next check of the token.
    deadline_s: Option<i64>,
    /// An `auth` frame whose token is being verified, and the messages received since.
    pending_auth: Option<(AuthFrame, VecDeque<String>)>,
}

/// The outcome of verifying a token.
type VerificationResult = Result<VerifiedToken, TokenError>;

impl WorkspaceConnection {
    pub(super) fn new_boxed(
        shared: Arc<WorkspaceShared>,
        context: HandlerContext,
        sender: TokenSender,
        credentials: Option<TokenClaims>,
        is_native: bool,
    ) -> Box<dyn ProtocolHandler> {
        let attached = shared.event_bus.connect_on_shard(
            &context.queue,
            ENCODING,
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
            context,
            sender,
            connection_id: id,
            token_claims: credentials,
            has_native_session: is_native,
            native_follows_auth: follows_auth,
            member,
            deadline_s,
            pending_auth: verifying,
        })
    }

    fn on_text(&mut self, text: &str, actions: &mut Actions<'_>) {
        let incoming = wire::decode(text);
        if let Some((_, held)) = &mut self.pending_auth {
            if held.len() == MAX_HELD_MESSAGES {
                return self.refuse(
                    "overloaded",
                    wire::UNAVAILABLE,
                    CLOSE_TRY_LATER,
                    "too much at once",
                    actions,
                );
            }
            return held.push_back(text.to_owned());
        }
        match incoming {
            WorkspaceFrame::Auth(auth) => self.authenticate(auth, actions),
            WorkspaceFrame::Native if self.has_native_session || self.native_follows_auth => {
                actions.forward_native(text)
            }
            WorkspaceFrame::Native => self.refuse(
                "anonymous",
                wire::UNAUTHORIZED,
                CLOSE_UNAUTHORIZED,
                "unauthorized",
                actions,
            ),
            WorkspaceFrame::Ping => send_in_order(wire::PONG, actions),
            WorkspaceFrame::Unknown => send_in_order(wire::UNKNOWN_TYPE, actions),
            WorkspaceFrame::Invalid => send_in_order(wire::INVALID_JSON, actions),
        }
    }

    fn authenticate(&mut self, auth: AuthFrame, actions: &mut Actions<'_>) {
        let Some(token) = &auth.token else {
            let claimed = self
                .token_claims
                .as_ref()
                .map(|credentials| credentials.membership(&auth));
            let member = claimed.unwrap_or_else(|| {
                self.shared
                    .config
                    .trusts_client_ids
                    .then(|| unverified_membership(&auth))
                    .flatten()
            });
            return self.join(member, actions);
        };
        match self.shared.verifier.try_verify_claims(token, &USER_CLAIMS) {
            Some(verified) => self.on_verified(&auth, verified, actions),
            None => self.start_verification(auth, actions),
        }
    }

    /// Verifies a token asynchronously, since the issuer's keys may have to be fetched.
    fn start_verification(&mut self, auth: AuthFrame, actions: &mut Actions<'_>) {
        let verifier = Arc::clone(&self.shared.verifier);
        let (token, sender) = (auth.token.clone().unwrap_or_default(), self.sender.clone());
        let is_started = actions.spawn(async move {
            let verifying = verifier.verify_claims(&token, &sender, &USER_CLAIMS);
            let verified = tokio::time::timeout(VERIFY_TIMEOUT, verifying).await;
            verified.unwrap_or(Err(TokenError::KeysUnavailable))
        });
        if is_started {
            self.pending_auth = Some((auth, VecDeque::new()));
        } else {
            self.refuse(
                "overloaded",
                wire::UNAVAILABLE,
                CLOSE_TRY_LATER,
                "try again later",
                actions,
            );
        }
    }

    fn on_verified(
        &mut self,
        auth: &AuthFrame,
        verified: VerificationResult,
        actions: &mut Actions<'_>,
    ) {
        match verified {
            Ok(verified) => {
                let credentials = TokenClaims::from_verified(verified);
                let member = credentials.membership(auth);
                if member.is_some() && !self.has_native_session {
                    actions.attach_native_session(Arc::clone(&credentials.principal));
                    self.native_follows_auth = true;
                }
                self.join(member, actions);
            }
            Err(error) if error.is_temporary() => {
                self.refuse(
                    "overloaded",
                    wire::UNAVAILABLE,
                    CLOSE_TRY_LATER,
                    "try again later",
                    actions,
                );
            }
            Err(error) => {
                tracing::debug!(reason = error.reason(), "a token was refused");
                self.refuse(
                    "token",
                    wire::UNAUTHORIZED,
                    CLOSE_UNAUTHORIZED,
                    "unauthorized",
                    actions,
                );
            }
        }
    }

    /// Makes the connection a member and ends its previous membership. Messages of the previous
    /// workspace are sent before `auth_success`, messages of the new one after it.
    fn join(&mut self, member: Option<WorkspaceMember>, actions: &mut Actions<'_>) {
        let (Some(member), Some(id)) = (member, self.connection_id) else {
            return self.refuse(
                "membership",
                wire::UNAUTHORIZED,
                CLOSE_UNAUTHORIZED,
                "unauthorized",
                actions,
            );
        };
        let exchange = &self.shared.event_bus;
        let identity = Identity {
            user: Some(member.user.clone()),
        };
        let joins = [
            JoinRequest::new(workspace_topic(&member.workspace)).meta(&*member.user_json),
            JoinRequest::new(user_topic(member.user.as_str())),
        ];
        // An error means that the bus has ended the connection; the shard learns of that
        // separately.
        let _ = exchange.set_identity(id, Identity::default(), &[]);
        self.context.queue.push_reply(
            self.context.connection_slot,
            Frame::text(wire::AUTH_SUCCESS),
        );
        let _ = exchange.set_identity(id, identity, &joins);
        self.deadline_s = member
            .lifetime
            .as_ref()
            .map(|lifetime| lifetime.next_check_s(self.shared.clock.unix_s()));
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
fn send_in_order(text: &str, actions: &mut Actions<'_>) {
    actions.send_after_events(Frame::text(text));
}

impl ProtocolHandler for WorkspaceConnection {
    fn on_message(&mut self, message: ClientMessage<'_>, _: Timestamp, actions: &mut Actions<'_>) {
        match message {
            ClientMessage::Text(text) => self.on_text(text, actions),
            ClientMessage::Binary(_) => send_in_order(wire::INVALID_JSON, actions),
        }
    }

    fn on_async_result(&mut self, answer: AsyncResult, _: Timestamp, actions: &mut Actions<'_>) {
        let (Ok(verified), Some((auth, held))) = (
            answer.downcast::<VerificationResult>(),
            self.pending_auth.take(),
        ) else {
            return;
        };
        let is_valid = verified.is_ok();
        self.on_verified(&auth, *verified, actions);
        for text in held.into_iter().filter(|_| is_valid) {
            self.on_text(&text, actions);
        }
    }

    fn on_timer(&mut self, now: Timestamp, actions: &mut Actions<'_>) {
        if self
            .deadline_s
            .is_none_or(|deadline_s| now.unix_s < deadline_s)
            || self.pending_auth.is_some()
        {
            return;
        }
        self.deadline_s = None;
        let lifetime = self
            .member
            .as_ref()
            .and_then(|member| member.lifetime.as_ref());
        let (reason, text) = match lifetime.map(|lifetime| lifetime.ended(now.unix_s)) {
            None => ("auth_deadline", "unauthorized"),
            Some(Some(TokenEnd::Expired)) => ("token", "token expired; come back with a new one"),
            Some(Some(TokenEnd::Revoked)) => ("token", "token revoked; come back with a new one"),
            Some(None) => {
                let next = lifetime.map(|lifetime| lifetime.next_check_s(now.unix_s));
                self.deadline_s = next;
                return;
            }
        };
        self.refuse(
            reason,
            wire::UNAUTHORIZED,
            CLOSE_UNAUTHORIZED,
            text,
            actions,
        );
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
        send_in_order(wire::TOO_MANY_MESSAGES, actions);
    }
}

/// Ends all memberships: when this returns, no list contains the connection.
impl Drop for WorkspaceConnection {
    fn drop(&mut self) {
        if let Some(id) = self.connection_id {
            self.shared.event_bus.disconnect(id);
        }
        self.shared.metrics.connections.dec();
    }
}
