//! The topics about the server itself, for operators. They are named and delivered like the topics
//! of a stream. But no query reads them from a database, and the catalog does not list them.

use crate::{KeyType, Stream, ZoneRule};
use latido_base::ident::{Channel, Key, StreamId, Topic};

/// The reserved stream name, the part before the colon. No configured stream may have it.
pub const SERVER_STREAM: &str = "latido";
/// The reserved stream id of the system topics, outside the range of the catalog.
pub const SERVER: StreamId = StreamId(u16::MAX);
/// The channel of the server's state.
pub const SERVER_CHANNEL: &str = "latido:servidor";

const STATE: &str = "servidor";
const CLIENTS: &str = "clientes";
/// The maximum length of a client filter, in bytes.
const MAX_FILTER_BYTES: usize = 64;

/// A topic about the server itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerTopic<'a> {
    /// `latido:servidor`: the state of the server without its clients.
    State,
    /// `latido:clientes` or `latido:clientes/<filter>`: the clients that match a lower-case filter.
    /// An empty filter matches all clients.
    Clients(&'a str),
}

impl<'a> ServerTopic<'a> {
    /// Parses a canonical key of [`SYSTEM_STREAM`].
    pub fn of(key: &'a Key) -> Option<Self> {
        parse(key.as_str())
    }
}

fn parse(key: &str) -> Option<ServerTopic<'_>> {
    let is_valid =
        |filter: &str| filter.len() <= MAX_FILTER_BYTES && !filter.chars().any(char::is_control);
    match key.split_once('/') {
        None if key == STATE => Some(ServerTopic::State),
        None if key == CLIENTS => Some(ServerTopic::Clients("")),
        Some((CLIENTS, filter)) if is_valid(filter) => Some(ServerTopic::Clients(filter)),
        _ => None,
    }
}

/// Resolves a channel name of the system stream. Returns `None` if the name belongs to another
/// stream, and `Some(None)` if it belongs to the system stream but is invalid.
pub(super) fn resolve(name: &str) -> Option<Option<Channel>> {
    let key = name
        .strip_prefix(SERVER_STREAM)?
        .strip_prefix(':')?
        .to_lowercase();
    let topic = || Topic {
        stream: SERVER,
        key: Key::from_canonical(&key),
    };
    Some(parse(&key).map(|_| Channel {
        name: name.into(),
        topic: topic(),
    }))
}

/// Creates the stream definition that the hub needs to encode frames of system topics.
pub(super) fn stream() -> Stream {
    Stream {
        name: SERVER_STREAM.to_owned(),
        query: String::new(),
        check: None,
        authorize: None,
        zone: ZoneRule::Fixed("UTC".to_owned()),
        event: "server".to_owned(),
        key_field: "topic".to_owned(),
        tables: Vec::new(),
        key_type: KeyType::Text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Option<String> {
        resolve(name)?.map(|channel| channel.topic.key.to_string())
    }

    #[test]
    fn system_channel_names_are_resolved() {
        assert_eq!(key(SERVER_CHANNEL).as_deref(), Some("servidor"));
        assert_eq!(key("latido:clientes").as_deref(), Some("clientes"));
        assert_eq!(
            key("latido:clientes/ANA:7").as_deref(),
            Some("clientes/ana:7")
        );
        for invalid in [
            "latido:",
            "latido:x",
            "latido:servidor/x",
            "latido:clientes/a\nb",
            &format!("latido:clientes/{}", "x".repeat(65)),
        ] {
            assert_eq!(resolve(invalid), Some(None), "{invalid}");
        }
        assert_eq!(resolve("latidos:servidor"), None);
        assert_eq!(
            ServerTopic::of(&Key::from_canonical("clientes/ana")),
            Some(ServerTopic::Clients("ana"))
        );
    }
}
