//! All streams of a server, by name.

use std::collections::HashMap;
use std::sync::Arc;

use crate::definition::{Stream, key_prefix};
use crate::key_name::InvalidKey;
use crate::key_type::KeyType;
use crate::stream_status::StreamStatus;
use crate::system_topics;
use crate::system_topics::{SYSTEM_STREAM, SystemChannel};
use latido_base::ident::{Channel, Key, StreamId, Topic};

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
    /// The type of the keys is still unknown, because the database refuses the stream's query.
    #[error("this stream cannot be read now; its numbers follow once it can")]
    Broken,
}

/// All streams of a server.
#[derive(Debug)]
pub struct Catalog {
    streams: Vec<Arc<Stream>>,
    /// The state of each stream's queries, indexed by stream.
    statuses: Vec<StreamStatus>,
    /// The stream of the server's own topics. They are encoded like a stream but not listed in
    /// `streams`.
    system_stream: Arc<Stream>,
    by_name: HashMap<String, StreamId>,
}

impl Catalog {
    /// Creates a catalog of streams. Their names must be distinct.
    pub fn new(streams: Vec<Stream>) -> Self {
        Self::of_shared(streams.into_iter().map(Arc::new).collect())
    }

    /// Returns a catalog of those streams for which `is_kept` is true, with states of their own.
    #[must_use]
    pub fn filtered(&self, is_kept: impl Fn(&Stream) -> bool) -> Self {
        let kept = self.streams.iter().filter(|stream| is_kept(stream));
        Self::of_shared(kept.cloned().collect())
    }

    fn of_shared(streams: Vec<Arc<Stream>>) -> Self {
        let ids = (0..).map(StreamId);
        let by_name = streams.iter().map(|s| s.name.clone()).zip(ids).collect();
        Self {
            statuses: streams.iter().map(|_| StreamStatus::default()).collect(),
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

    /// Returns the state of the queries of a stream of this catalog.
    ///
    /// # Panics
    /// Panics if the id comes from another catalog, or is [`SYSTEM_STREAM`], which has no query.
    pub fn status(&self, id: StreamId) -> &StreamStatus {
        &self.statuses[usize::from(id.0)]
    }

    /// Returns the id of the stream with this name.
    pub fn find(&self, name: &str) -> Option<StreamId> {
        self.by_name.get(name).copied()
    }

    /// Returns `true` if the database has accepted or refused the query of every stream. A refused
    /// one does not stop the others.
    pub fn is_ready(&self) -> bool {
        self.iter()
            .all(|(id, stream)| stream.key_types.get().is_some() || self.status(id).is_examined())
    }

    /// Resolves a channel name of the form `stream:key`, `stream:part/part?param=value` or `stream`.
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
        let (id, key) = self.split_name(name)?;
        let key = self.parse_key(id, key)?;
        Ok(Channel {
            name: name.into(),
            topic: Topic { stream: id, key },
        })
    }

    /// Resolves a channel name to the key alone. Its parameters are ignored, and need not be there.
    ///
    /// # Errors
    /// Returns an error like [`Catalog::resolve`].
    pub fn resolve_key(&self, name: &str) -> Result<Topic, ChannelError> {
        let (stream, key) = self.split_name(name)?;
        let types = self.key_types(stream)?;
        let key = self.get(stream).parse_key_without_params(types, key)?;
        Ok(Topic { stream, key })
    }

    /// Splits a channel name into the stream and the rest, which may be a key.
    fn split_name<'a>(&self, name: &'a str) -> Result<(StreamId, &'a str), ChannelError> {
        let mut bytes = name.bytes();
        let end = bytes.position(|byte| matches!(byte, b':' | b'?'));
        let end = end.unwrap_or(name.len());
        let (stream, rest) = name.split_at(end);
        let id = self.find(stream).ok_or_else(|| self.unknown_channel())?;
        let key = self.get(id).key_of_name(rest);
        Ok((id, key.ok_or_else(|| self.unknown_channel())?))
    }

    /// Parses a key of the stream into its canonical form.
    ///
    /// # Errors
    /// Returns an error if the key is invalid or its type is not known yet.
    pub fn parse_key(&self, id: StreamId, key: &str) -> Result<Key, ChannelError> {
        Ok(self.get(id).parse_key(self.key_types(id)?, key)?)
    }

    /// Returns the key of the stream that has these parts, each in any spelling.
    ///
    /// # Errors
    /// Returns an error if a part is invalid or its type is not known yet.
    pub fn key_of_parts<T: AsRef<str>>(
        &self,
        id: StreamId,
        parts: &[T],
    ) -> Result<Key, ChannelError> {
        Ok(self.get(id).canonical_key(self.key_types(id)?, parts)?)
    }

    /// Returns whether the part at that index of the topic's key is this one, in any spelling.
    pub fn has_part(&self, topic: &Topic, index: usize, part: &str) -> bool {
        let stream = self.get(topic.stream);
        let types = stream.key_types.get();
        let of = types.and_then(|types| types.get(index));
        let prefix = stream.key_fields.get(index).map(|field| key_prefix(field));
        of.zip(prefix)
            .and_then(|(of, prefix)| of.parse(part, prefix).ok())
            .is_some_and(|part| topic.key.parts().nth(index) == Some(&*part))
    }

    /// Returns the types of the key parts of a stream.
    ///
    /// # Errors
    /// Returns an error if they are not known.
    fn key_types(&self, id: StreamId) -> Result<&[KeyType], ChannelError> {
        let types = self.get(id).key_types.get();
        types
            .map(Vec::as_slice)
            .ok_or_else(|| match self.status(id).is_broken() {
                true => ChannelError::Broken,
                false => ChannelError::NotReady,
            })
    }

    fn unknown_channel(&self) -> ChannelError {
        let mut forms: Vec<_> = self.streams.iter().map(|s| s.channel_form()).collect();
        forms.sort();
        ChannelError::Unknown {
            expected: forms.join(" or "),
        }
    }
}
