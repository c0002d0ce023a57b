//! Phoenix Channels: V2 arrays, V1 objects, and the binary frames of V2.
//!
//! A reference belongs to the client. It is kept as the JSON text that was received and is echoed
//! unchanged, so a client that counts in numbers gets numbers.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The maximum length of a reference, topic or event, in bytes. Binary frames store these lengths
/// in one byte.
pub const MAX_NAME_BYTES: usize = 255;

/// The serializer version of the frames, which the client requests when it connects (`vsn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SerializerVersion {
    /// Version 1: frames are objects. It also applies without a `vsn`.
    #[default]
    V1,
    /// Version 2: frames are arrays.
    V2,
}

impl SerializerVersion {
    /// Parses a client's `vsn`. Returns `None` for an unsupported version.
    pub fn parse(vsn: Option<&str>) -> Option<Self> {
        match vsn.map(|vsn| vsn.split('.').next().unwrap_or_default()) {
            None | Some("1") => Some(Self::V1),
            Some("2") => Some(Self::V2),
            Some(_) => None,
        }
    }
}

/// A client's reference as JSON text, such as `"3"` or `3`. A JSON `null` is no reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference(Box<str>);

impl Reference {
    /// Parses a reference from its JSON text.
    fn new(raw: &RawValue) -> Result<Option<Self>, PhoenixDecodeError> {
        let text = raw.get();
        let scalar = text.starts_with('"') || text.starts_with(|c: char| c.is_ascii_digit());
        match text {
            "null" => Ok(None),
            _ if scalar && text.len() <= MAX_NAME_BYTES => Ok(Some(Self(text.into()))),
            _ => Err(PhoenixDecodeError(
                "a reference must be a short string or a number",
            )),
        }
    }

    /// Parses a reference of a binary frame, which has no quotes.
    fn from_binary(bytes: &[u8]) -> Result<Option<Self>, PhoenixDecodeError> {
        Ok((!bytes.is_empty()).then_some(Self(Value::from(text(bytes)?).to_string().into())))
    }

    /// Returns the reference as it appears in a frame.
    pub fn json(&self) -> &str {
        &self.0
    }
}

/// The payload of a push.
#[derive(Debug, Clone, PartialEq)]
pub enum PushPayload {
    /// Any JSON value, nearly always an object.
    Json(Value),
    /// The payload bytes of a binary frame.
    Binary(Box<[u8]>),
}

/// One message from a client.
#[derive(Debug, Clone, PartialEq)]
pub struct Push {
    /// The reference of the join that the message belongs to. It is absent in V1.
    pub join_ref: Option<Reference>,
    /// The reference that a reply must repeat.
    pub reference: Option<Reference>,
    /// The name of the channel.
    pub topic: Box<str>,
    /// The name of the requested event.
    pub event: Box<str>,
    /// The data of the event.
    pub payload: PushPayload,
}

/// The reason why a frame is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PhoenixDecodeError(&'static str);

const EXPECTED_SHAPE: PhoenixDecodeError =
    PhoenixDecodeError("expected [join_ref, ref, topic, event, payload], or an object of those");

#[derive(Deserialize)]
struct PushObject<'a> {
    #[serde(borrow, default)]
    join_ref: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "ref")]
    reference: Option<&'a RawValue>,
    topic: Box<str>,
    event: Box<str>,
    payload: Value,
}

type PushArray<'a> = (&'a RawValue, &'a RawValue, Box<str>, Box<str>, Value);

/// Decodes a text frame.
///
/// # Errors
/// Returns an error if the frame does not have the shape of this version.
pub fn decode(vsn: SerializerVersion, frame: &str) -> Result<Push, PhoenixDecodeError> {
    let frame = frame.trim_start();
    let (join_ref, reference, topic, event, payload) = match vsn {
        SerializerVersion::V2 => {
            let (join_ref, reference, topic, event, payload): PushArray<'_> =
                serde_json::from_str(frame).map_err(|_| EXPECTED_SHAPE)?;
            (Some(join_ref), Some(reference), topic, event, payload)
        }
        // Serde would also accept an array for a struct.
        SerializerVersion::V1 if !frame.starts_with('{') => return Err(EXPECTED_SHAPE),
        SerializerVersion::V1 => {
            let object: PushObject<'_> = serde_json::from_str(frame).map_err(|_| EXPECTED_SHAPE)?;
            (
                object.join_ref,
                object.reference,
                object.topic,
                object.event,
                object.payload,
            )
        }
    };
    if topic.len() > MAX_NAME_BYTES || event.len() > MAX_NAME_BYTES {
        return Err(PhoenixDecodeError(
            "a topic or event of more than 255 bytes",
        ));
    }
    let reference_of = |raw: Option<&RawValue>| raw.map_or(Ok(None), Reference::new);
    Ok(Push {
        join_ref: reference_of(join_ref)?,
        reference: reference_of(reference)?,
        topic,
        event,
        payload: PushPayload::Json(payload),
    })
}

/// Decodes a binary frame: a push of V2, kind 0.
///
/// # Errors
/// Returns an error if the frame is cut off, is of another kind, or contains a name that is not
/// UTF-8.
pub fn decode_binary(frame: &[u8]) -> Result<Push, PhoenixDecodeError> {
    let [0, join_ref, reference, topic, event, rest @ ..] = frame else {
        return Err(PhoenixDecodeError(
            "expected a binary push of serializer version 2",
        ));
    };
    let mut rest = rest;
    let mut take = |bytes: &u8| {
        let (name, remaining) = rest
            .split_at_checked(usize::from(*bytes))
            .ok_or(PhoenixDecodeError("a binary push that is cut off"))?;
        rest = remaining;
        Ok(name)
    };
    let (join_ref, reference, topic, event) = (
        take(join_ref)?,
        take(reference)?,
        take(topic)?,
        take(event)?,
    );
    Ok(Push {
        join_ref: Reference::from_binary(join_ref)?,
        reference: Reference::from_binary(reference)?,
        topic: text(topic)?.into(),
        event: text(event)?.into(),
        payload: PushPayload::Binary(rest.into()),
    })
}

fn text(bytes: &[u8]) -> Result<&str, PhoenixDecodeError> {
    std::str::from_utf8(bytes).map_err(|_| PhoenixDecodeError("a name that is not UTF-8"))
}

/// The status of a reply to a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyStatus {
    /// The push succeeded, with the data in the response.
    Ok,
    /// The push failed; the response contains the reason.
    Error,
}

/// Encodes the reply to a push. `response` must be JSON text.
pub fn encode_reply(
    vsn: SerializerVersion,
    push: &Push,
    status: ReplyStatus,
    response: &str,
) -> String {
    let status = if status == ReplyStatus::Ok {
        "ok"
    } else {
        "error"
    };
    let payload = format!(r#"{{"status":"{status}","response":{response}}}"#);
    encode_message(
        vsn,
        push.join_ref.as_ref(),
        push.reference.as_ref(),
        &push.topic,
        "phx_reply",
        &payload,
    )
}

/// Encodes a message to one client. `payload` must be JSON text.
pub fn encode_message(
    vsn: SerializerVersion,
    join_ref: Option<&Reference>,
    reference: Option<&Reference>,
    topic: &str,
    event: &str,
    payload: &str,
) -> String {
    let json = |reference: Option<&Reference>| {
        reference.map_or("null".to_owned(), |reference| reference.json().to_owned())
    };
    let (topic, event) = (Value::from(topic), Value::from(event));
    match vsn {
        SerializerVersion::V2 => format!(
            "[{},{},{topic},{event},{payload}]",
            json(join_ref),
            json(reference)
        ),
        // V1 has no join reference: its clients have one channel per topic and cannot compare
        // references.
        SerializerVersion::V1 => format!(
            r#"{{"topic":{topic},"event":{event},"payload":{payload},"ref":{}}}"#,
            json(reference)
        ),
    }
}

/// Encodes a message to all clients on a topic. `payload` must be JSON text.
pub fn encode_broadcast(vsn: SerializerVersion, topic: &str, event: &str, payload: &str) -> String {
    encode_message(vsn, None, None, topic, event, payload)
}

#[cfg(test)]
#[path = "phoenix_tests.rs"]
mod tests;
