//! The topics about the server itself, for operators. They are named and delivered like the topics
//! of a stream. But no query reads them from a database, and the catalog does not list them.

use crate::definition::{Stream, ZoneRule};
use crate::inference::Inference;
use crate::key_type::KeyType;
use latido_base::ident::{Channel, Key, StreamId, Topic};

/// The reserved stream name, the part before the colon. No configured stream may have it.
pub const SYSTEM_STREAM_NAME: &str = "latido";

/// The reserved stream id of the system topics, outside the range of the catalog.
pub const SYSTEM_STREAM: StreamId = StreamId(u16::MAX);

/// The channel of the server's state.
pub const SYSTEM_STATE_CHANNEL: &str = "latido:servidor";

const STATE_KEY: &str = "servidor";

const CLIENTS_KEY: &str = "clientes";

/// The maximum length of a client filter, in bytes.
const MAX_FILTER_BYTES: usize = 64;

/// A topic about the server itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemTopic<'a> {
    /// `latido:servidor`: the state of the server without its clients.
    State,
    /// `latido:clientes` or `latido:clientes/<filter>`: the clients that match a lower-case filter.
    /// An empty filter matches all clients.
    Clients(&'a str),
}

impl<'a> SystemTopic<'a> {
    /// Parses a canonical key of [`SYSTEM_STREAM`].
    pub fn from_key(key: &'a Key) -> Option<Self> {
        parse_topic(key.as_str())
    }
}

fn parse_topic(key: &str) -> Option<SystemTopic<'_>> {
    let is_valid =
        |filter: &str| filter.len() <= MAX_FILTER_BYTES && !filter.chars().any(char::is_control);
    match key.split_once('/') {
        None if key == STATE_KEY => Some(SystemTopic::State),
        None if key == CLIENTS_KEY => Some(SystemTopic::Clients("")),
        Some((CLIENTS_KEY, filter)) if is_valid(filter) => Some(SystemTopic::Clients(filter)),
        _ => None,
    }
}

/// The result of looking for a channel name in the system stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SystemChannel {
    /// The name belongs to another stream.
    OtherStream,
    /// The name belongs to the system stream, but to no topic of it.
    Unknown,
    /// The name of a system topic.
    Found(Channel),
}

/// Resolves a channel name of the system stream.
pub(super) fn resolve_system_channel(name: &str) -> SystemChannel {
    let key = name
        .strip_prefix(SYSTEM_STREAM_NAME)
        .and_then(|rest| rest.strip_prefix(':'));
    let Some(key) = key.map(str::to_lowercase) else {
        return SystemChannel::OtherStream;
    };
    if parse_topic(&key).is_none() {
        return SystemChannel::Unknown;
    }
    SystemChannel::Found(Channel {
        name: name.into(),
        topic: Topic {
            stream: SYSTEM_STREAM,
            key: Key::from_canonical(&key),
        },
    })
}

/// Creates the stream definition that the hub needs to encode frames of system topics.
pub(super) fn system_stream() -> Stream {
    Stream {
        name: SYSTEM_STREAM_NAME.to_owned(),
        query: String::new(),
        verification: None,
        history_query: None,
        authorize_query: None,
        zone_rule: ZoneRule::Fixed("UTC".to_owned()),
        event: "server".to_owned(),
        key_fields: vec!["topic".to_owned()],
        params: Vec::new(),
        interval: None,
        tables: Vec::new(),
        key_types: vec![KeyType::Text].into(),
        inference: Inference::default(),
        revision: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical_key(name: &str) -> Option<String> {
        match resolve_system_channel(name) {
            SystemChannel::Found(channel) => Some(channel.topic.key.to_string()),
            SystemChannel::OtherStream | SystemChannel::Unknown => None,
        }
    }

    #[test]
    fn system_channel_names_are_resolved() {
        assert_eq!(
            canonical_key(SYSTEM_STATE_CHANNEL).as_deref(),
            Some("servidor")
        );
        assert_eq!(
            canonical_key("latido:clientes").as_deref(),
            Some("clientes")
        );
        assert_eq!(
            canonical_key("latido:clientes/ANA:7").as_deref(),
            Some("clientes/ana:7")
        );
        for invalid in [
            "latido:",
            "latido:x",
            "latido:servidor/x",
            "latido:clientes/a\nb",
            &format!("latido:clientes/{}", "x".repeat(65)),
        ] {
            assert_eq!(
                resolve_system_channel(invalid),
                SystemChannel::Unknown,
                "{invalid}"
            );
        }
        assert_eq!(
            resolve_system_channel("latidos:servidor"),
            SystemChannel::OtherStream
        );
        assert_eq!(
            SystemTopic::from_key(&Key::from_canonical("clientes/ana")),
            Some(SystemTopic::Clients("ana"))
        );
    }
}
