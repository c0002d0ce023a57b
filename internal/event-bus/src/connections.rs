//! The connections and their topics: two slabs that refer to each other by index, so that joining
//! and leaving take constant time.

use std::collections::HashMap;
use std::sync::Arc;

use crate::history::EventHistory;
use crate::mailbox_queue::MailboxQueue;
use crate::presence::{PresenceMap, PresenceMode};
use crate::user_connections::UserConnections;
use crate::{ConnectionId, ConnectionSlot, Identity, PresenceCounts, TopicName};
use latido_base::ident::UserId;

/// The queue through which a connection gets its events.
#[derive(Clone)]
pub(super) enum DeliveryTarget {
    /// The connection's own mailbox, in a Tokio task.
    Mailbox(Arc<MailboxQueue>),
    /// The queue of the connection's shard: the index of the fan-out group, and the slot on the
    /// shard.
    Shard { group: u32, slot: ConnectionSlot },
}

/// A connection's membership of one topic.
#[derive(Clone, Copy)]
pub(super) struct Membership {
    pub(super) topic: u32,
    position: u32,
}

/// A topic's member: the connection, and the index in its list of memberships.
#[derive(Clone, Copy)]
pub(super) struct TopicMember {
    pub(super) conn: u32,
    membership: u32,
}

pub(super) struct ConnectionRecord {
    pub(super) identity: Arc<Identity>,
    pub(super) target: DeliveryTarget,
    pub(super) memberships: Vec<Membership>,
    /// The number of the last fan-out that included or excluded the connection.
    pub(super) fanout_mark: u64,
    pub(super) connected_us: i64,
    /// The position among the user's connections.
    user_position: u32,
}

pub(super) struct EventTopic {
    pub(super) name: TopicName,
    pub(super) members: Vec<TopicMember>,
    pub(super) presence_mode: PresenceMode,
    /// The presence list, created with the first listed member.
    pub(super) presence_map: Option<Box<PresenceMap>>,
    /// The retained messages. A topic with a history stays open without members.
    pub(super) history: Option<Box<EventHistory>>,
    pub(super) opened_us: i64,
    /// The time of the last message, in microseconds since the Unix epoch.
    pub(super) active_us: i64,
}

impl EventTopic {
    pub(super) fn counts(&self) -> PresenceCounts {
        PresenceCounts {
            users: self
                .presence_map
                .as_ref()
                .map_or(0, |presence_map| presence_map.users()),
            connections: self.members.len(),
        }
    }
}

#[derive(Default)]
struct TableSlot {
    /// The number of times that the slot was assigned.
    generation: u32,
    connection: Option<ConnectionRecord>,
}

#[derive(Default)]
pub(super) struct ConnectionTable {
    slots: Vec<TableSlot>,
    free: Vec<u32>,
    topics: Vec<Option<EventTopic>>,
    free_topics: Vec<u32>,
    by_name: HashMap<TopicName, u32>,
    by_user: HashMap<UserId, UserConnections>,
}

impl ConnectionTable {
    pub(super) fn insert(
        &mut self,
        identity: Arc<Identity>,
        target: DeliveryTarget,
        connected_us: i64,
    ) -> ConnectionId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(TableSlot::default());
            index_u32(self.slots.len() - 1)
        });
        let user_position = self.index_user(&identity, index);
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.connection = Some(ConnectionRecord {
            identity,
            target,
            memberships: Vec::new(),
            fanout_mark: 0,
            connected_us,
            user_position,
        });
        ConnectionId {
            index,
            generation: slot.generation,
        }
    }

    /// Removes a connection that has already left all its topics.
    pub(super) fn remove(&mut self, index: u32) -> Option<ConnectionRecord> {
        let conn = self.slots.get_mut(index as usize)?.connection.take()?;
        self.unindex_user(&conn.identity, conn.user_position);
        self.free.push(index);
        Some(conn)
    }

    /// Moves a connection that still exists from its mailbox to a shard.
    pub(super) fn move_to_shard(&mut self, id: ConnectionId, group: u32, slot: ConnectionSlot) {
        if let Some(index) = self.find_connection(id)
            && let Some(conn) = self.connection_mut(index)
        {
            conn.target = DeliveryTarget::Shard { group, slot };
        }
    }

    /// Replaces the identity of a connection.
    pub(super) fn set_identity(&mut self, index: u32, identity: Arc<Identity>) {
        let Some(conn) = self.connection(index) else {
            return;
        };
        let (old, user_position) = (Arc::clone(&conn.identity), conn.user_position);
        self.unindex_user(&old, user_position);
        let user_position = self.index_user(&identity, index);
        if let Some(conn) = self.connection_mut(index) {
            conn.identity = identity;
            conn.user_position = user_position;
        }
    }

    fn index_user(&mut self, identity: &Identity, index: u32) -> u32 {
        let Some(user) = &identity.user else { return 0 };
        let conns = self
            .by_user
            .entry(user.clone())
            .and_modify(|conns| conns.push(index))
            .or_insert_with(|| UserConnections::new(index));
        index_u32(conns.as_slice().len() - 1)
    }

    fn unindex_user(&mut self, identity: &Identity, position: u32) {
        let Some((user, conns)) = identity
            .user
            .as_ref()
            .and_then(|user| Some((user, self.by_user.get_mut(user)?)))
        else {
            return;
        };
        if !conns.swap_remove(position as usize) {
            self.by_user.remove(user);
        } else if let Some(moved) = conns.as_slice().get(position as usize).copied()
            && let Some(conn) = self.connection_mut(moved)
        {
            conn.user_position = position;
        }
    }

    /// Returns the index of a connection that still exists.
    pub(super) fn find_connection(&self, id: ConnectionId) -> Option<u32> {
        let slot = self.slots.get(id.index as usize)?;
        (slot.generation == id.generation && slot.connection.is_some()).then_some(id.index)
    }

    pub(super) fn connection_id(&self, index: u32) -> ConnectionId {
        let generation = self
            .slots
            .get(index as usize)
            .map_or(0, |slot| slot.generation);
        ConnectionId { index, generation }
    }

    pub(super) fn connection(&self, index: u32) -> Option<&ConnectionRecord> {
        self.slots.get(index as usize)?.connection.as_ref()
    }

    pub(super) fn connection_mut(&mut self, index: u32) -> Option<&mut ConnectionRecord> {
        self.slots.get_mut(index as usize)?.connection.as_mut()
    }

    pub(super) fn connections_of_user(&self, user: &UserId) -> &[u32] {
        self.by_user
            .get(user)
            .map_or(&[], UserConnections::as_slice)
    }

    /// Returns every connection, in no particular order.
    pub(super) fn connections(&self) -> impl Iterator<Item = (ConnectionId, &ConnectionRecord)> {
        (0..).zip(&self.slots).filter_map(|(index, slot)| {
            Some((
                ConnectionId {
                    index,
                    generation: slot.generation,
                },
                slot.connection.as_ref()?,
            ))
        })
    }

    /// Returns the number of connections, users and topics.
    pub(super) fn totals(&self) -> (usize, usize, usize) {
        (
            self.slots.len() - self.free.len(),
            self.by_user.len(),
            self.by_name.len(),
        )
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = &EventTopic> {
        self.topics.iter().flatten()
    }

    pub(super) fn topic(&self, index: u32) -> Option<&EventTopic> {
        self.topics.get(index as usize)?.as_ref()
    }

    pub(super) fn topic_mut(&mut self, index: u32) -> Option<&mut EventTopic> {
        self.topics.get_mut(index as usize)?.as_mut()
    }

    pub(super) fn find_topic(&self, name: &TopicName) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    pub(super) fn topic_by_name(&self, name: &TopicName) -> Option<&EventTopic> {
        self.topic(self.find_topic(name)?)
    }

    /// Returns the topic with this name, and creates it if necessary.
    pub(super) fn open_topic(
        &mut self,
        name: &TopicName,
        presence: impl FnOnce() -> PresenceMode,
        opened_us: i64,
    ) -> u32 {
        if let Some(index) = self.find_topic(name) {
            return index;
        }
        let name = name.clone();
        let topic = EventTopic {
            name: name.clone(),
            members: Vec::new(),
            presence_mode: presence(),
            presence_map: None,
            history: None,
            opened_us,
            active_us: opened_us,
        };
        let index = self.free_topics.pop().unwrap_or_else(|| {
            self.topics.push(None);
            index_u32(self.topics.len() - 1)
        });
        self.topics[index as usize] = Some(topic);
        self.by_name.insert(name, index);
        index
    }

    /// Removes a topic that has no members and no history.
    pub(super) fn close_topic_if_empty(&mut self, index: u32) {
        let Some(topic) = self.topics.get_mut(index as usize) else {
            return;
        };
        if let Some(closed) =
            topic.take_if(|topic| topic.members.is_empty() && topic.history.is_none())
        {
            self.by_name.remove(&closed.name);
            self.free_topics.push(index);
        }
    }

    /// Returns the index of a topic in the connection's list of memberships.
    pub(super) fn find_membership(&self, conn: u32, topic: u32) -> Option<usize> {
        self.connection(conn)?
            .memberships
            .iter()
            .position(|membership| membership.topic == topic)
    }

    /// Adds a connection to a topic of which it is not a member.
    pub(super) fn add_member(&mut self, conn: u32, topic: u32) {
        let Some(membership) = self
            .connection(conn)
            .map(|conn| index_u32(conn.memberships.len()))
        else {
            return;
        };
        let Some(joined) = self.topic_mut(topic) else {
            return;
        };
        if joined.members.is_empty() {
            // Most topics are those of one user, who has one connection.
            joined.members.reserve_exact(1);
        }
        joined.members.push(TopicMember { conn, membership });
        let position = index_u32(joined.members.len() - 1);
        if let Some(conn) = self.connection_mut(conn) {
            conn.memberships.push(Membership { topic, position });
        }
    }

    /// Removes one of a connection's memberships. `swap_remove` moves another membership and
    /// another member, so their indices are corrected. Returns the topic.
    pub(super) fn remove_member(&mut self, conn: u32, membership: usize) -> Option<u32> {
        let memberships = &mut self.connection_mut(conn)?.memberships;
        if membership >= memberships.len() {
            return None;
        }
        let Membership { topic, position } = memberships.swap_remove(membership);
        let moved_membership = memberships.get(membership).copied();
        let members = &mut self.topic_mut(topic)?.members;
        members.swap_remove(position as usize);
        let moved_member = members.get(position as usize).copied();
        if let Some(member) = moved_member
            && let Some(moved) = self
                .connection_mut(member.conn)
                .and_then(|conn| conn.memberships.get_mut(member.membership as usize))
        {
            moved.position = position;
        }
        if let Some(moved) = moved_membership
            && let Some(member) = self
                .topic_mut(moved.topic)
                .and_then(|topic| topic.members.get_mut(moved.position as usize))
        {
            member.membership = index_u32(membership);
        }
        Some(topic)
    }

    /// Calls `each` once for every member of the topics. Connections already marked with `mark` are
    /// skipped.
    pub(super) fn for_each_recipient(
        &mut self,
        topics: &[TopicName],
        mark: u64,
        mut each: impl FnMut(u32, &DeliveryTarget),
    ) {
        let Self {
            slots,
            topics: all_topics,
            by_name,
            ..
        } = self;
        for name in topics {
            let Some(topic) = by_name
                .get(name)
                .and_then(|index| all_topics.get(*index as usize)?.as_ref())
            else {
                continue;
            };
            for member in &topic.members {
                let Some(conn) = slots
                    .get_mut(member.conn as usize)
                    .and_then(|slot| slot.connection.as_mut())
                else {
                    continue;
                };
                if std::mem::replace(&mut conn.fanout_mark, mark) != mark {
                    each(member.conn, &conn.target);
                }
            }
        }
    }
}

/// Converts a length to an index. 32 bits suffice, because there are never more connections than
/// file descriptors.
fn index_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
