//! The names that cross every layer: streams, keys, topics, channels, users.
//!
//! Nothing here knows a database or a socket. All are cheap to clone.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A map that somebody walks through, where the order changes what is done first.
#[cfg(not(test))]
pub type Map<K, V> = HashMap<K, V>;
/// The same, walked through in the same order in every run, so that what the simulator found can be replayed.
#[cfg(test)]
pub type Map<K, V> = HashMap<K, V, std::hash::BuildHasherDefault<std::hash::DefaultHasher>>;

/// Position of a stream in the catalog; small, because it is part of every [`Topic`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u16);

/// What a row is about, in canonical text: a UUID in lower case with hyphens, an integer in decimal, a text as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

impl Key {
    /// Wraps a text that is canonical already (see [`crate::stream::KeyType::parse`]).
    pub fn from_canonical(text: &str) -> Self {
        Self(text.into())
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A stream and a key: the unit of reading, comparing and versioning.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic {
    /// The stream.
    pub stream: StreamId,
    /// The key within the stream.
    pub key: Key,
}

/// A topic under the name that a client used for it.
///
/// Several names may mean one topic (`estadisticas:7` and `estadisticas:negocio_7`); frames go out under the name subscribed with,
/// so the name is the unit of encoding and fan-out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Channel {
    /// The whole name on the wire, `stream:key`, as the client wrote it.
    pub name: Arc<str>,
    /// What it means.
    pub topic: Topic,
}

impl Channel {
    /// The part of the name behind the first colon: the key as the client wrote it.
    pub fn key_as_written(&self) -> &str {
        self.name
            .split_once(':')
            .map_or(&*self.name, |(_, key)| key)
    }
}

/// Who a token says is there; always text inside, whatever JSON type the claim had.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserId(Arc<str>);

impl UserId {
    /// Wraps the claim's text.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text of the claim.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Orders the snapshots of one topic: microseconds of the database's clock when it was read, made strictly increasing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Version(pub u64);

impl Version {
    /// The version of a read at `clock_us` that follows a snapshot of version `self`: later than both clock and predecessor allow.
    #[must_use]
    pub fn next(self, clock_us: i64) -> Self {
        Self(u64::try_from(clock_us).unwrap_or(0).max(self.0 + 1))
    }
}
