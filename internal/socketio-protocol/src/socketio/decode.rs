//! The text of a packet: `<type>[<attachments>-][<namespace>,][<id>][<JSON>]`.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::arguments::{Arguments, JSON_SPACE};
use super::packet::{Event, PacketContent, SocketPacket};

/// The greatest id of an event. JavaScript has no exact integers above it.
pub(super) const MAX_ID: u64 = (1 << 53) - 1;

/// The names of local events of the reference library, which no peer may send.
const RESERVED_EVENTS: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

/// The reason why a message is not a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The type is missing or unknown.
    #[error("an unknown packet type")]
    UnknownType,
    /// The number of attachments is missing or invalid.
    #[error("an invalid number of attachments")]
    Attachments,
    /// A packet has more attachments than the limit.
    #[error("too many attachments")]
    TooManyAttachments,
    /// A packet and its attachments have more bytes than the limit.
    #[error("attachments that are too long")]
    TooManyBytes,
    /// The id is greater than JavaScript's exact integers.
    #[error("an id that is too great")]
    Id,
    /// The payload is missing, is not valid JSON, or has the wrong type for the packet.
    #[error("an invalid payload")]
    Payload,
    /// The event has a reserved name.
    #[error("a reserved event name")]
    ReservedEvent,
    /// A text arrived while attachments were expected.
    #[error("a text between attachments")]
    UnexpectedText,
    /// Bytes arrived while no attachment was expected.
    #[error("bytes that no packet expects")]
    UnexpectedBinary,
    /// A placeholder refers to no attachment.
    #[error("a placeholder without an attachment")]
    Placeholder,
}

/// Reads a packet from the text of a message. It may announce attachments, for which
/// [`Assembler`](super::Assembler) waits.
///
/// # Errors
/// Returns an error if the text is not a packet. Socket.IO then closes the connection.
pub fn decode(text: &str) -> Result<SocketPacket<'_>, DecodeError> {
    let kind = *text.as_bytes().first().ok_or(DecodeError::UnknownType)?;
    if !(b'0'..=b'6').contains(&kind) {
        return Err(DecodeError::UnknownType);
    }
    let rest = text.get(1..).ok_or(DecodeError::UnknownType)?;
    let (attachments, rest) = match kind {
        b'5' | b'6' => split_attachments(rest)?,
        _ => (0, rest),
    };
    let (namespace, rest) = split_path(rest);
    let (id, json) = split_id(rest)?;
    let content = match kind {
        b'0' => PacketContent::Connect {
            payload: optional_payload(json, &['{'])?,
        },
        b'1' if json.is_empty() => PacketContent::Disconnect,
        b'1' => return Err(DecodeError::Payload),
        b'2' | b'5' => PacketContent::Event(event(id, json, attachments)?),
        b'3' | b'6' => PacketContent::Ack {
            id,
            args: acknowledged_arguments(json)?,
            attachments,
        },
        _ => PacketContent::ConnectError {
            payload: optional_payload(json, &['{', '"'])?,
        },
    };
    Ok(SocketPacket { namespace, content })
}

fn split_attachments(text: &str) -> Result<(usize, &str), DecodeError> {
    let (digits, rest) = text.split_once('-').ok_or(DecodeError::Attachments)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DecodeError::Attachments);
    }
    // A number with more digits than usize has is above any limit.
    Ok((digits.parse().unwrap_or(usize::MAX), rest))
}

/// Splits the namespace from the start of a text. Without a comma, it is the whole text.
fn split_path(text: &str) -> (&str, &str) {
    if text.starts_with('/') {
        text.split_once(',').unwrap_or((text, ""))
    } else {
        ("/", text)
    }
}

fn split_id(text: &str) -> Result<(Option<u64>, &str), DecodeError> {
    let end = text
        .bytes()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, json) = text.split_at(end);
    if digits.is_empty() {
        return Ok((None, json));
    }
    match digits.parse() {
        Ok(id) if id <= MAX_ID => Ok((Some(id), json)),
        _ => Err(DecodeError::Id),
    }
}

/// Checks a payload that may be absent and whose JSON starts with one of these characters.
fn optional_payload<'a>(json: &'a str, starts: &[char]) -> Result<Option<&'a str>, DecodeError> {
    if json.is_empty() {
        return Ok(None);
    }
    let payload = serde_json::from_str::<&RawValue>(json).map_err(|_| DecodeError::Payload)?;
    let payload = payload.get();
    payload
        .starts_with(starts)
        .then_some(Some(payload))
        .ok_or(DecodeError::Payload)
}

fn event(id: Option<u64>, json: &str, attachments: usize) -> Result<Event<'_>, DecodeError> {
    let (first, elements) = split_array(json)?;
    let first = first.ok_or(DecodeError::Payload)?;
    let name = event_name(first)?;
    if RESERVED_EVENTS.contains(&&*name) {
        return Err(DecodeError::ReservedEvent);
    }
    let args = elements.strip_prefix(first).ok_or(DecodeError::Payload)?;
    let args = args.trim_start_matches(JSON_SPACE);
    let args = args.strip_prefix(',').unwrap_or(args);
    Ok(Event {
        id,
        name,
        args: Arguments::new(args.trim_start_matches(JSON_SPACE)),
        attachments,
    })
}

/// Reads the name of an event from its JSON text: a string or a number.
fn event_name(json: &str) -> Result<Cow<'_, str>, DecodeError> {
    let quoted = json
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    match quoted {
        Some(name) if !name.contains('\\') => Ok(Cow::Borrowed(name)),
        Some(_) => serde_json::from_str(json)
            .map(Cow::Owned)
            .map_err(|_| DecodeError::Payload),
        None if json.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
            Ok(Cow::Borrowed(json))
        }
        None => Err(DecodeError::Payload),
    }
}

/// Reads the arguments of an acknowledgement. Like the reference parser, it accepts none at all.
fn acknowledged_arguments(json: &str) -> Result<Arguments<'_>, DecodeError> {
    if json.is_empty() {
        return Ok(Arguments::default());
    }
    split_array(json).map(|(_, elements)| Arguments::new(elements))
}

/// Checks that a text is a JSON array, and returns its first element and the text between its
/// brackets.
fn split_array(json: &str) -> Result<(Option<&str>, &str), DecodeError> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let first = deserializer
        .deserialize_seq(FirstElement)
        .map_err(|_| DecodeError::Payload)?;
    deserializer.end().map_err(|_| DecodeError::Payload)?;
    let elements = json
        .trim_matches(JSON_SPACE)
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .ok_or(DecodeError::Payload)?;
    Ok((first.map(RawValue::get), elements.trim_matches(JSON_SPACE)))
}

/// Checks an array and returns its first element.
struct FirstElement;

impl<'de> Visitor<'de> for FirstElement {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let first = elements.next_element()?;
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first)
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
