//! The events of event topics: a message or a change of presence, with its position in the order.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::{PresenceDiff, PresentUser};
use latido_base::ident::UserId;
use latido_protocol::Frame;

/// The name of an event topic on its bus.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Wraps the name of a topic.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a wire encoding. The wiring code assigns a distinct number to each protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EncodingId(pub u16);

/// A message that an app publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventMessage {
    /// The event name on the wire.
    pub name: Arc<str>,
    /// The payload as JSON text, delivered unchanged.
    pub payload: Arc<str>,
    /// The user who sent the message, if that matters.
    pub sender: Option<UserId>,
}

/// The content of an event.
#[derive(Debug, Clone)]
pub enum EventBody {
    /// A message that was published.
    Message(EventMessage),
    /// The presence list of an announced topic. Only a new member gets it, as its first event
    /// there.
    PresenceList(Vec<PresentUser>),
    /// A change of the presence list.
    PresenceDiff(PresenceDiff),
}

/// An event, shared by all its recipients.
pub struct BusEvent {
    /// The sequence number on the bus: strictly increasing over all topics and never reused.
    pub seq: u64,
    /// The time in microseconds since the Unix epoch, never less than that of the event before.
    pub at_us: i64,
    /// The topics, in the publisher's order. An encoding that names only one topic uses the first.
    pub topics: Box<[TopicName]>,
    /// The content: a message, or a presence list or change.
    pub body: EventBody,
    /// The encoded frames, at most one per encoding. A shard's thread locks them once per delivery;
    /// the publisher never does.
    frames: Mutex<Vec<(EncodingId, Frame)>>,
}

impl BusEvent {
    pub(super) fn new(seq: u64, at_us: i64, topics: Box<[TopicName]>, body: EventBody) -> Self {
        Self {
            seq,
            at_us,
            topics,
            body,
            frames: Mutex::default(),
        }
    }

    /// Returns the event in an encoding. The first call encodes it, and later calls share the
    /// frame.
    pub fn encoded_frame(
        &self,
        encoding: EncodingId,
        encode: impl FnOnce(&Self) -> Frame,
    ) -> Frame {
        let encoded = self.try_encoded_frame(encoding, |event| Some(encode(event)));
        encoded.unwrap_or_else(|| Frame::text(""))
    }

    /// Fallible variant of [`BusEvent::encoded_frame`]. Returns `None` if `encode` cannot encode
    /// the event; the next call tries again.
    pub fn try_encoded_frame(
        &self,
        encoding: EncodingId,
        encode: impl FnOnce(&Self) -> Option<Frame>,
    ) -> Option<Frame> {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, frame)) = frames.iter().find(|(known, _)| *known == encoding) {
            return Some(frame.clone());
        }
        let frame = encode(self)?;
        frames.push((encoding, frame.clone()));
        Some(frame)
    }

    /// Returns the message, or `None` for a presence event.
    pub fn message(&self) -> Option<&EventMessage> {
        match &self.body {
            EventBody::Message(message) => Some(message),
            EventBody::PresenceList(_) | EventBody::PresenceDiff(_) => None,
        }
    }
}

/// Omits the payload, because it is private data and must not reach a log.
impl fmt::Debug for BusEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusEvent")
            .field("seq", &self.seq)
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_is_encoded_once_per_encoding() {
        let event = BusEvent::new(1, 0, Box::default(), EventBody::PresenceList(Vec::new()));
        let mut count = 0;
        for encoding in [0, 1, 0, 1, 1].map(EncodingId) {
            let frame = event.encoded_frame(encoding, |_| {
                count += 1;
                Frame::text(&format!("{}", encoding.0))
            });
            assert_eq!(frame.payload(), encoding.0.to_string());
        }
        assert_eq!(count, 2);
    }
}
