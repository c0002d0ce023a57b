//! Streams as configuration declares them, and the catalog that resolves channel names.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::ident::{Channel, Key, StreamId, Topic};
use crate::stream::{Check, InvalidKey, KeyType, SERVER, server};

/// A named live query.
#[derive(Debug)]
pub struct Stream {
    /// The first half of its channels' names.
    pub name: String,
    /// `$1` keys (array), `$2` today of each key (date array); one row per key: the key, then the data columns.
    pub query: String,
    /// A plainer query, to prove that one by. None: nothing is compared.
    pub check: Option<Check>,
    /// `$1` user id (text), `$2` keys (text array) → the keys, as text, that this user may read. None: claims and roles alone decide.
    pub authorize: Option<String>,
    /// Where «today» comes from.
    pub zone: ZoneRule,
    /// The frame's `type`.
    pub event: String,
    /// The name of the key in the data.
    pub key_field: String,
    /// The tables whose changes concern it.
    pub tables: Vec<Table>,
    /// The key's type, known once the query was prepared against the database.
    pub key_type: OnceLock<KeyType>,
}

impl Stream {
    /// A stream without a query, for tests of whoever needs one: keys in `negocio_id`, event `stats`, days in UTC.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn fake(name: &str, key_type: Option<KeyType>) -> Self {
        Self {
            name: name.to_owned(),
            query: String::new(),
            check: None,
            authorize: None,
            zone: ZoneRule::Fixed("UTC".to_owned()),
            event: "stats".to_owned(),
            key_field: "negocio_id".to_owned(),
            tables: Vec::new(),
            key_type: key_type.map(OnceLock::from).unwrap_or_default(),
        }
    }

    /// The query that it is read with now.
    pub fn current_query(&self) -> &str {
        self.check
            .as_ref()
            .filter(|check| check.stands_in())
            .map_or(&self.query, |check| &check.query)
    }

    /// Its check, while that has to prove something.
    pub fn open_check(&self) -> Option<&Check> {
        self.check.as_ref().filter(|check| !check.stands_in())
    }

    /// What may stand before a UUID or an integer in a channel's name: `negocio_` where the key's field is `negocio_id`.
    pub fn key_prefix(&self) -> &str {
        self.key_field.strip_suffix("id").unwrap_or_default()
    }
}

/// A table that a stream reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name, with a schema or without.
    pub table: String,
    /// The column that holds the key; without one, any change concerns every key.
    pub key: Option<String>,
    /// An UPDATE that changes none of these is no change; empty: every column counts.
    pub columns: Vec<String>,
}

/// Which day a key's business is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ZoneRule {
    /// One IANA zone for all keys.
    Fixed(String),
    /// `$1` keys (array) → key, zone name. A key it does not answer, or a bad zone, takes the default.
    Query {
        /// The SQL.
        sql: String,
        /// The IANA zone for keys without one.
        default: String,
    },
}

/// All streams of a server.
#[derive(Debug)]
pub struct Catalog {
    streams: Vec<Arc<Stream>>,
    /// What is said of the server itself is encoded like a stream; it is not in `streams`.
    server: Arc<Stream>,
    by_name: HashMap<String, StreamId>,
}

/// Why a channel's name means nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// Not of the form `stream:key`, or no stream of that name.
    #[error("no such channel; expected {expected}")]
    Unknown {
        /// The forms that exist.
        expected: String,
    },
    /// The key is not of the stream's type.
    #[error("invalid key: {0}")]
    Key(#[from] InvalidKey),
    /// The database has not yet said what type the keys have.
    #[error("not ready: the database has not been reached yet")]
    NotReady,
}

impl Catalog {
    /// A catalog of streams with distinct names.
    pub fn new(streams: Vec<Stream>) -> Self {
        let streams: Vec<_> = streams.into_iter().map(Arc::new).collect();
        let ids = (0..).map(StreamId);
        let by_name = streams.iter().map(|s| s.name.clone()).zip(ids).collect();
        Self {
            streams,
            server: Arc::new(server::stream()),
            by_name,
        }
    }

    /// Every stream with its id.
    pub fn iter(&self) -> impl Iterator<Item = (StreamId, &Arc<Stream>)> {
        (0..).map(StreamId).zip(&self.streams)
    }

    /// The stream behind an id that this catalog gave out, or behind [`SERVER`].
    ///
    /// # Panics
    /// If the id comes from another catalog.
    pub fn get(&self, id: StreamId) -> &Arc<Stream> {
        if id == SERVER {
            &self.server
        } else {
            &self.streams[usize::from(id.0)]
        }
    }

    /// The stream of that name.
    pub fn find(&self, name: &str) -> Option<StreamId> {
        self.by_name.get(name).copied()
    }

    /// Whether every stream's key type is known.
    pub fn is_ready(&self) -> bool {
        self.streams.iter().all(|s| s.key_type.get().is_some())
    }

    /// What `stream:key` means.
    pub fn resolve(&self, name: &str) -> Result<Channel, ChannelError> {
        if let Some(server) = server::resolve(name) {
            return server.ok_or_else(|| self.unknown());
        }
        let (stream, key) = name.split_once(':').ok_or_else(|| self.unknown())?;
        let id = self.find(stream).ok_or_else(|| self.unknown())?;
        let key = self.parse_key(id, key)?;
        Ok(Channel {
            name: name.into(),
            topic: Topic { stream: id, key },
        })
    }

    /// A key of the stream in its canonical form.
    pub fn parse_key(&self, stream: StreamId, key: &str) -> Result<Key, ChannelError> {
        let stream = self.get(stream);
        let key_type = stream.key_type.get().ok_or(ChannelError::NotReady)?;
        Ok(key_type.parse(key, stream.key_prefix())?)
    }

    fn unknown(&self) -> ChannelError {
        let mut forms: Vec<_> = self
            .by_name
            .keys()
            .map(|name| format!("{name}:<key>"))
            .collect();
        forms.sort();
        ChannelError::Unknown {
            expected: forms.join(" or "),
        }
    }
}
