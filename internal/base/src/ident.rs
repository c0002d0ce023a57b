//! Identifiers used by every layer: streams, keys, topics, channels and users.
//!
//! This module depends on neither the database nor the sockets. All types are cheap to clone.

use std::fmt;
use std::sync::Arc;

/// A map whose iteration order decides what is done first: it depends on insertions and removals
/// alone, so that a run of the simulator can be replayed.
pub type IterMap<K, V> = indexmap::IndexMap<K, V>;

/// The position of a stream in the catalog. It is small because every [`Topic`] contains one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u16);

/// The canonical text of a row's key. A UUID is lower case with hyphens, an integer is decimal, and
/// a text stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

impl Key {
    /// Wraps a text that is already canonical (see `latido_stream::KeyType::parse`).
    pub fn from_canonical(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the key's canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A stream and one of its keys: the unit of reading, comparing and versioning.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic {
    /// The stream that the topic belongs to.
    pub stream: StreamId,
    /// The canonical key within the stream.
    pub key: Key,
}

/// A topic together with the name that a client used for it.
///
/// Several names may resolve to one topic (`estadisticas:7` and `estadisticas:negocio_7`). A frame
/// carries the name of the subscription, so the name is the unit of encoding and of fan-out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Channel {
    /// The full name on the wire, `stream:key`, exactly as the client wrote it.
    pub name: Arc<str>,
    /// The topic that the name resolves to.
    pub topic: Topic,
}

impl Channel {
    /// Returns the part after the first colon: the key exactly as the client wrote it.
    pub fn key_as_written(&self) -> &str {
        self.name
            .split_once(':')
            .map_or(&*self.name, |(_, key)| key)
    }
}

/// The user named by a token's claim. The value is always text, whatever JSON type the claim had.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserId(Arc<str>);

impl UserId {
    /// Wraps the text of the claim.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the text of the claim.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The position of a snapshot among those of its topic: the database's clock at the read, in
/// microseconds, made strictly increasing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Version(pub u64);

impl Version {
    /// Returns the version of a read at `clock_us` (microseconds) that follows a snapshot of
    /// version `self`. It is at least `clock_us` and always greater than `self`.
    #[must_use]
    pub fn next(self, clock_us: i64) -> Self {
        Self(u64::try_from(clock_us).unwrap_or(0).max(self.0 + 1))
    }
}
