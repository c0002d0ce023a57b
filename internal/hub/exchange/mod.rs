//! Event topics: who is connected, who is on which topic, what is said there.
//!
//! A state topic ([`crate::hub::Hub`]) has a newest frame, and nothing else matters. An event topic has a past: every member gets every
//! event, once and in order, or is ended as too slow. The two share no lock and no structure; who uses no event topics pays nothing.
//!
//! An exchange is one tenant's: names, users, audiences and the order never reach beyond it, so nothing can leak between two apps, and
//! neither waits for the other. A *connection* lives in tokio and has a [`Mailbox`], or on a shard and is reached through the shard's
//! [`Port`]. Who may join or publish is the app's matter; topics like «everybody of a role» are topics that the app joins for a
//! connection when it connects or is identified.
//!
//! **One lock**, because the order is the point: presence and messages on any topics come to any connection in the order in which they
//! happened, and a list of who is there fits between two events without a gap. A lock a topic could not give that to a union of topics.
//! It is held for look-ups and pushes, never across a system call: whoever is to be woken is woken when it is released. Below it are
//! the mailboxes' and ports' own locks, each held for one push or one pop, and nobody who holds one takes another.

mod batch;
mod event;
mod mailbox;
mod members;
mod order;
mod port;
mod presence;
mod ring;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ident::UserId;

pub use batch::{Backlog, Batch, Encode, TooSlow, Work};
pub use event::{Body, Dialect, Event, Message, Publish, TopicName};
pub use mailbox::{End, MAILBOX, Mailbox};
use members::Sink;
use order::{Order, Wakes};
pub use port::{Address, Delivery, PORT_BYTES, PORT_EVENTS, Port, Taken};
pub use presence::{Change, Counts, Diff, Entry, Presence, Present};
pub use ring::Since;

/// Topics that one connection may be on, those included that the app joins for it. Apps have lower limits for what clients ask.
pub const TOPICS: usize = 512;

/// A connection of an exchange. Never reused: one that is gone stays gone, whoever has its place now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    index: u32,
    generation: u32,
}

/// Who is behind a connection. Built by an authenticator; nothing in it is a client's own claim.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// None until somebody has identified; then it appears on no list.
    pub user: Option<UserId>,
    /// The device or session, where the system has such.
    pub session: Option<Arc<str>>,
    /// The role, where the system has roles.
    pub role: Option<Arc<str>>,
}

/// A topic to join, with what the list says of the connection there.
#[derive(Debug, Clone)]
pub struct Join {
    /// Which.
    pub topic: TopicName,
    /// JSON text, shown in lists; it means nothing where presence is off.
    pub meta: Arc<str>,
}

impl Join {
    /// Without a meta: an empty object.
    pub fn new(topic: TopicName) -> Self {
        Self {
            topic,
            meta: "{}".into(),
        }
    }

    /// With one.
    #[must_use]
    pub fn meta(mut self, meta: impl Into<Arc<str>>) -> Self {
        self.meta = meta.into();
        self
    }
}

/// What came of joining.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    /// Topics that the connection was not on before.
    pub new: usize,
    /// Events up to this number happened before; what comes behind it is delivered.
    pub seq: u64,
}

/// Why a connection could not join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// It has ended.
    #[error("the connection is gone")]
    Gone,
    /// It would be on more than [`TOPICS`]; it has joined none of the new ones.
    #[error("too many topics on one connection")]
    TooMany,
}

/// What came of publishing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The event's number.
    pub seq: u64,
    /// Connections that it is on its way to.
    pub reached: usize,
}

/// A shard does not take its events. Nothing of this one was delivered to anybody, nor noted: say 503, and publish again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a shard is too far behind; publish again later")]
pub struct Overloaded;

/// What an app says about its topics. It is asked under the exchange's lock: it answers from its arguments, at once, and never calls back.
pub trait Rules: Send + Sync {
    /// What a topic does about presence; asked when it opens.
    fn presence(&self, topic: &TopicName) -> Presence;

    /// What else is said when a listed topic's list changes: delivered right behind the change, before anything that happens later. A
    /// notice can't be refused, so each change should have few.
    fn notices(&self, topic: &TopicName, diff: &Diff) -> Vec<Publish>;
}

/// A topic as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSummary {
    /// Its name.
    pub name: TopicName,
    /// Who is there.
    pub counts: Counts,
    /// When it opened, microseconds since the Unix epoch.
    pub since_us: i64,
    /// When the last message came, or else when it opened; microseconds since the Unix epoch.
    pub active_us: i64,
}

/// A connection as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionSummary {
    /// Which.
    pub id: ConnId,
    /// Who.
    pub identity: Arc<Identity>,
    /// Where, in no particular order.
    pub topics: Vec<TopicName>,
    /// When it connected, microseconds since the Unix epoch.
    pub since_us: i64,
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Connections.
    pub connections: usize,
    /// Different users.
    pub users: usize,
    /// Topics with a member, or declared.
    pub topics: usize,
}

/// See the module's documentation.
pub struct Exchange {
    order: Mutex<Order>,
}

impl Exchange {
    /// An empty exchange. `now_us` tells microseconds since the Unix epoch.
    pub fn new(
        rules: impl Rules + 'static,
        now_us: impl Fn() -> i64 + Send + Sync + 'static,
    ) -> Self {
        Self {
            order: Mutex::new(Order::new(Box::new(rules), Box::new(now_us))),
        }
    }

    /// A connection that lives in tokio, on these topics from the start. It is gone when the mailbox is dropped.
    pub fn open(
        self: &Arc<Self>,
        identity: Identity,
        joins: &[Join],
    ) -> Result<Mailbox, JoinError> {
        let (id, letterbox) =
            self.change(|order, wakes| order.connect_mailbox(identity, joins, wakes))?;
        Ok(Mailbox::new(Arc::clone(self), id, letterbox))
    }

    /// A connection that lives on a shard, on these topics from the start. The shard calls [`Exchange::disconnect`] when it ends.
    pub fn attach(
        &self,
        port: &Port,
        dialect: Dialect,
        to: Address,
        identity: Identity,
        joins: &[Join],
    ) -> Result<ConnId, JoinError> {
        self.change(|order, wakes| {
            let lane = order.lane(port, dialect);
            order.connect(identity, Sink::Lane { lane, to }, joins, wakes)
        })
    }

    /// Puts a connection on topics, all or none. Those that it is on already stay as they are. On an announced topic the list of who is
    /// there is the first that it gets.
    pub fn join(&self, id: ConnId, joins: &[Join]) -> Result<Joined, JoinError> {
        self.change(|order, wakes| order.join(id, joins, wakes))
    }

    /// Takes a connection off a topic; whether it was there.
    pub fn leave(&self, id: ConnId, topic: &TopicName) -> bool {
        self.change(|order, wakes| order.leave(id, topic, wakes))
    }

    /// Says who a connection is from now on. It leaves every topic and joins these, at once: what an identity could see stays behind.
    pub fn identify(
        &self,
        id: ConnId,
        identity: Identity,
        joins: &[Join],
    ) -> Result<Joined, JoinError> {
        self.change(|order, wakes| order.identify(id, identity, joins, wakes))
    }

    /// Gives a connection's entry on a topic another meta; whether it has one there.
    pub fn update(&self, id: ConnId, topic: &TopicName, meta: impl Into<Arc<str>>) -> bool {
        let meta = meta.into();
        self.change(|order, wakes| order.update(id, topic, &meta, wakes))
    }

    /// A connection has ended by itself. Nothing of it is left when this returns. Repeating it is silent.
    pub fn disconnect(&self, id: ConnId) {
        self.change(|order, wakes| order.remove(id, None, wakes));
    }

    /// Ends a connection, and tells its owner why, behind what is queued for it; whether it was there.
    pub fn dismiss(&self, id: ConnId, why: &'static str) -> bool {
        self.change(|order, wakes| order.remove(id, Some(End::Dismissed(why)), wakes))
    }

    /// Gives an event to every member of its topics, each connection once. Never waits: who can't take it is ended.
    pub fn publish(&self, publish: Publish) -> Result<Published, Overloaded> {
        self.change(|order, wakes| order.publish(publish, wakes))
    }

    /// Makes a topic keep its last `ring` messages, and stay even when it is empty. For names of the app's own choice, never a client's.
    pub fn declare(&self, topic: &TopicName, ring: usize) {
        self.lock().declare(topic, ring);
    }

    /// At most `limit` of the messages that a declared topic keeps, newest first.
    pub fn recent(&self, topic: &TopicName, limit: usize) -> Vec<Arc<Event>> {
        let order = self.lock();
        let ring = order
            .members
            .named(topic)
            .and_then(|topic| topic.ring.as_ref());
        ring.map(|ring| ring.newest(limit)).unwrap_or_default()
    }

    /// The messages of a declared topic behind `seq`, as far as they are kept.
    pub fn since(&self, topic: &TopicName, seq: u64) -> Since {
        let order = self.lock();
        let ring = order
            .members
            .named(topic)
            .and_then(|topic| topic.ring.as_ref());
        ring.map_or(
            Since {
                events: Vec::new(),
                complete: false,
            },
            |ring| ring.since(seq),
        )
    }

    /// Who is on a topic, in the order of the users' ids.
    pub fn list(&self, topic: &TopicName) -> Vec<Present> {
        let order = self.lock();
        let roster = order
            .members
            .named(topic)
            .and_then(|topic| topic.roster.as_ref());
        roster.map(|roster| roster.list()).unwrap_or_default()
    }

    /// How many are on a topic.
    pub fn counts(&self, topic: &TopicName) -> Counts {
        self.lock()
            .members
            .named(topic)
            .map(members::Topic::counts)
            .unwrap_or_default()
    }

    /// A user's connections.
    pub fn connections_of(&self, user: &UserId) -> Vec<ConnId> {
        let order = self.lock();
        order
            .members
            .of_user(user)
            .iter()
            .map(|index| order.members.id(*index))
            .collect()
    }

    /// Every topic, in no particular order. For overviews: it copies all names.
    pub fn topics(&self) -> Vec<TopicSummary> {
        let summary = |topic: &members::Topic| TopicSummary {
            name: topic.name.clone(),
            counts: topic.counts(),
            since_us: topic.since_us,
            active_us: topic.active_us,
        };
        self.lock().members.topics().map(summary).collect()
    }

    /// Every connection, in no particular order. For overviews: it copies all of it.
    pub fn connections(&self) -> Vec<ConnectionSummary> {
        let order = self.lock();
        let name = |seat: &members::Seat| {
            order
                .members
                .topic(seat.topic)
                .map(|topic| topic.name.clone())
        };
        let summary = |(id, conn): (ConnId, &members::Conn)| ConnectionSummary {
            id,
            identity: Arc::clone(&conn.identity),
            topics: conn.seats.iter().filter_map(name).collect(),
            since_us: conn.since_us,
        };
        order.members.all().map(summary).collect()
    }

    /// How much there is.
    pub fn totals(&self) -> Totals {
        let (connections, users, topics) = self.lock().members.counts();
        Totals {
            connections,
            users,
            topics,
        }
    }

    /// Does something, lets go of whoever proved too slow by it, and wakes when the lock is released.
    fn change<R>(&self, act: impl FnOnce(&mut Order, &mut Wakes) -> R) -> R {
        let mut wakes = Wakes::default();
        let mut order = self.lock();
        let result = act(&mut order, &mut wakes);
        order.settle(&mut wakes);
        drop(order);
        wakes.fire();
        result
    }

    /// A panic elsewhere must not stop every topic: of what is called under this lock only the rules are not ours, and theirs are caught.
    fn lock(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "model_tests.rs"]
mod model;
