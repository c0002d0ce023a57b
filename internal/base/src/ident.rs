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

/// Separates the parts of a key that has several.
const PART_SEPARATOR: char = '\u{1f}';
/// Separates the key from the parameters of its topic.
const PARAMS_SEPARATOR: char = '\u{1e}';

/// The key of a topic: the canonical texts of its parts, and of the parameters that its subscribers
/// chose, in the order of the configuration.
///
/// One text holds them all, because most keys have one part and no parameter, and then it is the
/// part itself. The texts of several are separated by control characters, which no part may
/// contain. A stream without a key has the empty key. A UUID is lower case with hyphens, a number
/// is decimal, and a text stays as it is (see `latido_stream::KeyType` for the other types).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

impl Key {
    /// Wraps the canonical text of a key with one part and no parameters.
    pub fn from_canonical(text: &str) -> Self {
        Self(text.into())
    }

    /// Joins the canonical texts of a key's parts.
    pub fn from_parts<T: AsRef<str>>(parts: impl IntoIterator<Item = T>) -> Self {
        let mut parts = parts.into_iter().peekable();
        let first = parts.next();
        let first = first.as_ref().map_or("", T::as_ref);
        match parts.peek() {
            None => Self(first.into()),
            Some(_) => Self(format!("{first}{PART_SEPARATOR}{}", join(parts)).into()),
        }
    }

    /// Returns the key with these canonical parameters instead of its own.
    #[must_use]
    pub fn with_params<T: AsRef<str>>(&self, params: impl IntoIterator<Item = T>) -> Self {
        let mut params = params.into_iter().peekable();
        let bare = self.parts_text();
        match params.peek() {
            None if bare.len() == self.0.len() => self.clone(),
            None => Self(bare.into()),
            Some(_) => Self(format!("{bare}{PARAMS_SEPARATOR}{}", join(params)).into()),
        }
    }

    /// Returns the key without its parameters: what a change of a row concerns, and what a
    /// permission is for.
    #[must_use]
    pub fn without_params(&self) -> Self {
        self.with_params(None::<&str>)
    }

    /// Returns the canonical texts of the parts.
    pub fn parts(&self) -> impl Iterator<Item = &str> + Clone {
        let text = self.parts_text();
        split_texts((!text.is_empty()).then_some(text))
    }

    /// Returns the canonical texts of the parameters.
    pub fn params(&self) -> impl Iterator<Item = &str> + Clone {
        split_texts(split_at(&self.0, PARAMS_SEPARATOR).1)
    }

    /// Returns the whole text: the part itself for a key with one part and no parameters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts_text(&self) -> &str {
        split_at(&self.0, PARAMS_SEPARATOR).0
    }
}

/// Splits a text at its first separator, an ASCII character. Most texts have none, and it is faster
/// to see that in their bytes than to search their characters.
fn split_at(text: &str, separator: char) -> (&str, Option<&str>) {
    let found = u8::try_from(separator).is_ok_and(|byte| text.as_bytes().contains(&byte));
    let pair = found.then(|| text.split_once(separator)).flatten();
    pair.map_or((text, None), |(before, after)| (before, Some(after)))
}

/// Returns the texts that [`join`] joined, or none.
fn split_texts(joined: Option<&str>) -> impl Iterator<Item = &str> + Clone {
    let mut rest = joined;
    std::iter::from_fn(move || {
        let (text, others) = split_at(rest?, PART_SEPARATOR);
        rest = others;
        Some(text)
    })
}

fn join<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let mut joined = String::new();
    for (index, text) in texts.into_iter().enumerate() {
        if index > 0 {
            joined.push(PART_SEPARATOR);
        }
        joined.push_str(text.as_ref());
    }
    joined
}

/// For people: `7/3?2026-11-01`. A channel's name also encodes its parts and names its parameters.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self.0.split_inclusive([PART_SEPARATOR, PARAMS_SEPARATOR]);
        let mut is_param = false;
        for text in texts {
            let (text, end) = match text.strip_suffix([PART_SEPARATOR, PARAMS_SEPARATOR]) {
                None => (text, ""),
                Some(part) if text.ends_with(PARAMS_SEPARATOR) => (part, "?"),
                Some(param) if is_param => (param, "&"),
                Some(part) => (part, "/"),
            };
            is_param |= end == "?";
            write!(f, "{text}{end}")?;
        }
        Ok(())
    }
}

/// A stream, one of its keys and one choice of its parameters: the unit of reading, comparing and versioning.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic {
    /// The stream that the topic belongs to.
    pub stream: StreamId,
    /// The canonical key within the stream.
    pub key: Key,
}

impl Topic {
    /// Returns the topic of the same key without parameters. A change of a row, a permission and a
    /// watch lock concern all topics of one key.
    #[must_use]
    pub fn without_params(&self) -> Self {
        Self {
            stream: self.stream,
            key: self.key.without_params(),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_of_one_part_is_its_text() {
        let key = Key::from_parts(["7"]);
        assert_eq!(key, Key::from_canonical("7"));
        assert_eq!((key.as_str(), key.to_string()), ("7", "7".to_owned()));
        assert_eq!(key.parts().collect::<Vec<_>>(), ["7"]);
        assert_eq!(
            (key.params().count(), key.without_params()),
            (0, key.clone())
        );
    }

    #[test]
    fn parts_and_params_are_kept_apart() {
        for parts in [vec![], vec!["7"], vec!["7", "a/b?c"], vec!["a", "b", "c"]] {
            let key = Key::from_parts(&parts);
            for params in [
                vec![],
                vec![""],
                vec!["x"],
                vec!["", "y"],
                vec!["1", "2", ""],
            ] {
                let topic = key.with_params(&params);
                assert_eq!(topic.parts().collect::<Vec<_>>(), parts);
                assert_eq!(topic.params().collect::<Vec<_>>(), params);
                assert_eq!(topic.without_params(), key);
                assert_eq!(topic.with_params(["z"]), key.with_params(["z"]));
            }
        }
        let topic = Key::from_parts(["7", "3"]).with_params(["a", "b"]);
        assert_eq!(topic.to_string(), "7/3?a&b");
    }
}
