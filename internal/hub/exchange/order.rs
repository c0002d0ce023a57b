//! What happens under the exchange's lock, one thing after another: that is the order.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;

use crate::hub::exchange::mailbox::{Letterbox, Posted};
use crate::hub::exchange::members::{Members, Sink};
use crate::hub::exchange::port::weight;
use crate::hub::exchange::presence::Presence;
use crate::hub::exchange::ring::Ring;
use crate::hub::exchange::{
    Address, Body, ConnId, Delivery, Dialect, Diff, End, Entry, Event, Identity, Join, JoinError,
    Joined, Overloaded, Port, Publish, Published, Rules, TOPICS, TopicName,
};

/// Whom to wake when the lock is released.
#[derive(Default)]
pub(super) struct Wakes {
    wakers: Vec<Waker>,
    ports: Vec<Port>,
}

impl Wakes {
    pub(super) fn fire(self) {
        self.wakers.into_iter().for_each(Waker::wake);
        self.ports.iter().for_each(Port::wake);
    }
}

/// Connections of one shard that speak one dialect.
struct Lane {
    port: Port,
    dialect: Dialect,
    /// Of the audience at hand.
    to: Vec<Address>,
}

pub(super) struct Order {
    pub(super) members: Members,
    rules: Box<dyn Rules>,
    now_us: Box<dyn Fn() -> i64 + Send + Sync>,
    lanes: Vec<Lane>,
    /// Mailboxes of the audience at hand.
    letterboxes: Vec<u32>,
    /// The last event's number, and time.
    pub(super) seq: u64,
    at_us: i64,
    /// Counts audiences.
    mark: u64,
    /// Counts presence entries.
    reference: u64,
    /// Whose mailbox has overflowed: they leave before the lock is released.
    overflowed: VecDeque<ConnId>,
}

impl Order {
    pub(super) fn new(rules: Box<dyn Rules>, now_us: Box<dyn Fn() -> i64 + Send + Sync>) -> Self {
        Self {
            members: Members::default(),
            rules,
            now_us,
            lanes: Vec::new(),
            letterboxes: Vec::new(),
            seq: 0,
            at_us: 0,
            mark: 0,
            reference: 0,
            overflowed: VecDeque::new(),
        }
    }

    /// Now, and never before what happened last.
    fn tick(&mut self) -> i64 {
        self.at_us = self.at_us.max((self.now_us)());
        self.at_us
    }

    /// The lane of a port's connections in a dialect. There are as many as shards times dialects, so they are looked through and stay.
    pub(super) fn lane(&mut self, port: &Port, dialect: Dialect) -> u32 {
        let known = self
            .lanes
            .iter()
            .position(|lane| lane.dialect == dialect && lane.port.is(port));
        let index = known.unwrap_or_else(|| {
            self.lanes.push(Lane {
                port: port.clone(),
                dialect,
                to: Vec::new(),
            });
            self.lanes.len() - 1
        });
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    pub(super) fn connect(
        &mut self,
        identity: Identity,
        sink: Sink,
        joins: &[Join],
        wakes: &mut Wakes,
    ) -> Result<ConnId, JoinError> {
        if joins.len() > TOPICS {
            return Err(JoinError::TooMany);
        }
        let since_us = self.tick();
        let id = self.members.connect(Arc::new(identity), sink, since_us);
        self.join(id, joins, wakes)?;
        Ok(id)
    }

    pub(super) fn join(
        &mut self,
        id: ConnId,
        joins: &[Join],
        wakes: &mut Wakes,
    ) -> Result<Joined, JoinError> {
        let conn = self.members.find(id).ok_or(JoinError::Gone)?;
        let sits = |join: &&Join| {
            self.members
                .find_topic(&join.topic)
                .is_some_and(|topic| self.members.seat(conn, topic).is_some())
        };
        let new = joins.len() - joins.iter().filter(sits).count();
        if self
            .members
            .conn(conn)
            .is_none_or(|conn| conn.seats.len() + new > TOPICS)
        {
            return Err(JoinError::TooMany);
        }
        let new = joins
            .iter()
            .filter(|join| self.join_one(conn, join, wakes))
            .count();
        Ok(Joined { new, seq: self.seq })
    }

    /// Members hear of the newcomer, then the newcomer is a member, then it hears of all members: nothing is missed or told twice.
    fn join_one(&mut self, conn: u32, join: &Join, wakes: &mut Wakes) -> bool {
        let since_us = self.tick();
        let rules = &self.rules;
        let topic = self
            .members
            .open(&join.topic, || rules.presence(&join.topic), since_us);
        if self.members.seat(conn, topic).is_some() {
            return false;
        }
        let entry = self.entry(conn, &join.meta);
        let Some(identity) = self
            .members
            .conn(conn)
            .map(|conn| Arc::clone(&conn.identity))
        else {
            return false;
        };
        let mut listed = None;
        if let Some(room) = self.members.topic_mut(topic)
            && room.presence != Presence::Off
        {
            listed = room.roster.get_or_insert_default().join(&identity, entry);
        }
        if let Some(diff) = listed {
            self.tell(topic, diff, wakes);
        }
        self.members.sit(conn, topic);
        let Some(room) = self.members.topic(topic) else {
            return true;
        };
        if room.presence == Presence::Announced {
            let state = Body::State(
                room.roster
                    .as_ref()
                    .map(|roster| roster.list())
                    .unwrap_or_default(),
            );
            let name = room.name.clone();
            self.address(conn);
            self.deliver(Box::new([name]), state, wakes);
        }
        true
    }

    fn entry(&mut self, conn: u32, meta: &Arc<str>) -> Entry {
        self.reference += 1;
        Entry {
            connection: self.members.id(conn),
            reference: self.reference,
            meta: Arc::clone(meta),
        }
    }

    pub(super) fn leave(&mut self, id: ConnId, name: &TopicName, wakes: &mut Wakes) -> bool {
        let Some((conn, topic)) = self.members.find(id).zip(self.members.find_topic(name)) else {
            return false;
        };
        let Some(seat) = self.members.seat(conn, topic) else {
            return false;
        };
        let left = self.stand_up(conn, seat);
        self.tell_left(left.into_iter().collect(), wakes);
        true
    }

    /// Frees a seat, and takes the connection off the topic's list.
    fn stand_up(&mut self, conn: u32, seat: usize) -> Option<(u32, Option<Diff>)> {
        let topic = self.members.stand_up(conn, seat)?;
        let id = self.members.id(conn);
        let identity = Arc::clone(&self.members.conn(conn)?.identity);
        let roster = self.members.topic_mut(topic)?.roster.as_mut();
        Some((topic, roster.and_then(|roster| roster.leave(&identity, id))))
    }

    fn tell_left(&mut self, left: Vec<(u32, Option<Diff>)>, wakes: &mut Wakes) {
        for (topic, diff) in left {
            if let Some(diff) = diff {
                self.tell(topic, diff, wakes);
            }
            self.members.close_if_empty(topic);
        }
    }

    /// A connection goes out of all its topics, and only then anybody is told.
    fn leave_all(&mut self, conn: u32) -> Vec<(u32, Option<Diff>)> {
        let mut left = Vec::new();
        while let Some(last) = self
            .members
            .conn(conn)
            .and_then(|conn| conn.seats.len().checked_sub(1))
        {
            left.extend(self.stand_up(conn, last));
        }
        left
    }

    pub(super) fn identify(
        &mut self,
        id: ConnId,
        identity: Identity,
        joins: &[Join],
        wakes: &mut Wakes,
    ) -> Result<Joined, JoinError> {
        let conn = self.members.find(id).ok_or(JoinError::Gone)?;
        if joins.len() > TOPICS {
            return Err(JoinError::TooMany);
        }
        let left = self.leave_all(conn);
        self.members.identify(conn, Arc::new(identity));
        self.tell_left(left, wakes);
        self.join(id, joins, wakes)
    }

    /// Takes a connection out, with all that it had. `end`: what it is told, unless it goes by itself.
    pub(super) fn remove(&mut self, id: ConnId, end: Option<End>, wakes: &mut Wakes) -> bool {
        let Some(conn) = self.members.find(id) else {
            return false;
        };
        let left = self.leave_all(conn);
        if let (Some(gone), Some(end)) = (self.members.remove(conn), end) {
            self.dismiss(&gone.sink, end, wakes);
        }
        self.tell_left(left, wakes);
        true
    }

    fn dismiss(&self, sink: &Sink, end: End, wakes: &mut Wakes) {
        match sink {
            Sink::Letterbox(letterbox) => wakes.wakers.extend(letterbox.end(end)),
            Sink::Lane { lane, to } => {
                if let Some(lane) = self.lanes.get(*lane as usize)
                    && lane.port.force(Delivery::End { to: *to, end })
                {
                    wakes.ports.push(lane.port.clone());
                }
            }
        }
    }

    pub(super) fn update(
        &mut self,
        id: ConnId,
        name: &TopicName,
        meta: &Arc<str>,
        wakes: &mut Wakes,
    ) -> bool {
        let Some((conn, topic)) = self.members.find(id).zip(self.members.find_topic(name)) else {
            return false;
        };
        let entry = self.entry(conn, meta);
        let Some(identity) = self
            .members
            .conn(conn)
            .map(|conn| Arc::clone(&conn.identity))
        else {
            return false;
        };
        let roster = self
            .members
            .topic_mut(topic)
            .and_then(|topic| topic.roster.as_mut());
        let Some(diff) = roster.and_then(|roster| roster.update(&identity, entry)) else {
            return false;
        };
        self.tell(topic, diff, wakes);
        true
    }

    /// A change of a topic's list: to its members, if they are told, and to whomever the rules name.
    fn tell(&mut self, topic: u32, diff: Diff, wakes: &mut Wakes) {
        let Some((name, presence)) = self
            .members
            .topic(topic)
            .map(|topic| (topic.name.clone(), topic.presence))
        else {
            return;
        };
        // A panic there must not leave a change half made; it has spoken for itself on standard error.
        let notices =
            catch_unwind(AssertUnwindSafe(|| self.rules.notices(&name, &diff))).unwrap_or_default();
        if presence == Presence::Announced {
            self.gather(std::slice::from_ref(&name), None, &[]);
            self.deliver(Box::new([name]), Body::Diff(diff), wakes);
        }
        for notice in notices {
            self.gather_for(&notice);
            self.deliver(notice.topics.into(), Body::Message(notice.message), wakes);
        }
    }

    pub(super) fn publish(
        &mut self,
        publish: Publish,
        wakes: &mut Wakes,
    ) -> Result<Published, Overloaded> {
        self.gather_for(&publish);
        self.promise(publish.message.payload.len())?;
        let body = Body::Message(publish.message);
        Ok(self.hand_out(publish.topics.into(), body, true, wakes))
    }

    fn gather_for(&mut self, publish: &Publish) {
        let user = publish
            .except_user
            .as_ref()
            .map_or(Vec::new(), |user| self.members.of_user(user).to_vec());
        let connection = publish
            .except_connection
            .and_then(|id| self.members.find(id));
        self.gather(&publish.topics, connection, &user);
    }

    /// Collects the audience at hand. Who is excepted is marked beforehand as counted.
    fn gather(&mut self, topics: &[TopicName], connection: Option<u32>, user: &[u32]) {
        self.mark += 1;
        for conn in connection.iter().chain(user) {
            if let Some(conn) = self.members.conn_mut(*conn) {
                conn.mark = self.mark;
            }
        }
        let Self {
            members,
            lanes,
            letterboxes,
            ..
        } = self;
        members.audience(topics, self.mark, |conn, sink| match sink {
            Sink::Letterbox(_) => letterboxes.push(conn),
            Sink::Lane { lane, to } => lanes[*lane as usize].to.push(*to),
        });
    }

    /// The audience at hand is this one connection.
    fn address(&mut self, conn: u32) {
        match self.members.conn(conn).map(|conn| &conn.sink) {
            Some(Sink::Letterbox(_)) => self.letterboxes.push(conn),
            Some(Sink::Lane { lane, to }) => self.lanes[*lane as usize].to.push(*to),
            None => {}
        }
    }

    /// Keeps a place on every lane of the audience, or lets the audience go.
    fn promise(&mut self, payload: usize) -> Result<(), Overloaded> {
        let full = self.lanes.iter().position(|lane| {
            !lane.to.is_empty() && !lane.port.promise(weight(payload, lane.to.len()))
        });
        let Some(full) = full else { return Ok(()) };
        for lane in self.lanes[..full].iter().filter(|lane| !lane.to.is_empty()) {
            lane.port.release(weight(payload, lane.to.len()));
        }
        self.lanes.iter_mut().for_each(|lane| lane.to.clear());
        self.letterboxes.clear();
        Err(Overloaded)
    }

    fn deliver(&mut self, topics: Box<[TopicName]>, body: Body, wakes: &mut Wakes) {
        self.hand_out(topics, body, false, wakes);
    }

    /// Gives the next event to the audience at hand. `promised`: every lane has kept a place.
    fn hand_out(
        &mut self,
        topics: Box<[TopicName]>,
        body: Body,
        promised: bool,
        wakes: &mut Wakes,
    ) -> Published {
        self.seq += 1;
        let at_us = self.tick();
        let event = Arc::new(Event::new(self.seq, at_us, topics, body));
        self.record(&event);
        let mut reached = 0;
        let mut letterboxes = std::mem::take(&mut self.letterboxes);
        for conn in letterboxes.drain(..) {
            let Some(Sink::Letterbox(letterbox)) = self.members.conn(conn).map(|conn| &conn.sink)
            else {
                continue;
            };
            match letterbox.post(&event) {
                Posted::In(waker) => {
                    reached += 1;
                    wakes.wakers.extend(waker);
                }
                Posted::Overflow(waker) => {
                    wakes.wakers.extend(waker);
                    self.overflowed.push_back(self.members.id(conn));
                }
                Posted::Ended => {}
            }
        }
        self.letterboxes = letterboxes;
        for lane in self.lanes.iter_mut().filter(|lane| !lane.to.is_empty()) {
            reached += lane.to.len();
            let delivery = Delivery::Event {
                event: Arc::clone(&event),
                dialect: lane.dialect,
                to: lane.to.as_slice().into(),
            };
            lane.to.clear();
            let wake = if promised {
                lane.port.fill(delivery)
            } else {
                lane.port.force(delivery)
            };
            if wake {
                wakes.ports.push(lane.port.clone());
            }
        }
        Published {
            seq: self.seq,
            reached,
        }
    }

    /// Notes a message in its topics.
    fn record(&mut self, event: &Arc<Event>) {
        if event.message().is_none() {
            return;
        }
        for name in &event.topics {
            let Some(topic) = self
                .members
                .find_topic(name)
                .and_then(|topic| self.members.topic_mut(topic))
            else {
                continue;
            };
            topic.active_us = event.at_us;
            if let Some(ring) = &mut topic.ring {
                ring.put(event);
            }
        }
    }

    /// Lets go of every connection that has just proved too slow. To tell the others may overflow one more, but never one twice.
    pub(super) fn settle(&mut self, wakes: &mut Wakes) {
        while let Some(id) = self.overflowed.pop_front() {
            self.remove(id, None, wakes);
        }
    }

    pub(super) fn declare(&mut self, name: &TopicName, ring: usize) {
        let since_us = self.tick();
        let rules = &self.rules;
        let index = self.members.open(name, || rules.presence(name), since_us);
        if let Some(topic) = self.members.topic_mut(index) {
            topic
                .ring
                .get_or_insert_with(|| Box::new(Ring::new(ring)))
                .resize(ring);
        }
    }

    pub(super) fn connect_mailbox(
        &mut self,
        identity: Identity,
        joins: &[Join],
        wakes: &mut Wakes,
    ) -> Result<(ConnId, Arc<Letterbox>), JoinError> {
        let letterbox = Arc::new(Letterbox::default());
        let id = self.connect(
            identity,
            Sink::Letterbox(Arc::clone(&letterbox)),
            joins,
            wakes,
        )?;
        Ok((id, letterbox))
    }
}
