//! A connection that speaks another dialect than ours, as its shard sees it.
//!
//! An app implements [`Guest`] once for its dialect; the shard owns the socket, the limits and the queues, and calls it for what was
//! heard. Nothing here waits: what must be awaited is asked with [`Acts::ask`], and the answer comes back as a call.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::auth::Principal;
use crate::hub::exchange::{Address, Event, Port};
use crate::ident::UserId;
use crate::protocol::Frame;
use crate::session::Limits;

/// What a future of [`Acts::ask`] gave.
pub type Answered = Box<dyn Any + Send>;

/// The same, still to come.
pub(super) type Asking = BoxFuture<'static, Answered>;

/// One connection's dialect. Called on the shard's thread: it never blocks and never waits. Dropped when the connection ends, whoever ended
/// it: then it calls [`disconnect`](crate::hub::exchange::Exchange::disconnect).
pub trait Guest: Send {
    /// The client said something.
    fn hear(&mut self, heard: Heard<'_>, now: Now, acts: &mut Acts<'_>);

    /// What a future of [`Acts::ask`] gave, in the order in which they ended.
    fn answered(&mut self, answer: Answered, now: Now, acts: &mut Acts<'_>);

    /// The clock has reached [`Guest::next_time`]; or it has not, and nothing is due.
    fn on_time(&mut self, _now: Now, _acts: &mut Acts<'_>) {}

    /// When [`Guest::on_time`] should be called, Unix seconds; looked at after every call of this guest. None: never.
    fn next_time(&self) -> Option<i64> {
        None
    }

    /// Writes an event of its exchange. The frame goes to every addressee of the same [`Dialect`](crate::hub::exchange::Dialect), so
    /// nothing of this one connection may be in it.
    fn encode(&self, event: &Event) -> Frame;

    /// Who is there, once that is known; for operators.
    fn user(&self) -> Option<&UserId>;

    /// The client has sent too much, and what it sends is thrown away until the rate is within its limits: called once for a row of them.
    fn flooded(&mut self, _acts: &mut Acts<'_>) {}

    /// The server stops: the connection is closed with 1012 behind what is said here.
    fn leaving(&mut self, _acts: &mut Acts<'_>) {}

    /// The code and the text of the close frame when the exchange [dismissed](crate::hub::exchange::Exchange::dismiss) the connection.
    fn farewell(&self, why: &'static str) -> (u16, &'static str) {
        (4403, why)
    }
}

/// What a client said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A text message, whole.
    Text(&'a str),
    /// A binary message, whole.
    Binary(&'a [u8]),
}

/// The time of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Unix seconds.
    pub unix_s: i64,
}

/// Where a guest's events go: what [`attach`](crate::hub::exchange::Exchange::attach) wants.
#[derive(Debug, Clone)]
pub struct Berth {
    /// Its shard's, for its exchange.
    pub port: Port,
    /// Its own place.
    pub address: Address,
}

/// Makes a guest, on the thread of its shard.
pub type MakeGuest = Box<dyn FnOnce(Berth) -> Box<dyn Guest> + Send>;

/// A connection that becomes a guest.
pub struct Boarding {
    /// The app's name: the label for operators, and one exchange for each name.
    pub tenant: &'static str,
    /// Makes the guest.
    pub make: MakeGuest,
    /// Its limits; None: those of every client. A heartbeat as long as the silence or longer: no pings of ours.
    pub limits: Option<Limits>,
    /// Who a token says is there: with it, the connection speaks the native dialect as well.
    pub principal: Option<Arc<Principal>>,
    /// The subprotocol to answer with, of those that were offered.
    pub subprotocol: Option<&'static str>,
}

impl Boarding {
    /// With every client's limits, no subprotocol, and no native dialect.
    pub fn new(
        tenant: &'static str,
        make: impl FnOnce(Berth) -> Box<dyn Guest> + Send + 'static,
    ) -> Self {
        Self {
            tenant,
            make: Box::new(make),
            limits: None,
            principal: None,
            subprotocol: None,
        }
    }

    /// With limits of its own.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// With a subprotocol.
    #[must_use]
    pub fn subprotocol(mut self, subprotocol: Option<&'static str>) -> Self {
        self.subprotocol = subprotocol;
        self
    }
}

impl fmt::Debug for Boarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Boarding")
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

/// Makes guests of clients of the native dialect that turn out to speak an app's as well.
pub trait Interpreter: Send + Sync {
    /// Whether this message, which means nothing in the native dialect, is the app's.
    fn knows(&self, text: &str) -> bool;

    /// The guest. The client goes on with the native dialect as it was, and keeps its message size.
    fn board(&self, principal: &Arc<Principal>) -> Boarding;
}

/// One thing that a guest wants done.
#[derive(Debug)]
pub enum Act {
    /// See [`Acts::send`].
    Send(Frame),
    /// See [`Acts::send_behind`].
    Behind(Frame),
    /// See [`Acts::close`].
    Close(u16, &'static str),
    /// See [`Acts::enter`].
    Enter(Arc<Principal>),
    /// See [`Acts::native`].
    Native(String),
}

/// What a guest wants done, in order, as soon as its call returns.
pub struct Acts<'a> {
    acts: Vec<Act>,
    ask: &'a mut dyn FnMut(Asking) -> bool,
}

impl<'a> Acts<'a> {
    /// `ask` takes a future, or says that it can't. For the shard, and for tests of guests.
    pub fn new(ask: &'a mut dyn FnMut(BoxFuture<'static, Answered>) -> bool) -> Self {
        Self {
            acts: Vec::new(),
            ask,
        }
    }

    /// What is to be done.
    pub fn into_acts(self) -> Vec<Act> {
        self.acts
    }

    /// Sends a frame: behind all that was queued for a slow client, and before any event that is published later.
    pub fn send(&mut self, frame: Frame) {
        self.acts.push(Act::Send(frame));
    }

    /// The same for a text.
    pub fn say(&mut self, text: &str) {
        self.send(Frame::text(text));
    }

    /// Sends a frame behind every event that was published for this connection so far, delivered or not: an answer after which nothing
    /// from before may come.
    pub fn send_behind(&mut self, frame: Frame) {
        self.acts.push(Act::Behind(frame));
    }

    /// Closes the connection, behind what was sent. Codes: RFC 6455 §7.4.
    pub fn close(&mut self, code: u16, reason: &'static str) {
        self.acts.push(Act::Close(code, reason));
    }

    /// From now on the connection speaks the native dialect too, as this principal. Subscriptions of somebody else's are given up; of
    /// one's own, those that the new token does not grant.
    pub fn enter(&mut self, principal: Arc<Principal>) {
        self.acts.push(Act::Enter(principal));
    }

    /// Gives a message to the native dialect. Nothing happens unless the connection speaks it.
    pub fn native(&mut self, text: impl Into<String>) {
        self.acts.push(Act::Native(text.into()));
    }

    /// Runs a future on the runtime; what it gives comes back through [`Guest::answered`], unless the connection has ended. It sets its
    /// own deadline. `false`: too many are under way; say so to the client.
    #[must_use]
    pub fn ask<T: Any + Send>(&mut self, future: impl Future<Output = T> + Send + 'static) -> bool {
        (self.ask)(Box::pin(future.map(|answer| Box::new(answer) as Answered)))
    }
}

impl fmt::Debug for Acts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acts")
            .field("acts", &self.acts.len())
            .finish_non_exhaustive()
    }
}
