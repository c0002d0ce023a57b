//! The interface between a shard and the apps whose protocols it serves.
//!
//! An app implements [`ProtocolHandler`] once for its protocol. The shard owns the socket, the
//! limits and the queues, and calls the handler for each message. A handler never blocks: work that
//! must await runs through [`Actions::spawn`], and its result comes back as a call.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use latido_auth::Principal;
use latido_base::ident::UserId;
use latido_event_bus::{BusEvent, ConnectionSlot, EncodingId, EventQueue};
use latido_protocol::Frame;
use latido_session::SessionLimits;

/// The output of a future passed to [`Actions::spawn`].
pub type AsyncResult = Box<dyn Any + Send>;

/// A future passed to [`Actions::spawn`], with its output boxed.
pub(super) type HandlerFuture = BoxFuture<'static, AsyncResult>;

/// The protocol of one app connection.
///
/// It is called on the shard's thread, so it must neither block nor wait. The shard drops it when
/// the connection ends, for any reason; its destructor then calls `EventBus::disconnect`.
pub trait ProtocolHandler: Send {
    /// Reports that the connection is open. The call precedes every other one.
    fn on_open(&mut self, _now: Timestamp, _actions: &mut Actions<'_>) {}

    /// Handles a message from the client.
    fn on_message(&mut self, message: ClientMessage<'_>, now: Timestamp, actions: &mut Actions<'_>);

    /// Handles the output of a future passed to [`Actions::spawn`]. The outputs arrive in the order
    /// in which the futures completed.
    fn on_async_result(&mut self, result: AsyncResult, now: Timestamp, actions: &mut Actions<'_>);

    /// Handles a timer. The call may come before [`ProtocolHandler::next_timer`]; then nothing is
    /// due.
    fn on_timer(&mut self, _now: Timestamp, _actions: &mut Actions<'_>) {}

    /// Returns the time of the next [`ProtocolHandler::on_timer`] call in Unix seconds, or `None`
    /// if no timer is set. The shard reads it after every call of this handler.
    fn next_timer(&self) -> Option<i64> {
        None
    }

    /// Encodes an event of the app's bus.
    ///
    /// The frame is sent to every recipient with the same `EncodingId`, so it must not contain
    /// anything specific to this connection.
    fn encode(&self, event: &BusEvent) -> Frame;

    /// Encodes an event in one of the handler's encodings. Only a handler that uses several needs
    /// this function; the others have [`ProtocolHandler::encode`].
    fn encode_as(&self, event: &BusEvent, _encoding: EncodingId) -> Frame {
        self.encode(event)
    }

    /// Returns the user once the connection is authenticated, for administrators.
    fn user(&self) -> Option<&UserId>;

    /// Reports that the client exceeded its message rate. The shard drops its messages until the
    /// rate is within the limit again, and calls this once per run of dropped messages.
    fn on_rate_limited(&mut self, _actions: &mut Actions<'_>) {}

    /// Reports that the server stops. Frames sent here leave before the connection is closed with
    /// code 1012.
    fn on_shutdown(&mut self, _actions: &mut Actions<'_>) {}

    /// Reports that an event bus disconnected the connection, or one of several that the handler
    /// has on its buses. Returns `true` if the handler has dealt with it and the client stays
    /// connected. The actions must not use [`Actions::send_after_events`].
    fn on_kicked(&mut self, _reason: &'static str, _actions: &mut Actions<'_>) -> bool {
        false
    }

    /// Returns the code and the text of the close frame after the event bus disconnected the
    /// connection through `EventBus::kick`.
    fn close_reason(&self, reason: &'static str) -> (u16, &'static str) {
        (4403, reason)
    }
}

/// A complete message from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// A complete text message, valid UTF-8.
    Text(&'a str),
    /// A complete binary message, unmasked.
    Binary(&'a [u8]),
}

/// The time at which a handler is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    /// The wall-clock time in Unix seconds.
    pub unix_s: i64,
}

/// The destination of a handler's events, as `EventBus::connect_on_shard` expects it.
#[derive(Debug, Clone)]
pub struct HandlerContext {
    /// The queue between the shard and the app's event bus.
    pub queue: EventQueue,
    /// The slot of this connection on its shard.
    pub connection_slot: ConnectionSlot,
}

/// Creates the handler of a connection, on the thread of its shard.
pub type HandlerFactory = Box<dyn FnOnce(HandlerContext) -> Box<dyn ProtocolHandler> + Send>;

/// The specification of an app connection: its handler, limits and handshake.
pub struct HandlerSpec {
    /// The app's name. It is the label in metrics and logs, and identifies the event bus.
    pub app: &'static str,
    /// Creates the handler on the shard.
    pub factory: HandlerFactory,
    /// The connection's own limits, or `None` for the default limits. The shard sends no pings if
    /// the heartbeat is not shorter than the idle timeout.
    pub limits: Option<SessionLimits>,
    /// The verified principal. With it, the connection also speaks the native protocol.
    pub principal: Option<Arc<Principal>>,
    /// The subprotocol to confirm in the handshake, one of those that the client offered.
    pub subprotocol: Option<&'static str>,
}

impl HandlerSpec {
    /// Creates a specification with the default limits, without a subprotocol and without the
    /// native protocol.
    pub fn new(
        app: &'static str,
        factory: impl FnOnce(HandlerContext) -> Box<dyn ProtocolHandler> + Send + 'static,
    ) -> Self {
        Self {
            app,
            factory: Box::new(factory),
            limits: None,
            principal: None,
            subprotocol: None,
        }
    }

    /// Replaces the default limits.
    #[must_use]
    pub fn limits(mut self, limits: SessionLimits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Sets the subprotocol of the handshake response.
    #[must_use]
    pub fn subprotocol(mut self, subprotocol: Option<&'static str>) -> Self {
        self.subprotocol = subprotocol;
        self
    }
}

impl fmt::Debug for HandlerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerSpec")
            .field("app", &self.app)
            .finish_non_exhaustive()
    }
}

/// Attaches an app's handler to native connections on which the app's messages arrive.
pub trait InBandUpgrade: Send + Sync {
    /// Returns whether this message, which is invalid in the native protocol, belongs to the app.
    fn matches(&self, text: &str) -> bool;

    /// Returns the specification of the handler. The native session stays active and keeps its
    /// message size limit.
    fn upgrade(&self, principal: &Arc<Principal>) -> HandlerSpec;
}

/// One action that a handler requested.
#[derive(Debug)]
pub enum Action {
    /// The action of [`Actions::send`].
    Send(Frame),
    /// The action of [`Actions::send_after_events`].
    SendAfterEvents(Frame),
    /// The action of [`Actions::close`].
    Close(u16, &'static str),
    /// The action of [`Actions::wake_after`].
    WakeAfter(Duration),
    /// The action of [`Actions::limit_message_bytes`].
    LimitMessageBytes(u32),
    /// The action of [`Actions::attach_native_session`].
    AttachNativeSession(Arc<Principal>),
    /// The action of [`Actions::forward_native`].
    ForwardNative(String),
}

/// The actions that a handler requests. The shard applies them in order, as soon as the handler
/// returns.
pub struct Actions<'a> {
    actions: Vec<Action>,
    spawn: &'a mut dyn FnMut(HandlerFuture) -> bool,
}

impl<'a> Actions<'a> {
    /// Creates an empty list. `spawn` takes a future, and returns `false` if it cannot. For the
    /// shard, and for tests of handlers.
    pub fn new(spawn: &'a mut dyn FnMut(BoxFuture<'static, AsyncResult>) -> bool) -> Self {
        Self {
            actions: Vec::new(),
            spawn,
        }
    }

    /// Returns the requested actions in order.
    pub fn into_actions(self) -> Vec<Action> {
        self.actions
    }

    /// Sends a frame after everything that is queued for a slow client, and before any event
    /// published later.
    pub fn send(&mut self, frame: Frame) {
        self.actions.push(Action::Send(frame));
    }

    /// Sends a text frame, like [`Actions::send`].
    pub fn send_text(&mut self, text: &str) {
        self.send(Frame::text(text));
    }

    /// Sends a frame after every event published for this connection so far, delivered or not. Use
    /// it for a response after which no earlier event may arrive.
    pub fn send_after_events(&mut self, frame: Frame) {
        self.actions.push(Action::SendAfterEvents(frame));
    }

    /// Closes the connection after the frames already sent. The codes are those of RFC 6455 section
    /// 7.4.
    pub fn close(&mut self, code: u16, reason: &'static str) {
        self.actions.push(Action::Close(code, reason));
    }

    /// Calls [`ProtocolHandler::on_timer`] after this time, which may be less than a second. Each
    /// call adds one timer, so a handler should have at most one such timer at a time.
    pub fn wake_after(&mut self, delay: Duration) {
        self.actions.push(Action::WakeAfter(delay));
    }

    /// Changes the largest message that the client may send. A larger one closes the connection.
    pub fn limit_message_bytes(&mut self, bytes: u32) {
        self.actions.push(Action::LimitMessageBytes(bytes));
    }

    /// Attaches a native session for this principal.
    ///
    /// For another user than before, all subscriptions are cancelled; for the same user, only those
    /// that the new token does not grant.
    pub fn attach_native_session(&mut self, principal: Arc<Principal>) {
        self.actions.push(Action::AttachNativeSession(principal));
    }

    /// Forwards a message to the native session. It has no effect if the connection has none.
    pub fn forward_native(&mut self, text: impl Into<String>) {
        self.actions.push(Action::ForwardNative(text.into()));
    }

    /// Runs a future on the runtime. Its output comes back through
    /// [`ProtocolHandler::on_async_result`], unless the connection has ended by then. The future
    /// sets its own deadline.
    ///
    /// Returns `false` if too many are pending; report that to the client.
    #[must_use]
    pub fn spawn<T: Any + Send>(
        &mut self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> bool {
        (self.spawn)(Box::pin(
            future.map(|output| Box::new(output) as AsyncResult),
        ))
    }
}

impl fmt::Debug for Actions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actions")
            .field("actions", &self.actions.len())
            .finish_non_exhaustive()
    }
}
