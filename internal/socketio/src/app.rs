//! The interface of an app that uses Socket.IO.

use std::any::Any;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::client_event::ClientEvent;
use crate::emit::Emit;
use crate::request_info::RequestInfo;
use crate::socket_actions::SocketActions;
use latido_event_bus::BusEvent;

/// The Socket.IO protocol of one app.
///
/// Several apps of one listener may share a namespace. A socket is then assigned to the app that
/// claims it, or to the app of its first event. Nothing is sent before that, and events of another
/// app get an `error`.
pub trait SocketIoApp: Send + Sync {
    /// Returns the app's namespaces, such as `/` or `/ws`.
    fn namespaces(&self) -> &'static [&'static str];

    /// Returns whether an event belongs to this app, so that the first event of a socket determines
    /// its app.
    fn handles_event(&self, event: &str) -> bool;

    /// Returns whether a socket belongs to this app by its request, before its first event.
    fn claims_socket(&self, _request: &RequestInfo) -> bool {
        false
    }

    /// Returns the names of the headers that the app reads, in lower case. A session keeps no
    /// others.
    fn kept_headers(&self) -> &'static [&'static str] {
        &[]
    }

    /// Returns whether clients of Engine.IO 3 (Socket.IO 2) may connect.
    fn allows_engineio_3(&self) -> bool {
        false
    }

    /// Returns the time in which its clients must answer a ping, if it is longer than the default.
    ///
    /// It applies to the whole listener, because the handshake announces it before the app of a
    /// socket is known.
    fn ping_timeout(&self) -> Option<Duration> {
        None
    }

    /// Handles a new socket, which must connect to the app's event bus with
    /// [`SocketActions::connect`]. Returns `None` if there is no capacity; the socket is then
    /// disconnected.
    fn on_connect(
        &self,
        socket: &ConnectRequest<'_>,
        actions: &mut SocketActions<'_>,
    ) -> Option<Box<dyn SocketHandler>>;

    /// Encodes an event of the bus for a namespace, one emit per item. Returns an empty list if the
    /// app does not expose the event. Every recipient in the namespace gets the same emits.
    fn encode(&self, namespace: &str, event: &BusEvent) -> Vec<Emit>;
}

/// A socket that connects to a namespace.
#[derive(Debug, Clone, Copy)]
pub struct ConnectRequest<'a> {
    /// The namespace of the socket.
    pub namespace: &'static str,
    /// The socket's id, as the client knows it.
    pub socket_id: &'a str,
    /// The data that the client connected with.
    pub auth: &'a Value,
    /// The request that opened the session.
    pub request: &'a RequestInfo,
}

/// The handler of one socket. It must neither block nor wait, and is dropped when the socket is
/// gone.
pub trait SocketHandler: Send {
    /// Handles an event from the client. Events arrive in the order in which they were sent.
    fn on_event(&mut self, event: ClientEvent, actions: &mut SocketActions<'_>);

    /// Handles the output of a future passed to [`SocketActions::spawn`] or
    /// [`SocketActions::wait_for`].
    fn on_async_result(&mut self, _output: Box<dyn Any + Send>, _actions: &mut SocketActions<'_>) {}

    /// Returns the time of the next [`SocketHandler::on_timer`] call, or `None`.
    fn next_timer(&self) -> Option<Instant> {
        None
    }

    /// Handles the timer that [`SocketHandler::next_timer`] set. The call may come early; then
    /// nothing is due.
    fn on_timer(&mut self, _actions: &mut SocketActions<'_>) {}
}
