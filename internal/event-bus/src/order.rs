//! The state under the lock of the event bus. The order of the changes made to it is the order of
//! the events.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;

use crate::mailbox::{Letterbox, Posted};
use crate::members::{Members, Sink};
use crate::port::weight;
use crate::presence::Presence;
use crate::ring::Ring;
use crate::{
    Address, Body, ConnId, Delivery, Dialect, Diff, End, Entry, Event, Identity, Join, JoinError,
    Joined, Overloaded, Port, Publish, Published, Rules, TOPICS, TopicName,
};

/// The tasks and shards to wake after the lock is released.
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

/// The connections of one shard that use one encoding.
struct Lane {
    port: Port,
    dialect: Dialect,
    /// The recipients of the current event.
    to: Vec<Address>,
}

pub(super) struct Order {
    pub(super) members: Members,
    rules: Box<dyn Rules>,
    now_us: Box<dyn Fn() -> i64 + Send + Sync>,
    lanes: Vec<Lane>,
    /// The connections with a mailbox among the recipients of the current event.
    letterboxes: Vec<u32>,
    /// The sequence number of the last event; `at_us` is its time.
    pub(super) seq: u64,
    at_us: i64,
    /// The number of the current fan-out.
    mark: u64,
    /// The reference of the last presence entry.
    reference: u64,
    /// The connections whose mailbox has overflowed. They are removed before the lock is released.
    overflowed: VecDeque<ConnId>,
}

impl Order {
    pub(super) fn new(policy: Box<dyn Rules>, now_us: Box<dyn Fn() -> i64 + Send + Sync>) -> Self {
        Self {
            members: Members::default(),
            rules: policy,
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

    /// Returns the current time, in microseconds, but never less than that of the last event.
    fn tick(&mut self) -> i64 {
        self.at_us = self.at_us.max((self.now_us)());
        self.at_us
    }

    /// Returns the index of the group for a queue and an encoding, and creates it if necessary.
    /// There are at most shards times encodings groups, so a linear search suffices, and groups are
    /// never removed.
    pub(super) fn lane(&mut self, queue: &Port, encoding: Dialect) -> u32 {
        let known = self
            .lanes
            .iter()
            .position(|group| group.dialect == encoding && group.port.is(queue));
        let index = known.unwrap_or_else(|| {
            self.lanes.push(Lane {
                port: queue.clone(),
                dialect: encoding,
                to: Vec::new(),
            });
            self.lanes.len() - 1
        });
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    pub(super) fn connect(
        &mut self,
        identity: Identity,
        target: Sink,
        joins: &[Join],
        wakes: &mut Wakes,
    ) -> Result<ConnId, JoinError> {
        if joins.len() > TOPICS {
            return Err(JoinError::TooMany);
        }
        let connected_us = self.tick();
        let id = self
            .members
            .connect(Arc::new(identity), target, connected_us);
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
        let is_member = |join: &&Join| {
            self.members
                .find_topic(&join.topic)
                .is_some_and(|topic| self.members.seat(conn, topic).is_some())
        };
        let new = joins.len() - joins.iter().filter(is_member).count();
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

    /// Joins one topic. First the members are notified, then the connection becomes a member, then
    /// it gets the presence list. So it misses no change and gets none twice.
    fn join_one(&mut self, conn: u32, join: &Join, wakes: &mut Wakes) -> bool {
        let opened_us = self.tick();
        let policy = &self.rules;
        let topic = self
            .members
            .open(&join.topic, || policy.presence(&join.topic), opened_us);
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
        if let Some(listed_topic) = self.members.topic_mut(topic)
            && listed_topic.presence != Presence::Off
        {
            listed = listed_topic
                .roster
                .get_or_insert_default()
                .join(&identity, entry);
        }
        if let Some(diff) = listed {
            self.tell(topic, diff, wakes);
        }
        self.members.sit(conn, topic);
        let Some(joined) = self.members.topic(topic) else {
            return true;
        };
        if joined.presence == Presence::Announced {
            let state = Body::State(
                joined
                    .roster
                    .as_ref()
                    .map(|presence_map| presence_map.list())
                    .unwrap_or_default(),
            );
            let name = joined.name.clone();
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
        let Some(membership) = self.members.seat(conn, topic) else {
            return false;
        };
        let left = self.stand_up(conn, membership);
        self.tell_left(left.into_iter().collect(), wakes);
        true
    }

    /// Removes a membership together with the connection's presence entry.
    fn stand_up(&mut self, conn: u32, membership: usize) -> Option<(u32, Option<Diff>)> {
        let topic = self.members.stand_up(conn, membership)?;
        let id = self.members.id(conn);
        let identity = Arc::clone(&self.members.conn(conn)?.identity);
        let presence_map = self.members.topic_mut(topic)?.roster.as_mut();
        let diff = presence_map.and_then(|presence_map| presence_map.leave(&identity, id));
        Some((topic, diff))
    }

    fn tell_left(&mut self, left: Vec<(u32, Option<Diff>)>, wakes: &mut Wakes) {
        for (topic, diff) in left {
            if let Some(diff) = diff {
                self.tell(topic, diff, wakes);
            }
            self.members.close_if_empty(topic);
        }
    }

    /// Removes a connection from all its topics. Members are notified only afterwards.
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

    /// Removes a connection with all its memberships and delivers `reason` to it. `None` means that
    /// the connection ended by itself.
    pub(super) fn remove(&mut self, id: ConnId, reason: Option<End>, wakes: &mut Wakes) -> bool {
        let Some(conn) = self.members.find(id) else {
            return false;
        };
        let left = self.leave_all(conn);
        if let (Some(removed), Some(reason)) = (self.members.remove(conn), reason) {
            self.dismiss(&removed.sink, reason, wakes);
        }
        self.tell_left(left, wakes);
        true
    }

    fn dismiss(&self, target: &Sink, reason: End, wakes: &mut Wakes) {
        match target {
            Sink::Letterbox(mailbox) => wakes.wakers.extend(mailbox.end(reason)),
            Sink::Lane { lane: group, to } => {
                if let Some(group) = self.lanes.get(*group as usize)
                    && group.port.force(Delivery::End {
                        to: *to,
                        end: reason,
                    })
                {
                    wakes.ports.push(group.port.clone());
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
        let presence_map = self
            .members
            .topic_mut(topic)
            .and_then(|topic| topic.roster.as_mut());
        let Some(diff) =
            presence_map.and_then(|presence_map| presence_map.update(&identity, entry))
        else {
            return false;
        };
        self.tell(topic, diff, wakes);
        true
    }

    /// Announces a change of a topic's presence list to its members, if the mode says so, and to
    /// the recipients that the policy names.
    fn tell(&mut self, topic: u32, diff: Diff, wakes: &mut Wakes) {
        let Some((name, mode)) = self
            .members
            .topic(topic)
            .map(|topic| (topic.name.clone(), topic.presence))
        else {
            return;
        };
        // A panic in the policy must not leave a change half made. The panic hook has already
        // printed it to standard error.
        let messages =
            catch_unwind(AssertUnwindSafe(|| self.rules.notices(&name, &diff))).unwrap_or_default();
        if mode == Presence::Announced {
            self.gather(std::slice::from_ref(&name), None, &[]);
            self.deliver(Box::new([name]), Body::Diff(diff), wakes);
        }
        for publish in messages {
            self.gather_for(&publish);
            self.deliver(publish.topics.into(), Body::Message(publish.message), wakes);
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

    /// Collects the recipients of the current event. Excluded connections are marked as visited
    /// beforehand.
    fn gather(&mut self, topics: &[TopicName], connection: Option<u32>, user: &[u32]) {
        self.mark += 1;
        for conn in connection.iter().chain(user) {
            if let Some(conn) = self.members.conn_mut(*conn) {
                conn.mark = self.mark;
            }
        }
        let Self {
            members,
            lanes: groups,
            letterboxes: mailboxes,
            ..
        } = self;
        members.audience(topics, self.mark, |conn, target| match target {
            Sink::Letterbox(_) => mailboxes.push(conn),
            Sink::Lane { lane: group, to } => groups[*group as usize].to.push(*to),
        });
    }

    /// Makes one connection the only recipient of the current event.
    fn address(&mut self, conn: u32) {
        match self.members.conn(conn).map(|conn| &conn.sink) {
            Some(Sink::Letterbox(_)) => self.letterboxes.push(conn),
            Some(Sink::Lane { lane: group, to }) => self.lanes[*group as usize].to.push(*to),
            None => {}
        }
    }

    /// Reserves capacity in the queue of every group with recipients. If one is full, releases the
    /// others and clears the recipients.
    fn promise(&mut self, payload_bytes: usize) -> Result<(), Overloaded> {
        let full = self.lanes.iter().position(|group| {
            !group.to.is_empty() && !group.port.promise(weight(payload_bytes, group.to.len()))
        });
        let Some(full) = full else { return Ok(()) };
        for group in self.lanes[..full]
            .iter()
            .filter(|group| !group.to.is_empty())
        {
            group.port.release(weight(payload_bytes, group.to.len()));
        }
        self.lanes.iter_mut().for_each(|group| group.to.clear());
        self.letterboxes.clear();
        Err(Overloaded)
    }

    fn deliver(&mut self, topics: Box<[TopicName]>, body: Body, wakes: &mut Wakes) {
        self.hand_out(topics, body, false, wakes);
    }

    /// Queues the next event for the collected recipients. With `is_reserved`, every group has a
    /// reservation.
    fn hand_out(
        &mut self,
        topics: Box<[TopicName]>,
        body: Body,
        is_reserved: bool,
        wakes: &mut Wakes,
    ) -> Published {
        self.seq += 1;
        let at_us = self.tick();
        let event = Arc::new(Event::new(self.seq, at_us, topics, body));
        self.record(&event);
        let mut reached = 0;
        let mut mailboxes = std::mem::take(&mut self.letterboxes);
        for conn in mailboxes.drain(..) {
            let Some(Sink::Letterbox(mailbox)) = self.members.conn(conn).map(|conn| &conn.sink)
            else {
                continue;
            };
            match mailbox.post(&event) {
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
        self.letterboxes = mailboxes;
        for group in self.lanes.iter_mut().filter(|group| !group.to.is_empty()) {
            reached += group.to.len();
            let delivery = Delivery::Event {
                event: Arc::clone(&event),
                dialect: group.dialect,
                to: group.to.as_slice().into(),
            };
            group.to.clear();
            let wake = if is_reserved {
                group.port.fill(delivery)
            } else {
                group.port.force(delivery)
            };
            if wake {
                wakes.ports.push(group.port.clone());
            }
        }
        Published {
            seq: self.seq,
            reached,
        }
    }

    /// Records a message in the history of its topics.
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
            if let Some(history) = &mut topic.ring {
                history.put(event);
            }
        }
    }

    /// Removes every connection whose mailbox has just overflowed. The announcements may overflow
    /// others, but each connection only once.
    pub(super) fn settle(&mut self, wakes: &mut Wakes) {
        while let Some(id) = self.overflowed.pop_front() {
            self.remove(id, None, wakes);
        }
    }

    pub(super) fn declare(&mut self, name: &TopicName, limit: usize) {
        let opened_us = self.tick();
        let policy = &self.rules;
        let index = self.members.open(name, || policy.presence(name), opened_us);
        if let Some(topic) = self.members.topic_mut(index) {
            topic
                .ring
                .get_or_insert_with(|| Box::new(Ring::new(limit)))
                .resize(limit);
        }
    }

    pub(super) fn connect_mailbox(
        &mut self,
        identity: Identity,
        joins: &[Join],
        wakes: &mut Wakes,
    ) -> Result<(ConnId, Arc<Letterbox>), JoinError> {
        let queue = Arc::new(Letterbox::default());
        let id = self.connect(identity, Sink::Letterbox(Arc::clone(&queue)), joins, wakes)?;
        Ok((id, queue))
    }
}
