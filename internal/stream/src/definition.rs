//! Streams as declared in the configuration, and the catalog that resolves channel names.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::system_topics::{self, SystemChannel};
use crate::{InvalidKey, KeyType, SYSTEM_STREAM, VerificationQuery};
use latido_base::ident::{Channel, Key, StreamId, Topic};

/// A named live query.
#[derive(Debug)]
pub struct Stream {
    /// The stream's name: the part of its channels' names before the colon.
    pub name: String,
    /// The SQL. `$1` is the array of keys and `$2` the array with today's date of each key. It
    /// returns one row per key: the key, then the data columns.
    pub query: String,
    /// A plainer query that verifies `query`. With `None` nothing is compared.
    pub verification: Option<VerificationQuery>,
    /// The SQL for permissions. `$1` is the user id (text) and `$2` the keys (text array). It
    /// returns the keys, as text, that the user may read. With `None`, claims and roles alone
    /// decide.
    pub authorize_query: Option<String>,
    /// The rule for the time zone that defines «today».
    pub zone_rule: ZoneRule,
    /// The value of the frame's `type` field.
    pub event: String,
    /// The name of the key's field in the frame's data.
    pub key_field: String,
    /// The tables whose changes affect the stream.
    pub tables: Vec<SourceTable>,
    /// The key's type. It is known once the query has been prepared against the database.
    pub key_type: OnceLock<KeyType>,
}

impl Stream {
    /// Creates a stream without a query for tests: key field `negocio_id`, event `stats`, days in
    /// UTC.
    #[cfg(any(test, fuzzing, feature = "testing"))]
    pub fn test_stream(name: &str, key_type: Option<KeyType>) -> Self {
        Self {
            name: name.to_owned(),
            query: String::new(),
            verification: None,
            authorize_query: None,
            zone_rule: ZoneRule::Fixed("UTC".to_owned()),
            event: "stats".to_owned(),
            key_field: "negocio_id".to_owned(),
            tables: Vec::new(),
            key_type: key_type.map(OnceLock::from).unwrap_or_default(),
        }
    }

    /// Returns the query that the stream is currently read with.
    pub fn active_query(&self) -> &str {
        self.verification
            .as_ref()
            .filter(|check| check.is_active())
            .map_or(&self.query, |check| &check.query)
    }

    /// Returns the verification query while it is still compared with the stream's own query.
    pub fn pending_verification(&self) -> Option<&VerificationQuery> {
        self.verification
            .as_ref()
            .filter(|check| !check.is_active())
    }

    /// Returns the optional prefix before a UUID or an integer in a channel's name: `negocio_` for
    /// the key field `negocio_id`.
    pub fn key_prefix(&self) -> &str {
        self.key_field.strip_suffix("id").unwrap_or_default()
    }
}

/// A table that a stream reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTable {
    /// The table's name, with or without a schema.
    pub name: String,
    /// The column with the key. Without one, any change affects every key.
    pub key_column: Option<String>,
    /// The columns that matter: an UPDATE that changes none of them is ignored. If the list is
    /// empty, every column matters.
    pub columns: Vec<String>,
}

/// The rule for the time zone of a key, which decides its current day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ZoneRule {
    /// One IANA time zone for all keys.
    Fixed(String),
    /// A query that returns key and zone name for `$1`, the array of keys. A key that is missing in
    /// the result or has an invalid zone uses the default.
    Query {
        /// The SQL of the zone query.
        sql: String,
        /// The IANA zone for keys without one.
        default: String,
    },
}

/// All streams of a server.
#[derive(Debug)]
pub struct Catalog {
    streams: Vec<Arc<Stream>>,
    /// The stream of the server's own topics. They are encoded like a stream but not listed in
    /// `streams`.
    system_stream: Arc<Stream>,
    by_name: HashMap<String, StreamId>,
}

/// The reason why a channel name cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The name is not of the form `stream:key`, or no stream has that name.
    #[error("no such channel; expected {expected}")]
    Unknown {
        /// The forms of name that exist.
        expected: String,
    },
    /// The key does not match the stream's key type.
    #[error("invalid key: {0}")]
    InvalidKey(#[from] InvalidKey),
    /// The type of the keys is still unknown, because the database has not been reached.
    #[error("not ready: the database has not been reached yet")]
    NotReady,
}

impl Catalog {
    /// Creates a catalog of streams. Their names must be distinct.
    pub fn new(streams: Vec<Stream>) -> Self {
        let streams: Vec<_> = streams.into_iter().map(Arc::new).collect();
        let ids = (0..).map(StreamId);
        let by_name = streams.iter().map(|s| s.name.clone()).zip(ids).collect();
        Self {
            streams,
            system_stream: Arc::new(system_topics::system_stream()),
            by_name,
        }
    }

    /// Returns every stream with its id.
    pub fn iter(&self) -> impl Iterator<Item = (StreamId, &Arc<Stream>)> {
        (0..).map(StreamId).zip(&self.streams)
    }

    /// Returns the stream with an id of this catalog, or the system stream for [`SYSTEM_STREAM`].
    ///
    /// # Panics
    /// Panics if the id comes from another catalog and is out of range.
    pub fn get(&self, id: StreamId) -> &Arc<Stream> {
        if id == SYSTEM_STREAM {
            &self.system_stream
        } else {
            &self.streams[usize::from(id.0)]
        }
    }

    /// Returns the id of the stream with this name.
    pub fn find(&self, name: &str) -> Option<StreamId> {
        self.by_name.get(name).copied()
    }

    /// Returns `true` if the key type of every stream is known.
    pub fn is_ready(&self) -> bool {
        self.streams.iter().all(|s| s.key_type.get().is_some())
    }

    /// Resolves a channel name of the form `stream:key`.
    ///
    /// # Errors
    /// Returns an error if no such stream exists, the key is invalid, or the key's type is not
    /// known yet.
    pub fn resolve(&self, name: &str) -> Result<Channel, ChannelError> {
        match system_topics::resolve_system_channel(name) {
            SystemChannel::OtherStream => {}
            SystemChannel::Unknown => return Err(self.unknown_channel()),
            SystemChannel::Found(channel) => return Ok(channel),
        }
        let (stream, key) = name.split_once(':').ok_or_else(|| self.unknown_channel())?;
        let id = self.find(stream).ok_or_else(|| self.unknown_channel())?;
        let key = self.parse_key(id, key)?;
        Ok(Channel {
            name: name.into(),
            topic: Topic { stream: id, key },
        })
    }

    /// Parses a key of the stream into its canonical form.
    ///
    /// # Errors
    /// Returns an error if the key is invalid or its type is not known yet.
    pub fn parse_key(&self, stream: StreamId, key: &str) -> Result<Key, ChannelError> {
        let stream = self.get(stream);
        let key_type = stream.key_type.get().ok_or(ChannelError::NotReady)?;
        Ok(key_type.parse(key, stream.key_prefix())?)
    }

    fn unknown_channel(&self) -> ChannelError {
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
