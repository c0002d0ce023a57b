//! The connections and their topics: two slabs that refer to each other by index, so that joining
//! and leaving take constant time.

use std::collections::HashMap;
use std::sync::Arc;

use crate::mailbox::Letterbox;
use crate::presence::{Presence, Roster};
use crate::ring::Ring;
use crate::{Address, ConnId, Counts, Identity, TopicName};
use latido_base::ident::UserId;

/// The queue through which a connection gets its events.
#[derive(Clone)]
pub(super) enum Sink {
    /// The connection's own mailbox, in a Tokio task.
    Letterbox(Arc<Letterbox>),
    /// The queue of the connection's shard: the index of the fan-out group, and the slot on the
    /// shard.
    Lane { lane: u32, to: Address },
}

/// A connection's membership of one topic.
#[derive(Clone, Copy)]
pub(super) struct Seat {
    pub(super) topic: u32,
    place: u32,
}

/// A topic's member: the connection, and the index in its list of memberships.
#[derive(Clone, Copy)]
pub(super) struct Member {
    pub(super) conn: u32,
    seat: u32,
}

pub(super) struct Conn {
    pub(super) identity: Arc<Identity>,
    pub(super) sink: Sink,
    pub(super) seats: Vec<Seat>,
    /// The number of the last fan-out that included or excluded the connection.
    pub(super) mark: u64,
    pub(super) since_us: i64,
    /// The position among the user's connections.
    place: u32,
}

pub(super) struct Topic {
    pub(super) name: TopicName,
    pub(super) members: Vec<Member>,
    pub(super) presence: Presence,
    /// The presence list, created with the first listed member.
    pub(super) roster: Option<Box<Roster>>,
    /// The retained messages. A topic with a history stays open without members.
    pub(super) ring: Option<Box<Ring>>,
    pub(super) since_us: i64,
    /// The time of the last message, in microseconds since the Unix epoch.
    pub(super) active_us: i64,
}

impl Topic {
    pub(super) fn counts(&self) -> Counts {
        Counts {
            users: self
                .roster
                .as_ref()
                .map_or(0, |presence_map| presence_map.users()),
            connections: self.members.len(),
        }
    }
}

#[derive(Default)]
struct Slot {
    /// The number of times that the slot was assigned.
    generation: u32,
    conn: Option<Conn>,
}

#[derive(Default)]
pub(super) struct Members {
    slots: Vec<Slot>,
    free: Vec<u32>,
    topics: Vec<Option<Topic>>,
    free_topics: Vec<u32>,
    by_name: HashMap<TopicName, u32>,
    by_user: HashMap<UserId, Vec<u32>>,
}

impl Members {
    pub(super) fn connect(
        &mut self,
        identity: Arc<Identity>,
        target: Sink,
        connected_us: i64,
    ) -> ConnId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            count(self.slots.len() - 1)
        });
        let user_position = self.enlist(&identity, index);
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.conn = Some(Conn {
            identity,
            sink: target,
            seats: Vec::new(),
            mark: 0,
            since_us: connected_us,
            place: user_position,
        });
        ConnId {
            index,
            generation: slot.generation,
        }
    }

    /// Removes a connection that has already left all its topics.
    pub(super) fn remove(&mut self, index: u32) -> Option<Conn> {
        let conn = self.slots.get_mut(index as usize)?.conn.take()?;
        self.delist(&conn.identity, conn.place);
        self.free.push(index);
        Some(conn)
    }

    /// Replaces the identity of a connection.
    pub(super) fn identify(&mut self, index: u32, identity: Arc<Identity>) {
        let Some(conn) = self.conn(index) else { return };
        let (old, user_position) = (Arc::clone(&conn.identity), conn.place);
        self.delist(&old, user_position);
        let user_position = self.enlist(&identity, index);
        if let Some(conn) = self.conn_mut(index) {
            conn.identity = identity;
            conn.place = user_position;
        }
    }

    fn enlist(&mut self, identity: &Identity, index: u32) -> u32 {
        let Some(user) = &identity.user else { return 0 };
        let conns = self.by_user.entry(user.clone()).or_default();
        conns.push(index);
        count(conns.len() - 1)
    }

    fn delist(&mut self, identity: &Identity, position: u32) {
        let Some((user, conns)) = identity
            .user
            .as_ref()
            .and_then(|user| Some((user, self.by_user.get_mut(user)?)))
        else {
            return;
        };
        conns.swap_remove(position as usize);
        if conns.is_empty() {
            self.by_user.remove(user);
        } else if let Some(moved) = conns.get(position as usize).copied()
            && let Some(conn) = self.conn_mut(moved)
        {
            conn.place = position;
        }
    }

    /// Returns the index of a connection that still exists.
    pub(super) fn find(&self, id: ConnId) -> Option<u32> {
        let slot = self.slots.get(id.index as usize)?;
        (slot.generation == id.generation && slot.conn.is_some()).then_some(id.index)
    }

    pub(super) fn id(&self, index: u32) -> ConnId {
        let generation = self
            .slots
            .get(index as usize)
            .map_or(0, |slot| slot.generation);
        ConnId { index, generation }
    }

    pub(super) fn conn(&self, index: u32) -> Option<&Conn> {
        self.slots.get(index as usize)?.conn.as_ref()
    }

    pub(super) fn conn_mut(&mut self, index: u32) -> Option<&mut Conn> {
        self.slots.get_mut(index as usize)?.conn.as_mut()
    }

    pub(super) fn of_user(&self, user: &UserId) -> &[u32] {
        self.by_user.get(user).map_or(&[], Vec::as_slice)
    }

    /// Returns every connection, in no particular order.
    pub(super) fn all(&self) -> impl Iterator<Item = (ConnId, &Conn)> {
        (0..).zip(&self.slots).filter_map(|(index, slot)| {
            Some((
                ConnId {
                    index,
                    generation: slot.generation,
                },
                slot.conn.as_ref()?,
            ))
        })
    }

    /// Returns the number of connections, users and topics.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        (
            self.slots.len() - self.free.len(),
            self.by_user.len(),
            self.by_name.len(),
        )
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.iter().flatten()
    }

    pub(super) fn topic(&self, index: u32) -> Option<&Topic> {
        self.topics.get(index as usize)?.as_ref()
    }

    pub(super) fn topic_mut(&mut self, index: u32) -> Option<&mut Topic> {
        self.topics.get_mut(index as usize)?.as_mut()
    }

    pub(super) fn find_topic(&self, name: &TopicName) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    pub(super) fn named(&self, name: &TopicName) -> Option<&Topic> {
        self.topic(self.find_topic(name)?)
    }

    /// Returns the topic with this name, and creates it if necessary.
    pub(super) fn open(
        &mut self,
        name: &TopicName,
        presence: impl FnOnce() -> Presence,
        opened_us: i64,
    ) -> u32 {
        if let Some(index) = self.find_topic(name) {
            return index;
        }
        let name = name.clone();
        let topic = Topic {
            name: name.clone(),
            members: Vec::new(),
            presence: presence(),
            roster: None,
            ring: None,
            since_us: opened_us,
            active_us: opened_us,
        };
        let index = self.free_topics.pop().unwrap_or_else(|| {
            self.topics.push(None);
            count(self.topics.len() - 1)
        });
        self.topics[index as usize] = Some(topic);
        self.by_name.insert(name, index);
        index
    }

    /// Removes a topic that has no members and no history.
    pub(super) fn close_if_empty(&mut self, index: u32) {
        let Some(topic) = self.topics.get_mut(index as usize) else {
            return;
        };
        if let Some(closed) =
            topic.take_if(|topic| topic.members.is_empty() && topic.ring.is_none())
        {
            self.by_name.remove(&closed.name);
            self.free_topics.push(index);
        }
    }

    /// Returns the index of a topic in the connection's list of memberships.
    pub(super) fn seat(&self, conn: u32, topic: u32) -> Option<usize> {
        self.conn(conn)?
            .seats
            .iter()
            .position(|membership| membership.topic == topic)
    }

    /// Adds a connection to a topic of which it is not a member.
    pub(super) fn sit(&mut self, conn: u32, topic: u32) {
        let Some(membership) = self.conn(conn).map(|conn| count(conn.seats.len())) else {
            return;
        };
        let Some(joined) = self.topic_mut(topic) else {
            return;
        };
        joined.members.push(Member {
            conn,
            seat: membership,
        });
        let position = count(joined.members.len() - 1);
        if let Some(conn) = self.conn_mut(conn) {
            conn.seats.push(Seat {
                topic,
                place: position,
            });
        }
    }

    /// Removes one of a connection's memberships. `swap_remove` moves another membership and
    /// another member, so their indices are corrected. Returns the topic.
    pub(super) fn stand_up(&mut self, conn: u32, membership: usize) -> Option<u32> {
        let memberships = &mut self.conn_mut(conn)?.seats;
        if membership >= memberships.len() {
            return None;
        }
        let Seat {
            topic,
            place: position,
        } = memberships.swap_remove(membership);
        let moved_membership = memberships.get(membership).copied();
        let members = &mut self.topic_mut(topic)?.members;
        members.swap_remove(position as usize);
        let moved_member = members.get(position as usize).copied();
        if let Some(member) = moved_member
            && let Some(moved) = self
                .conn_mut(member.conn)
                .and_then(|conn| conn.seats.get_mut(member.seat as usize))
        {
            moved.place = position;
        }
        if let Some(moved) = moved_membership
            && let Some(member) = self
                .topic_mut(moved.topic)
                .and_then(|topic| topic.members.get_mut(moved.place as usize))
        {
            member.seat = count(membership);
        }
        Some(topic)
    }

    /// Calls `each` once for every member of the topics. Connections already marked with `mark` are
    /// skipped.
    pub(super) fn audience(
        &mut self,
        topics: &[TopicName],
        mark: u64,
        mut each: impl FnMut(u32, &Sink),
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
                    .and_then(|slot| slot.conn.as_mut())
                else {
                    continue;
                };
                if std::mem::replace(&mut conn.mark, mark) != mark {
                    each(member.conn, &conn.sink);
                }
            }
        }
    }
}

/// Converts a length to an index. 32 bits suffice, because there are never more connections than
/// file descriptors.
fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
