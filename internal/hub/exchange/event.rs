//! What is said on event topics: a message or a change of presence, with its place in the order.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::hub::exchange::{ConnId, Diff, Present};
use crate::ident::{UserId, Version};
use crate::protocol::Frame;

/// The name of an event topic within its exchange.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Wraps a name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A wire protocol, as the hub knows it: a number that whoever wires the protocols gives out, each to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dialect(pub u16);

/// What somebody says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The event's name.
    pub name: Arc<str>,
    /// JSON text, passed on untouched.
    pub payload: Arc<str>,
    /// Orders it against a snapshot from elsewhere, where there is one.
    pub version: Option<Version>,
    /// Who says it, where that matters.
    pub from: Option<UserId>,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Body {
    /// Somebody published.
    Message(Message),
    /// Who is there: the first that a new member of an announced topic hears of it, and to nobody else.
    State(Vec<Present>),
    /// What changed in it since.
    Diff(Diff),
}

/// Shared by everybody who gets it.
pub struct Event {
    /// Its place in the exchange's order: strictly increasing over all topics, never reused.
    pub seq: u64,
    /// When, in microseconds since the Unix epoch; never less than that of the event before.
    pub at_us: i64,
    /// Where it was published, in the publisher's order. A dialect that puts one topic's name into its frames takes the first.
    pub topics: Box<[TopicName]>,
    /// What happened.
    pub body: Body,
    /// Few: as many as there are dialects among the audience. Locked by a shard's thread once a delivery, never by the publisher.
    frames: Mutex<Vec<(Dialect, Frame)>>,
}

impl Event {
    pub(super) fn new(seq: u64, at_us: i64, topics: Box<[TopicName]>, body: Body) -> Self {
        Self {
            seq,
            at_us,
            topics,
            body,
            frames: Mutex::default(),
        }
    }

    /// The event as a dialect writes it: encoded by whoever asks first, and shared from then on.
    pub fn frame(&self, dialect: Dialect, encode: impl FnOnce(&Self) -> Frame) -> Frame {
        let encoded = self.frame_if(dialect, |event| Some(encode(event)));
        encoded.unwrap_or_else(|| Frame::text(""))
    }

    /// The same where whoever asks may be unable to encode: then there is none, and the next one tries.
    pub fn frame_if(
        &self,
        dialect: Dialect,
        encode: impl FnOnce(&Self) -> Option<Frame>,
    ) -> Option<Frame> {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, frame)) = frames.iter().find(|(known, _)| *known == dialect) {
            return Some(frame.clone());
        }
        let frame = encode(self)?;
        frames.push((dialect, frame.clone()));
        Some(frame)
    }

    /// The message, if it is one.
    pub fn message(&self) -> Option<&Message> {
        match &self.body {
            Body::Message(message) => Some(message),
            Body::State(_) | Body::Diff(_) => None,
        }
    }
}

/// Without the payload: that is somebody's, and no log's.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("seq", &self.seq)
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

/// A message with its audience: the union of the topics' members, less the exceptions.
#[derive(Debug, Clone)]
pub struct Publish {
    pub(super) topics: Vec<TopicName>,
    pub(super) except_connection: Option<ConnId>,
    pub(super) except_user: Option<UserId>,
    pub(super) message: Message,
}

impl Publish {
    /// `payload` is JSON text.
    pub fn new(
        topics: impl IntoIterator<Item = TopicName>,
        name: impl Into<Arc<str>>,
        payload: impl Into<Arc<str>>,
    ) -> Self {
        let message = Message {
            name: name.into(),
            payload: payload.into(),
            version: None,
            from: None,
        };
        Self {
            topics: topics.into_iter().collect(),
            except_connection: None,
            except_user: None,
            message,
        }
    }

    /// To everybody but this connection.
    #[must_use]
    pub fn except_connection(mut self, id: ConnId) -> Self {
        self.except_connection = Some(id);
        self
    }

    /// To everybody but this user, on whatever connection.
    #[must_use]
    pub fn except_user(mut self, user: UserId) -> Self {
        self.except_user = Some(user);
        self
    }

    /// With a version.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.message.version = Some(version);
        self
    }

    /// With its author.
    #[must_use]
    pub fn from(mut self, user: UserId) -> Self {
        self.message.from = Some(user);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_encoded_once_a_dialect() {
        let event = Event::new(1, 0, Box::default(), Body::State(Vec::new()));
        let mut count = 0;
        for dialect in [0, 1, 0, 1, 1].map(Dialect) {
            let frame = event.frame(dialect, |_| {
                count += 1;
                Frame::text(&format!("{}", dialect.0))
            });
            assert_eq!(frame.payload(), dialect.0.to_string());
        }
        assert_eq!(count, 2);
    }
}
