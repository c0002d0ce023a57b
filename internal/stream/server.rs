//! The topics that are about the server itself, for operators. They are named like a stream's, travel like a stream's, and are no stream:
//! nothing reads them from a database, and no catalog lists them.

use crate::ident::{Channel, Key, StreamId, Topic};
use crate::stream::{KeyType, Stream, ZoneRule};

/// What stands before the colon; no stream may have this name.
pub const SERVER_STREAM: &str = "latido";
/// In the place of a stream's position.
pub const SERVER: StreamId = StreamId(u16::MAX);
/// The channel of the server's state.
pub const SERVER_CHANNEL: &str = "latido:servidor";

const STATE: &str = "servidor";
const CLIENTS: &str = "clientes";
/// Longest filter, in bytes.
const MAX_FILTER_BYTES: usize = 64;

/// What a topic of the server shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerTopic<'a> {
    /// `latido:servidor`: all about the server but its clients.
    State,
    /// `latido:clientes` or `latido:clientes/<filter>`: clients that match, in lower case; all if it is empty.
    Clients(&'a str),
}

impl<'a> ServerTopic<'a> {
    /// What a canonical key of [`SERVER`] means.
    pub fn of(key: &'a Key) -> Option<Self> {
        parse(key.as_str())
    }
}

fn parse(key: &str) -> Option<ServerTopic<'_>> {
    let plain =
        |filter: &str| filter.len() <= MAX_FILTER_BYTES && !filter.chars().any(char::is_control);
    match key.split_once('/') {
        None if key == STATE => Some(ServerTopic::State),
        None if key == CLIENTS => Some(ServerTopic::Clients("")),
        Some((CLIENTS, filter)) if plain(filter) => Some(ServerTopic::Clients(filter)),
        _ => None,
    }
}

/// The channel of that name, if it is one of the server's. The inner None: it begins like one but is none.
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

/// What the hub must know to encode a frame.
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
    fn names_of_the_server() {
        assert_eq!(key(SERVER_CHANNEL).as_deref(), Some("servidor"));
        assert_eq!(key("latido:clientes").as_deref(), Some("clientes"));
        assert_eq!(
            key("latido:clientes/ANA:7").as_deref(),
            Some("clientes/ana:7")
        );
        for none in [
            "latido:",
            "latido:x",
            "latido:servidor/x",
            "latido:clientes/a\nb",
            &format!("latido:clientes/{}", "x".repeat(65)),
        ] {
            assert_eq!(resolve(none), Some(None), "{none}");
        }
        assert_eq!(resolve("latidos:servidor"), None);
        assert_eq!(
            ServerTopic::of(&Key::from_canonical("clientes/ana")),
            Some(ServerTopic::Clients("ana"))
        );
    }
}
