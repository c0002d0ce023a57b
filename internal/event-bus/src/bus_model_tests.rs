//! The model: connections, the events that each must receive, and the events that it received.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use latido_base::ident::UserId;

use super::model_client::{ModelClient, ModelTransport, PresenceList};
use super::model_script::{HISTORY_CAPACITY, ModelOp, NOTICE_TOPIC, TOPIC_NAMES, TestPolicy};
use crate::*;

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
    }
}

fn to_joins(joins: &[(usize, String)]) -> Vec<JoinRequest> {
    joins
        .iter()
        .map(|(topic, meta)| JoinRequest::new(name(*topic)).meta(meta.as_str()))
        .collect()
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
            ModelOp::Join { c, topics } => self.join(c, &topics),
            ModelOp::Leave { c, topic } => {
                let Some(c) = self.pick_connected(c) else {
                    return;
                };
                let was = self.clients[c].topics.remove(&topic).is_some();
                assert_eq!(self.bus.leave(self.clients[c].id, &name(topic)), was);
            }
            ModelOp::SetIdentity { c, user, topics } => self.set_identity(c, user, &topics),
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
                self.clients[c].read(count);
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
        let mut client = ModelClient::new(id, transport, user);
        joins
            .into_iter()
            .for_each(|(topic, meta)| client.join(topic, meta));
        self.clients.push(client);
    }

    fn join(&mut self, c: usize, topics: &[usize]) {
        let (Some(c), joins) = (self.pick_connected(c), self.new_joins(topics)) else {
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

    fn set_identity(&mut self, c: usize, user: Option<u8>, topics: &[usize]) {
        let (Some(c), joins) = (self.pick_connected(c), self.new_joins(topics)) else {
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
                "the client gets the reason"
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
                        encoding,
                    } => {
                        assert_eq!(
                            to.iter().collect::<BTreeSet<_>>().len(),
                            to.len(),
                            "each once"
                        );
                        for slot in to {
                            assert_eq!(u32::from(encoding.0), slot.index % 3);
                            self.clients[self.by_slot[&slot]].receive(&event);
                        }
                    }
                    Delivery::Reply { .. } => panic!("the model sends no replies"),
                    Delivery::Disconnect { to, reason } => {
                        let client = &self.clients[self.by_slot[&to]];
                        assert!(
                            client.is_disconnected
                                && client.expected.is_empty()
                                && reason == DisconnectReason::Kicked("cleanup")
                        );
                    }
                }
            }
        }
    }

    fn read_all(&mut self) {
        for client in self.clients.iter_mut().filter(|client| !client.is_stalled) {
            client.read(usize::MAX);
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

    /// Compares the presence lists of the model, the bus, the members and the policy's messages,
    /// and the history and the totals.
    pub(super) fn check(&mut self) {
        self.mark_slow_clients();
        self.drain_queues();
        self.read_all();
        let live: Vec<_> = self
            .clients
            .iter()
            .filter(|client| !client.is_disconnected)
            .collect();
        self.check_presence(&live);
        self.check_history();
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

    fn check_presence(&self, live: &[&ModelClient]) {
        let mut noticed = BTreeSet::new();
        for (topic, topic_name) in TOPIC_NAMES.iter().copied().enumerate() {
            let members: Vec<_> = live
                .iter()
                .copied()
                .filter(|client| client.topics.contains_key(&topic))
                .collect();
            let expected_list = self.expected_list(topic, &members);
            noticed.extend(
                expected_list
                    .keys()
                    .map(|user| (topic_name.to_owned(), user.clone())),
            );
            assert_eq!(self.bus_list(topic), expected_list);
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
    }

    /// Returns the presence list that a topic with these members must have.
    fn expected_list(&self, topic: usize, members: &[&ModelClient]) -> PresenceList {
        let mut list = PresenceList::new();
        for client in members.iter().filter(|_| self.presence && topic < 3) {
            let Some(user) = client.user else { continue };
            list.entry(user_id(user).as_str().to_owned())
                .or_default()
                .insert(client.id, client.topics[&topic].clone());
        }
        list
    }

    /// Returns the presence list that the bus has for a topic.
    fn bus_list(&self, topic: usize) -> PresenceList {
        let users = self.bus.present_users(&name(topic)).into_iter();
        let entries = |present: PresentUser| {
            let entries = present.entries.into_iter();
            entries
                .map(|entry| (entry.connection, entry.meta.to_string()))
                .collect()
        };
        users
            .map(|present| (present.user.as_str().to_owned(), entries(present)))
            .collect()
    }

    fn check_history(&self) {
        let history: Vec<_> = self
            .bus
            .recent(&name(0), 99)
            .iter()
            .map(|event| event.message().unwrap().payload.to_string())
            .collect();
        let published = self.published.iter().rev().take(HISTORY_CAPACITY);
        assert_eq!(history, published.cloned().collect::<Vec<_>>());
    }
}
