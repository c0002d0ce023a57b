//! The model: connections, the events that each must receive, and the events that it received.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::*;

pub(super) enum ModelTransport {
    Mailbox(Mailbox),
    Shard,
}

/// A connection of the model, with the events that it must receive.
pub(super) struct ModelClient {
    id: ConnectionId,
    transport: ModelTransport,
    user: Option<u8>,
    /// The joined topics, with the connection's metadata there.
    topics: BTreeMap<usize, String>,
    /// The messages not yet received, oldest first.
    expected: VecDeque<String>,
    /// The presence lists as the client knows them, from the first list and the changes since.
    lists: HashMap<String, BTreeMap<String, BTreeMap<ConnectionId, String>>>,
    last_seq: u64,
    pub(super) is_stalled: bool,
    /// `true` once the model has removed the connection.
    is_disconnected: bool,
}

pub(super) struct BusModel {
    bus: Arc<EventBus>,
    queues: [EventQueue; 2],
    pub(super) clients: Vec<ModelClient>,
    by_slot: HashMap<ConnectionSlot, usize>,
    notice_mailbox: Mailbox,
    /// The presence lists derived from the policy's messages.
    present_by_notices: BTreeSet<(String, String)>,
    published: Vec<String>,
    presence: bool,
    next_number: usize,
}

fn name(topic: usize) -> TopicName {
    TopicName::new(TOPIC_NAMES[topic])
}

fn user_id(user: u8) -> UserId {
    UserId::new(&format!("u{user}"))
}

fn identity(user: Option<u8>) -> Identity {
    Identity {
        user: user.map(user_id),
        ..Identity::default()
    }
}

fn to_joins(joins: &[(usize, String)]) -> Vec<JoinRequest> {
    joins
        .iter()
        .map(|(topic, meta)| JoinRequest::new(name(*topic)).meta(meta.as_str()))
        .collect()
}

impl ModelClient {
    /// Joins a topic. If it has joined before, its metadata stays.
    fn join(&mut self, topic: usize, meta: String) {
        self.topics.entry(topic).or_insert(meta);
    }

    /// Receives one event as a client would and compares it with the model.
    fn receive(&mut self, event: &BusEvent) {
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
}

impl BusModel {
    pub(super) fn new(presence: bool) -> Self {
        let bus = Arc::new(EventBus::new(TestPolicy { presence }, || 7));
        bus.retain_history(&name(0), HISTORY_CAPACITY);
        let notice_mailbox = bus
            .connect(
                Identity::default(),
                &[JoinRequest::new(TopicName::new(NOTICE_TOPIC))],
            )
            .unwrap();
        Self {
            bus,
            queues: [EventQueue::new(|| {}), EventQueue::new(|| {})],
            clients: Vec::new(),
            by_slot: HashMap::new(),
            notice_mailbox,
            present_by_notices: BTreeSet::new(),
            published: Vec::new(),
            presence,
            next_number: 0,
        }
    }

    fn pick_connected(&self, c: usize) -> Option<usize> {
        let live: Vec<_> = (0..self.clients.len())
            .filter(|i| !self.clients[*i].is_disconnected)
            .collect();
        (!live.is_empty()).then(|| live[c % live.len()])
    }

    fn new_joins(&mut self, topics: &[usize]) -> Vec<(usize, String)> {
        self.next_number += 1;
        topics
            .iter()
            .map(|topic| (*topic, format!("{{\"n\":{}}}", self.next_number)))
            .collect()
    }

    pub(super) fn run(&mut self, op: ModelOp) {
        match op {
            ModelOp::Connect {
                shard,
                user,
                topics,
            } => self.connect(shard, user, &topics),
            ModelOp::Join { c, topics } => {
                let (Some(c), joins) = (self.pick_connected(c), self.new_joins(&topics)) else {
                    return;
                };
                let new = joins
                    .iter()
                    .map(|(topic, _)| topic)
                    .filter(|topic| !self.clients[c].topics.contains_key(topic));
                let new = new.collect::<BTreeSet<_>>().len();
                let joined = self
                    .bus
                    .join(self.clients[c].id, &to_joins(&joins))
                    .unwrap();
                assert_eq!(joined.new_topics, new);
                joins
                    .into_iter()
                    .for_each(|(topic, meta)| self.clients[c].join(topic, meta));
            }
            ModelOp::Leave { c, topic } => {
                let Some(c) = self.pick_connected(c) else {
                    return;
                };
                let was = self.clients[c].topics.remove(&topic).is_some();
                assert_eq!(self.bus.leave(self.clients[c].id, &name(topic)), was);
            }
            ModelOp::SetIdentity { c, user, topics } => {
                let (Some(c), joins) = (self.pick_connected(c), self.new_joins(&topics)) else {
                    return;
                };
                self.bus
                    .set_identity(self.clients[c].id, identity(user), &to_joins(&joins))
                    .unwrap();
                let client = &mut self.clients[c];
                (client.user, client.topics) = (user, BTreeMap::new());
                joins
                    .into_iter()
                    .for_each(|(topic, meta)| client.join(topic, meta));
            }
            ModelOp::Update { c, topic } => self.update(c, topic),
            ModelOp::Disconnect { c } => self.disconnect(c, |bus, id| bus.disconnect(id)),
            ModelOp::Kick { c } => self.disconnect(c, |bus, id| assert!(bus.kick(id, "cleanup"))),
            ModelOp::Publish {
                topics,
                except,
                except_user,
                times,
            } => {
                let except = except.and_then(|c| self.pick_connected(c));
                for _ in 0..times {
                    self.publish(&topics, except, except_user);
                }
            }
            ModelOp::Stall { c } => {
                let Some(c) = self.pick_connected(c) else {
                    return;
                };
                self.clients[c].is_stalled =
                    matches!(self.clients[c].transport, ModelTransport::Mailbox(_));
            }
            ModelOp::Read { c, count } => {
                let Some(c) = self.pick_connected(c) else {
                    return;
                };
                self.read(c, count);
                self.clients[c].is_stalled &= count < 200;
            }
        }
    }

    fn connect(&mut self, shard: bool, user: Option<u8>, topics: &[usize]) {
        let joins = self.new_joins(topics);
        let (id, transport) = if shard {
            let slot = u32::try_from(self.clients.len()).unwrap();
            let (to, encoding) = (
                ConnectionSlot {
                    index: slot,
                    generation: 3,
                },
                EncodingId(u16::try_from(slot % 3).unwrap()),
            );
            self.by_slot.insert(to, self.clients.len());
            let queue = &self.queues[slot as usize % 2];
            (
                self.bus
                    .connect_on_shard(queue, encoding, to, identity(user), &to_joins(&joins))
                    .unwrap(),
                ModelTransport::Shard,
            )
        } else {
            let mailbox = self.bus.connect(identity(user), &to_joins(&joins)).unwrap();
            (mailbox.id(), ModelTransport::Mailbox(mailbox))
        };
        let mut client = ModelClient {
            id,
            transport,
            user,
            topics: BTreeMap::new(),
            expected: VecDeque::new(),
            lists: HashMap::new(),
            last_seq: 0,
            is_stalled: false,
            is_disconnected: false,
        };
        joins
            .into_iter()
            .for_each(|(topic, meta)| client.join(topic, meta));
        self.clients.push(client);
    }

    fn update(&mut self, c: usize, topic: usize) {
        let Some(c) = self.pick_connected(c) else {
            return;
        };
        self.next_number += 1;
        let meta = format!("{{\"n\":{}}}", self.next_number);
        let listed = self.presence
            && topic < 3
            && self.clients[c].user.is_some()
            && self.clients[c].topics.contains_key(&topic);
        assert_eq!(
            self.bus
                .update_meta(self.clients[c].id, &name(topic), meta.as_str()),
            listed
        );
        if listed {
            self.clients[c].topics.insert(topic, meta);
        }
    }

    fn disconnect(&mut self, c: usize, end: impl Fn(&EventBus, ConnectionId)) {
        let Some(c) = self.pick_connected(c) else {
            return;
        };
        self.clients[c].is_disconnected = true;
        end(&self.bus, self.clients[c].id);
        assert!(
            self.bus.join(self.clients[c].id, &[]).is_err(),
            "a disconnected client stays disconnected"
        );
    }

    fn publish(&mut self, topics: &[usize], except: Option<usize>, except_user: Option<u8>) {
        self.next_number += 1;
        let text = self.next_number.to_string();
        let mut publish = Publish::new(
            topics.iter().map(|topic| name(*topic)),
            "said",
            text.as_str(),
        );
        if let Some(c) = except {
            publish = publish.except_connection(self.clients[c].id);
        }
        if let Some(user) = except_user {
            publish = publish.except_user(user_id(user));
        }
        let mut reached = 0;
        for (index, client) in self
            .clients
            .iter_mut()
            .enumerate()
            .filter(|(_, client)| !client.is_disconnected)
        {
            let is_member = client.topics.keys().any(|topic| topics.contains(topic));
            if is_member
                && Some(index) != except
                && (except_user.is_none() || client.user != except_user)
            {
                client.expected.push_back(text.clone());
                reached += 1;
            }
        }
        if topics.contains(&0) {
            self.published.push(text);
        }
        let published = self.bus.publish(publish).unwrap();
        let slow = self.mark_slow_clients();
        assert!(
            published.reached <= reached && published.reached + slow >= reached,
            "a client that was not reached was too slow"
        );
        // If presence lists change, a recipient may overflow because of the announcement that
        // another client was disconnected.
        assert!(self.presence || published.reached + slow == reached);
        self.drain_queues();
        self.read_all();
    }

    /// Marks clients that the bus removed without a request; each must have been too slow. Returns
    /// their number.
    fn mark_slow_clients(&mut self) -> usize {
        let connected: BTreeSet<_> = self
            .bus
            .connections()
            .iter()
            .map(|connection| connection.id)
            .collect();
        let mut slow = 0;
        for client in self
            .clients
            .iter_mut()
            .filter(|client| !client.is_disconnected)
        {
            let too_slow = client.is_stalled && client.expected.len() > MAX_MAILBOX_EVENTS;
            assert!(
                self.presence || too_slow != connected.contains(&client.id),
                "ended at the limit and not before"
            );
            if connected.contains(&client.id) {
                continue;
            }
            let ModelTransport::Mailbox(mailbox) = &mut client.transport else {
                panic!("a shard keeps its own queues")
            };
            assert!(client.is_stalled, "a reading client is never too slow");
            assert!(
                matches!(mailbox.try_recv(), Some(Err(DisconnectReason::TooSlow))),
                "it gets the reason"
            );
            client.is_disconnected = true;
            slow += 1;
        }
        slow
    }

    fn drain_queues(&mut self) {
        for queue in self.queues.clone() {
            for delivery in queue.drain().deliveries {
                match delivery {
                    Delivery::Event {
                        event,
                        to,
                        encoding: dialect,
                    } => {
                        assert_eq!(
                            to.iter().collect::<BTreeSet<_>>().len(),
                            to.len(),
                            "each once"
                        );
                        for address in to {
                            assert_eq!(u32::from(dialect.0), address.index % 3);
                            self.clients[self.by_slot[&address]].receive(&event);
                        }
                    }
                    Delivery::Reply { .. } => panic!("the model sends no replies"),
                    Delivery::Disconnect { to, reason: end } => {
                        let client = &self.clients[self.by_slot[&to]];
                        assert!(
                            client.is_disconnected
                                && client.expected.is_empty()
                                && end == DisconnectReason::Kicked("cleanup")
                        );
                    }
                }
            }
        }
    }

    fn read(&mut self, c: usize, count: usize) {
        let client = &mut self.clients[c];
        for _ in 0..count {
            let ModelTransport::Mailbox(mailbox) = &mut client.transport else {
                return;
            };
            match mailbox.try_recv() {
                Some(Ok(event)) => client.receive(&event),
                Some(Err(_)) => return assert!(client.is_disconnected),
                None => return assert!(client.expected.is_empty(), "missed"),
            }
        }
    }

    fn read_all(&mut self) {
        for c in 0..self.clients.len() {
            if !self.clients[c].is_stalled {
                self.read(c, usize::MAX);
            }
        }
        while let Some(Ok(event)) = self.notice_mailbox.try_recv() {
            let notice = event.message().unwrap().payload.to_string();
            let [topic, user, change] = notice.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{notice}")
            };
            let entry = (topic.to_owned(), user.to_owned());
            match change {
                "joined" => assert!(self.present_by_notices.insert(entry), "joined twice"),
                "left" => assert!(self.present_by_notices.remove(&entry), "left twice"),
                _ => assert!(self.present_by_notices.contains(&entry)),
            }
        }
    }

    /// Compares the presence lists of the model, the bus, the members and the policy's messages.
    pub(super) fn check(&mut self) {
        self.mark_slow_clients();
        self.drain_queues();
        self.read_all();
        let live: Vec<_> = self
            .clients
            .iter()
            .filter(|client| !client.is_disconnected)
            .collect();
        let mut noticed = BTreeSet::new();
        for (topic, topic_name) in TOPIC_NAMES.iter().copied().enumerate() {
            let members: Vec<_> = live
                .iter()
                .filter(|client| client.topics.contains_key(&topic))
                .collect();
            let mut expected_list: BTreeMap<String, BTreeMap<ConnectionId, String>> =
                BTreeMap::new();
            for client in members.iter().filter(|_| self.presence && topic < 3) {
                let Some(user) = client.user else { continue };
                expected_list
                    .entry(user_id(user).as_str().to_owned())
                    .or_default()
                    .insert(client.id, client.topics[&topic].clone());
            }
            noticed.extend(
                expected_list
                    .keys()
                    .map(|user| (topic_name.to_owned(), user.clone())),
            );
            let list = self.bus.present_users(&name(topic)).into_iter();
            let list = list.map(|p| {
                (
                    p.user.as_str().to_owned(),
                    p.entries
                        .into_iter()
                        .map(|e| (e.connection, e.meta.to_string()))
                        .collect(),
                )
            });
            assert_eq!(list.collect::<BTreeMap<_, _>>(), expected_list);
            let counts = PresenceCounts {
                users: expected_list.len(),
                connections: members.len(),
            };
            assert_eq!(self.bus.presence_counts(&name(topic)), counts);
            for client in members
                .iter()
                .filter(|client| self.presence && topic < 2 && !client.is_stalled)
            {
                assert_eq!(
                    client.lists[topic_name], expected_list,
                    "list and changes match the model"
                );
            }
        }
        assert_eq!(self.present_by_notices, noticed);
        let history: Vec<_> = self
            .bus
            .recent(&name(0), 99)
            .iter()
            .map(|event| event.message().unwrap().payload.to_string())
            .collect();
        assert_eq!(
            history,
            self.published
                .iter()
                .rev()
                .take(HISTORY_CAPACITY)
                .cloned()
                .collect::<Vec<_>>()
        );
        let users: BTreeSet<_> = live.iter().filter_map(|client| client.user).collect();
        let topics: BTreeSet<_> = live
            .iter()
            .flat_map(|client| client.topics.keys())
            .chain([&0])
            .collect();
        let totals = BusTotals {
            connections: live.len() + 1,
            users: users.len(),
            topics: topics.len() + 1,
        };
        assert_eq!(self.bus.totals(), totals, "no connection is left over");
    }
}
