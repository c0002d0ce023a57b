//! All streams of a server, by name. A reload replaces the list of names; the id of a stream is never
//! used again.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};

use crate::catalog_slots::{CatalogSlot, CatalogSlots};
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

/// The error for more definitions of streams than a server can have in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the server has had {} definitions of streams; expected no more: restart it",
    CatalogSlots::CAPACITY
)]
pub struct CatalogFull;

/// All streams of a server.
#[derive(Debug)]
pub struct Catalog {
    /// Every stream that the server has ever had, by id.
    slots: CatalogSlots,
    /// The stream of the server's own topics. They are encoded like a stream but not listed.
    system_stream: Arc<Stream>,
    /// The streams that are served. Held for a look-up or a swap.
    listed: RwLock<Arc<StreamList>>,
}

/// The streams that are served.
#[derive(Debug, Default)]
struct StreamList {
    ids: Vec<StreamId>,
    by_name: HashMap<String, StreamId>,
}

impl Catalog {
    /// Creates a catalog of streams. Their names must be distinct.
    ///
    /// # Panics
    /// Panics if there are more than 65,535 streams.
    pub fn new(streams: Vec<Stream>) -> Self {
        Self::of_shared(streams.into_iter().map(Arc::new).collect())
    }

    /// Returns a catalog of those streams for which `is_kept` is true, with states of their own.
    #[must_use]
    pub fn filtered(&self, is_kept: impl Fn(&Stream) -> bool) -> Self {
        let kept = self.iter().map(|(_, stream)| stream);
        let kept = kept.filter(|stream| is_kept(stream));
        Self::of_shared(kept.cloned().collect())
    }

    fn of_shared(streams: Vec<Arc<Stream>>) -> Self {
        let catalog = Self {
            slots: CatalogSlots::default(),
            system_stream: Arc::new(system_topics::system_stream()),
            listed: RwLock::default(),
        };
        let add = |stream| catalog.slots.push(stream, StreamStatus::default());
        let ids: Option<Vec<_>> = streams.into_iter().map(add).collect();
        assert!(ids.is_some(), "{CatalogFull}");
        catalog.list(ids.unwrap_or_default());
        catalog
    }

    /// Adds streams without listing them: they can be got by id, and are not found. Calls must not
    /// overlap.
    ///
    /// # Errors
    /// Returns an error if the server has had too many streams.
    pub fn append(
        &self,
        streams: impl IntoIterator<Item = (Arc<Stream>, StreamStatus)>,
    ) -> Result<Vec<StreamId>, CatalogFull> {
        let add = |(stream, status)| self.slots.push(stream, status).ok_or(CatalogFull);
        streams.into_iter().map(add).collect()
    }

    /// Serves these streams from now on, in this order. Those that were served and are not among
    /// them are retired for ever.
    pub fn list(&self, ids: Vec<StreamId>) {
        let by_name = ids.iter().map(|id| (self.get(*id).name.clone(), *id));
        let next = StreamList {
            by_name: by_name.collect(),
            ids,
        };
        let mut listed = self.listed.write().unwrap_or_else(PoisonError::into_inner);
        for id in listed.ids.iter().filter(|id| !next.ids.contains(id)) {
            self.slot(*id).is_retired.store(true, Ordering::Release);
        }
        *listed = Arc::new(next);
    }

    /// Returns every stream that is served, with its id.
    pub fn iter(&self) -> impl Iterator<Item = (StreamId, &Arc<Stream>)> {
        let listed = Arc::clone(&self.listed());
        (0..listed.ids.len()).map(move |index| (listed.ids[index], self.get(listed.ids[index])))
    }

    /// Returns the number of ids so far: every id of this catalog is smaller.
    pub fn id_count(&self) -> usize {
        self.slots.len()
    }

    /// Returns every stream that the server has ever had, by its id, from this number on.
    pub fn all_from(&self, first: usize) -> impl Iterator<Item = (StreamId, &Arc<Stream>)> {
        let ids = (first..self.id_count()).filter_map(|index| u16::try_from(index).ok());
        ids.map(StreamId).map(|id| (id, self.get(id)))
    }

    /// Returns whether the stream was removed or replaced, so that nobody may follow it any more.
    pub fn is_retired(&self, id: StreamId) -> bool {
        id != SYSTEM_STREAM && self.slot(id).is_retired.load(Ordering::Acquire)
    }

    fn listed(&self) -> std::sync::RwLockReadGuard<'_, Arc<StreamList>> {
        self.listed.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, id: StreamId) -> &CatalogSlot {
        let slot = self.slots.get(id);
        slot.unwrap_or_else(|| panic!("stream {} is of another catalog", id.0))
    }

    /// Returns the stream with an id of this catalog, or the system stream for [`SYSTEM_STREAM`].
    ///
    /// # Panics
    /// Panics if the id comes from another catalog and is out of range.
    pub fn get(&self, id: StreamId) -> &Arc<Stream> {
        if id == SYSTEM_STREAM {
            &self.system_stream
        } else {
            &self.slot(id).stream
        }
    }

    /// Returns the state of the queries of a stream of this catalog.
    ///
    /// # Panics
    /// Panics if the id comes from another catalog, or is [`SYSTEM_STREAM`], which has no query.
    pub fn status(&self, id: StreamId) -> &StreamStatus {
        &self.slot(id).status
    }

    /// Returns the id of the stream with this name.
    pub fn find(&self, name: &str) -> Option<StreamId> {
        self.listed().by_name.get(name).copied()
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
        if self.get(id).inference.key_problem().is_some() {
            // Nobody knows yet of how many parts its keys are.
            return Err(ChannelError::Broken);
        }
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

    /// Names the channels that exist. A stream that is off has none, and those of one whose keys are
    /// not known have no form yet.
    fn unknown_channel(&self) -> ChannelError {
        let has_form = |(id, stream): &(StreamId, &Arc<Stream>)| {
            !self.status(*id).is_off() && stream.inference.key_problem().is_none()
        };
        let served = self.iter().filter(has_form);
        let mut forms: Vec<_> = served.map(|(_, s)| s.channel_form()).collect();
        forms.sort();
        ChannelError::Unknown {
            expected: match forms.is_empty() {
                true => "none: the server has no stream now".to_owned(),
                false => forms.join(" or "),
            },
        }
    }
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
