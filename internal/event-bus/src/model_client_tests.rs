//! A client of the model: the events that it must receive, and its view of the presence lists.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::*;

/// The presence list of one topic: the users, and the metadata of their connections.
pub(super) type PresenceList = BTreeMap<String, BTreeMap<ConnectionId, String>>;

pub(super) enum ModelTransport {
    Mailbox(Mailbox),
    Shard,
}

/// A connection of the model, with the events that it must receive.
pub(super) struct ModelClient {
    pub(super) id: ConnectionId,
    pub(super) transport: ModelTransport,
    pub(super) user: Option<u8>,
    /// The joined topics, with the connection's metadata there.
    pub(super) topics: BTreeMap<usize, String>,
    /// The messages not yet received, oldest first.
    pub(super) expected: VecDeque<String>,
    /// The presence lists as the client knows them, from the first list and the changes since.
    pub(super) lists: HashMap<String, PresenceList>,
    last_seq: u64,
    pub(super) is_stalled: bool,
    /// `true` once the model has removed the connection.
    pub(super) is_disconnected: bool,
}

impl ModelClient {
    pub(super) fn new(id: ConnectionId, transport: ModelTransport, user: Option<u8>) -> Self {
        Self {
            id,
            transport,
            user,
            topics: BTreeMap::new(),
            expected: VecDeque::new(),
            lists: HashMap::new(),
            last_seq: 0,
            is_stalled: false,
            is_disconnected: false,
        }
    }

    /// Joins a topic. If it has joined before, its metadata stays.
    pub(super) fn join(&mut self, topic: usize, meta: String) {
        self.topics.entry(topic).or_insert(meta);
    }

    /// Receives one event as a client would and compares it with the model.
    pub(super) fn receive(&mut self, event: &BusEvent) {
        assert!(event.seq > self.last_seq, "out of order, or twice");
        self.last_seq = event.seq;
        match &event.body {
            EventBody::Message(message) => {
                assert_eq!(
                    self.expected.pop_front().as_deref(),
                    Some(&*message.payload),
                    "not for this client, or missed"
                )
            }
            EventBody::PresenceList(list) => {
                let entries = |present: &PresentUser| {
                    present
                        .entries
                        .iter()
                        .map(|e| (e.connection, e.meta.to_string()))
                        .collect()
                };
                let list: BTreeMap<_, _> = list
                    .iter()
                    .map(|p| (p.user.as_str().to_owned(), entries(p)))
                    .collect();
                self.lists.insert(event.topics[0].to_string(), list);
            }
            EventBody::PresenceDiff(diff) => self.apply(event.topics[0].as_str(), diff),
        }
    }

    fn apply(&mut self, topic: &str, diff: &PresenceDiff) {
        let list = self
            .lists
            .get_mut(topic)
            .expect("the list comes before its changes");
        let before = list.get(diff.user.as_str()).map_or(0, BTreeMap::len);
        let entries = list.entry(diff.user.as_str().to_owned()).or_default();
        if let Some(left) = &diff.removed {
            assert_eq!(
                entries.remove(&left.connection).as_deref(),
                Some(&*left.meta),
                "the removed entry existed"
            );
        }
        if let Some(joined) = &diff.added {
            assert!(
                entries
                    .insert(joined.connection, joined.meta.to_string())
                    .is_none(),
                "the added entry is new"
            );
        }
        let after = entries.len();
        if after == 0 {
            list.remove(diff.user.as_str());
        }
        let expected = match (before, after) {
            (0, _) => PresenceChange::UserJoined,
            (_, 0) => PresenceChange::UserLeft,
            (b, a) if a > b => PresenceChange::ConnectionAdded,
            (b, a) if a < b => PresenceChange::ConnectionRemoved,
            _ => PresenceChange::MetaUpdated,
        };
        assert_eq!(diff.change, expected);
    }

    /// Receives up to `count` queued events of a mailbox.
    pub(super) fn read(&mut self, count: usize) {
        for _ in 0..count {
            let ModelTransport::Mailbox(mailbox) = &mut self.transport else {
                return;
            };
            match mailbox.try_recv() {
                Some(Ok(event)) => self.receive(&event),
                Some(Err(_)) => return assert!(self.is_disconnected),
                None => return assert!(self.expected.is_empty(), "missed"),
            }
        }
    }
}
