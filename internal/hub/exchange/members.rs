//! Who is connected and sits where: two slabs that point at each other, so that joining and leaving cost the same however many there are.

use std::collections::HashMap;
use std::sync::Arc;

use crate::hub::exchange::mailbox::Letterbox;
use crate::hub::exchange::presence::{Presence, Roster};
use crate::hub::exchange::ring::Ring;
use crate::hub::exchange::{Address, ConnId, Counts, Identity, TopicName};
use crate::ident::UserId;

/// How a connection gets its events.
#[derive(Clone)]
pub(super) enum Sink {
    /// By itself, in tokio.
    Letterbox(Arc<Letterbox>),
    /// Through its shard: which of the lanes, and where there.
    Lane { lane: u32, to: Address },
}

/// A connection's place in a topic.
#[derive(Clone, Copy)]
pub(super) struct Seat {
    pub(super) topic: u32,
    place: u32,
}

/// A topic's member: the connection, and which of its seats this is.
#[derive(Clone, Copy)]
pub(super) struct Member {
    pub(super) conn: u32,
    seat: u32,
}

pub(super) struct Conn {
    pub(super) identity: Arc<Identity>,
    pub(super) sink: Sink,
    pub(super) seats: Vec<Seat>,
    /// The last audience it was counted in or excepted from.
    pub(super) mark: u64,
    pub(super) since_us: i64,
    /// Among the user's connections.
    place: u32,
}

pub(super) struct Topic {
    pub(super) name: TopicName,
    pub(super) members: Vec<Member>,
    pub(super) presence: Presence,
    /// Made when the first member comes that is listed.
    pub(super) roster: Option<Box<Roster>>,
    /// Some for a topic that was declared: that one stays.
    pub(super) ring: Option<Box<Ring>>,
    pub(super) since_us: i64,
    /// Of the last message.
    pub(super) active_us: i64,
}

impl Topic {
    pub(super) fn counts(&self) -> Counts {
        Counts {
            users: self.roster.as_ref().map_or(0, |roster| roster.users()),
            connections: self.members.len(),
        }
    }
}

#[derive(Default)]
struct Slot {
    /// How often the slot was given away.
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
    pub(super) fn connect(&mut self, identity: Arc<Identity>, sink: Sink, since_us: i64) -> ConnId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            count(self.slots.len() - 1)
        });
        let place = self.enlist(&identity, index);
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.conn = Some(Conn {
            identity,
            sink,
            seats: Vec::new(),
            mark: 0,
            since_us,
            place,
        });
        ConnId {
            index,
            generation: slot.generation,
        }
    }

    /// Takes a connection out that has left all its topics.
    pub(super) fn remove(&mut self, index: u32) -> Option<Conn> {
        let conn = self.slots.get_mut(index as usize)?.conn.take()?;
        self.delist(&conn.identity, conn.place);
        self.free.push(index);
        Some(conn)
    }

    /// Gives a connection another identity.
    pub(super) fn identify(&mut self, index: u32, identity: Arc<Identity>) {
        let Some(conn) = self.conn(index) else { return };
        let (old, place) = (Arc::clone(&conn.identity), conn.place);
        self.delist(&old, place);
        let place = self.enlist(&identity, index);
        if let Some(conn) = self.conn_mut(index) {
            conn.identity = identity;
            conn.place = place;
        }
    }

    fn enlist(&mut self, identity: &Identity, index: u32) -> u32 {
        let Some(user) = &identity.user else { return 0 };
        let conns = self.by_user.entry(user.clone()).or_default();
        conns.push(index);
        count(conns.len() - 1)
    }

    fn delist(&mut self, identity: &Identity, place: u32) {
        let Some((user, conns)) = identity
            .user
            .as_ref()
            .and_then(|user| Some((user, self.by_user.get_mut(user)?)))
        else {
            return;
        };
        conns.swap_remove(place as usize);
        if conns.is_empty() {
            self.by_user.remove(user);
        } else if let Some(moved) = conns.get(place as usize).copied()
            && let Some(conn) = self.conn_mut(moved)
        {
            conn.place = place;
        }
    }

    /// The index of a connection that is still there.
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

    /// Every connection, in no particular order.
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

    /// Connections, users, topics.
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

    /// The topic of that name, made if it must be.
    pub(super) fn open(
        &mut self,
        name: &TopicName,
        presence: impl FnOnce() -> Presence,
        since_us: i64,
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
            since_us,
            active_us: since_us,
        };
        let index = self.free_topics.pop().unwrap_or_else(|| {
            self.topics.push(None);
            count(self.topics.len() - 1)
        });
        self.topics[index as usize] = Some(topic);
        self.by_name.insert(name, index);
        index
    }

    /// Forgets a topic that nobody sits in and nobody declared.
    pub(super) fn close_if_empty(&mut self, index: u32) {
        let Some(topic) = self.topics.get_mut(index as usize) else {
            return;
        };
        if let Some(gone) = topic.take_if(|topic| topic.members.is_empty() && topic.ring.is_none())
        {
            self.by_name.remove(&gone.name);
            self.free_topics.push(index);
        }
    }

    /// The connection's seat in a topic: which of its seats.
    pub(super) fn seat(&self, conn: u32, topic: u32) -> Option<usize> {
        self.conn(conn)?
            .seats
            .iter()
            .position(|seat| seat.topic == topic)
    }

    /// Seats a connection that does not sit there.
    pub(super) fn sit(&mut self, conn: u32, topic: u32) {
        let Some(seat) = self.conn(conn).map(|conn| count(conn.seats.len())) else {
            return;
        };
        let Some(room) = self.topic_mut(topic) else {
            return;
        };
        room.members.push(Member { conn, seat });
        let place = count(room.members.len() - 1);
        if let Some(conn) = self.conn_mut(conn) {
            conn.seats.push(Seat { topic, place });
        }
    }

    /// Frees one of a connection's seats, and tells whoever was moved for it where they are now. Returns the topic.
    pub(super) fn stand_up(&mut self, conn: u32, seat: usize) -> Option<u32> {
        let seats = &mut self.conn_mut(conn)?.seats;
        if seat >= seats.len() {
            return None;
        }
        let Seat { topic, place } = seats.swap_remove(seat);
        let moved_seat = seats.get(seat).copied();
        let members = &mut self.topic_mut(topic)?.members;
        members.swap_remove(place as usize);
        let moved_member = members.get(place as usize).copied();
        if let Some(member) = moved_member
            && let Some(theirs) = self
                .conn_mut(member.conn)
                .and_then(|conn| conn.seats.get_mut(member.seat as usize))
        {
            theirs.place = place;
        }
        if let Some(moved) = moved_seat
            && let Some(member) = self
                .topic_mut(moved.topic)
                .and_then(|topic| topic.members.get_mut(moved.place as usize))
        {
            member.seat = count(seat);
        }
        Some(topic)
    }

    /// Members of the topics, each once, to `each`; who bears the mark already is passed over.
    pub(super) fn audience(
        &mut self,
        topics: &[TopicName],
        mark: u64,
        mut each: impl FnMut(u32, &Sink),
    ) {
        let Self {
            slots,
            topics: rooms,
            by_name,
            ..
        } = self;
        for name in topics {
            let Some(topic) = by_name
                .get(name)
                .and_then(|index| rooms.get(*index as usize)?.as_ref())
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

/// Indices are 32 bits wide: there are never more connections than file descriptors.
fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
