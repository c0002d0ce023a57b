//! The interface of an app that uses Socket.IO.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::time::Instant;

use crate::args::Args;
use crate::emit::Emit;
use crate::socket_handle::{Ack, SocketHandle};
use latido_event_bus::{BusEvent, Mailbox};

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

    /// Returns whether a socket belongs to this app by its headers, before its first event.
    fn claims_socket(&self, _socket: &SocketHandle) -> bool {
        false
    }

    /// Returns the time in which its clients must answer a ping, if it is longer than the default.
    ///
    /// It applies to the whole listener, because the handshake announces it before the app of a
    /// socket is known.
    fn ping_timeout(&self) -> Option<Duration> {
        None
    }

    /// Handles a new socket; `auth` is the data that the client connected with. Returns `None` if
    /// there is no capacity; the socket is then disconnected.
    fn on_connect(
        &self,
        socket: &SocketHandle,
        auth: Value,
    ) -> Option<(Box<dyn SocketHandler>, Mailbox)>;

    /// Encodes an event of the bus for a namespace, one emit per item. Returns an empty list if the
    /// app does not expose the event.
    fn encode(&self, namespace: &str, event: &BusEvent) -> Vec<Emit>;
}

/// The handler of one socket. It is dropped when the socket is gone, even during an `.await`.
pub trait SocketHandler: Send {
    /// Handles an event from the client.
    ///
    /// The next event waits until this one is done; events of the bus do not wait. The future may
    /// be dropped at any `.await`, so state changes that belong together must not span one.
    fn on_event<'a>(&'a mut self, event: ClientEvent) -> BoxFuture<'a, ()>;

    /// Returns the time of the next [`SocketHandler::on_timer`] call, or `None`.
    fn next_timer(&self) -> Option<Instant> {
        None
    }

    /// Handles the timer that [`SocketHandler::next_timer`] set.
    fn on_timer(&mut self) {}
}

/// An event from a client.
#[derive(Debug)]
pub struct ClientEvent {
    /// The name of the event.
    pub name: String,
    /// The arguments of the event.
    pub args: Args,
    /// The acknowledgement to send once, if the client requested it.
    pub ack: Option<Ack>,
}
