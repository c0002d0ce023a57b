//! What an app says on Socket.IO.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::time::Instant;

use crate::hub::exchange::{Event, Mailbox};
use crate::socketio::{Ack, Args, Link};

/// One app's Socket.IO. Apps of one listener may share a namespace: then a socket is locked to the app that claims it, or that owns its first
/// event; nothing is said before, and events of another app's are answered with `error`.
pub trait Dialect: Send + Sync {
    /// The namespaces that it answers: `/`, `/ws`.
    fn namespaces(&self) -> &'static [&'static str];

    /// Whether an event is one of this app's, so that a socket's first event tells whose it is.
    fn owns(&self, event: &str) -> bool;

    /// Whether a socket is this app's before it says anything, because of its headers.
    fn claims(&self, _link: &Link) -> bool {
        false
    }

    /// How long its clients may take to answer a ping, where that is longer than the others'. It counts for all of the listener, since the
    /// handshake that says so comes before anybody knows whose a socket is.
    fn ping_timeout(&self) -> Option<Duration> {
        None
    }

    /// A socket is there. `auth` is what the client gave with its connection. None: there is no place for it, and it is disconnected.
    fn connect(&self, link: &Link, auth: Value) -> Option<(Box<dyn Talk>, Mailbox)>;

    /// How an event of the exchange is written on a namespace: each of these is one emit. Nothing: this dialect has no word for it.
    fn write(&self, namespace: &str, event: &Event) -> Vec<Emit>;
}

/// One socket's conversation. Dropped when the socket is gone, like whatever it is just waiting for.
pub trait Talk: Send {
    /// The client says something. The next message waits until this is done; events of the exchange do not. It may be dropped at any
    /// `.await`, so what must hold is done between them.
    fn hear<'a>(&'a mut self, heard: Heard) -> BoxFuture<'a, ()>;

    /// When [`Talk::on_time`] wants to be called.
    fn next_time(&self) -> Option<Instant> {
        None
    }

    /// That time has come.
    fn on_time(&mut self) {}
}

/// A message of a client.
#[derive(Debug)]
pub struct Heard {
    /// The event's name.
    pub event: String,
    /// Its arguments.
    pub args: Args,
    /// To be sent once, if the client asked for it.
    pub ack: Option<Ack>,
}

/// An event with one argument, on its way to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emit {
    /// The event's name.
    pub name: Arc<str>,
    /// JSON text.
    pub payload: Arc<str>,
}

impl Emit {
    /// `payload` is JSON text.
    pub fn new(name: impl Into<Arc<str>>, payload: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            payload: payload.into(),
        }
    }
}
