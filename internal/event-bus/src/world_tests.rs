//! The model: connections, the events that each must receive, and the events that it received.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::*;

pub(super) enum Outlet {
    Mailbox(Mailbox),
    Shard,
}

/// A connection of the model, with the events that it must receive.
pub(super) struct Client {
    id: ConnId,
    outlet: Outlet,
    user: Option<u8>,
    /// The joined topics, with the connection's metadata there.
    topics: BTreeMap<usize, String>,
    /// The messages not yet received, oldest first.
    expected: VecDeque<String>,
    /// The presence lists as the client knows them, from the first list and the changes since.
    lists: HashMap<String, BTreeMap<String, BTreeMap<ConnId, String>>>,
    last_seq: u64,
    pub(super) stalled: bool,
    /// `true` once the model has removed the connection.
    gone: bool,
}

pub(super) struct World {
    exchange: Arc<Exchange>,
    ports: [Port; 2],
    pub(super) clients: Vec<Client>,
    by_address: HashMap<Address, usize>,
    watch: Mailbox,
    /// The presence lists derived from the policy's messages.
    noticed: BTreeSet<(String, String)>,
    published: Vec<String>,
    presence: bool,
    next: usize,
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

fn to_joins(joins: &[(usize, String)]) -> Vec<Join> {
    joins
        .iter()
        .map(|(topic, meta)| Join::new(name(*topic)).meta(meta.as_str()))
        .collect()
}

impl Client {
    /// Joins a topic. If it has joined before, its metadata stays.
    fn put(&mut self, topic: usize, meta: String) {
        self.topics.entry(topic).or_insert(meta);
    }

    /// Receives one event as a client would and compares it with the model.
    fn hear(&mut self, event: &Event) {
        assert!(event.seq > self.last_seq, "out of order, or twice");
        self.last_seq = event.seq;
        match &event.body {
            Body::Message(message) => {
                assert_eq!(
                    self.expected.pop_front().as_deref(),
                    Some(&*message.payload),
                    "not for this client, or missed"
                )
            }
            Body::State(list) => {
                let entries = |present: &Present| {
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
            Body::Diff(diff) => self.apply(event.topics[0].as_str(), diff),
        }
    }

    fn apply(&mut self, topic: &str, diff: &Diff) {
        let list = self
            .lists
            .get_mut(topic)
            .expect("the list comes before its changes");
        let before = list.get(diff.user.as_str()).map_or(0, BTreeMap::len);
        let entries = list.entry(diff.user.as_str().to_owned()).or_default();
        if let Some(left) = &diff.left {
            assert_eq!(
                entries.remove(&left.connection).as_deref(),
                Some(&*left.meta),
                "the removed entry existed"
            );
        }
        if let Some(joined) = &diff.joined {
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
            (0, _) => Change::Came,
            (_, 0) => Change::Went,
            (b, a) if a > b => Change::More,
            (b, a) if a < b => Change::Fewer,
            _ => Change::Updated,
        };
        assert_eq!(diff.change, expected);
    }
}

impl World {
    pub(super) fn new(presence: bool) -> Self {
        let bus = Arc::new(Exchange::new(TestRules { presence }, || 7));
        bus.declare(&name(0), RING);
        let notice_mailbox = bus
            .open(Identity::default(), &[Join::new(TopicName::new(WATCH))])
            .unwrap();
        Self {
            exchange: bus,
            ports: [Port::new(|| {}), Port::new(|| {})],
            clients: Vec::new(),
            by_address: HashMap::new(),
            watch: notice_mailbox,
            noticed: BTreeSet::new(),
            published: Vec::new(),
            presence,
            next: 0,
        }
    }

    fn pick(&self, c: usize) -> Option<usize> {
        let live: Vec<_> = (0..self.clients.len())
            .filter(|i| !self.clients[*i].gone)
            .collect();
        (!live.is_empty()).then(|| live[c % live.len()])
    }

    fn joins(&mut self, topics: &[usize]) -> Vec<(usize, String)> {
        self.next += 1;
        topics
            .iter()
            .map(|topic| (*topic, format!("{{\"n\":{}}}", self.next)))
            .collect()
    }

    pub(super) fn run(&mut self, op: Op) {
        match op {
            Op::Open {
                shard,
                user,
                topics,
            } => self.open(shard, user, &topics),
            Op::Join { c, topics } => {
                let (Some(c), joins) = (self.pick(c), self.joins(&topics)) else {
                    return;
                };
                let new = joins
                    .iter()
                    .map(|(topic, _)| topic)
                    .filter(|topic| !self.clients[c].topics.contains_key(topic));
                let new = new.collect::<BTreeSet<_>>().len();
                let joined = self
                    .exchange
                    .join(self.clients[c].id, &to_joins(&joins))
                    .unwrap();
                assert_eq!(joined.new, new);
                joins
                    .into_iter()
                    .for_each(|(topic, meta)| self.clients[c].put(topic, meta));
            }
            Op::Leave { c, topic } => {
                let Some(c) = self.pick(c) else { return };
                let was = self.clients[c].topics.remove(&topic).is_some();
                assert_eq!(self.exchange.leave(self.clients[c].id, &name(topic)), was);
            }
            Op::Identify { c, user, topics } => {
                let (Some(c), joins) = (self.pick(c), self.joins(&topics)) else {
                    return;
                };
                self.exchange
                    .identify(self.clients[c].id, identity(user), &to_joins(&joins))
                    .unwrap();
                let client = &mut self.clients[c];
                (client.user, client.topics) = (user, BTreeMap::new());
                joins
                    .into_iter()
                    .for_each(|(topic, meta)| client.put(topic, meta));
            }
            Op::Update { c, topic } => self.update(c, topic),
            Op::Gone { c } => self.end(c, |bus, id| bus.disconnect(id)),
            Op::Dismiss { c } => self.end(c, |bus, id| assert!(bus.dismiss(id, "cleanup"))),
            Op::Publish {
                topics,
                except,
                except_user,
                times,
            } => {
                let except = except.and_then(|c| self.pick(c));
                for _ in 0..times {
                    self.publish(&topics, except, except_user);
                }
            }
            Op::Stall { c } => {
                let Some(c) = self.pick(c) else { return };
                self.clients[c].stalled = matches!(self.clients[c].outlet, Outlet::Mailbox(_));
            }
            Op::Read { c, count } => {
                let Some(c) = self.pick(c) else { return };
                self.read(c, count);
                self.clients[c].stalled &= count < 200;
            }
        }
    }

    fn open(&mut self, shard: bool, user: Option<u8>, topics: &[usize]) {
        let joins = self.joins(topics);
        let (id, transport) = if shard {
            let slot = u32::try_from(self.clients.len()).unwrap();
            let (to, encoding) = (
                Address {
                    slot,
                    generation: 3,
                },
                Dialect(u16::try_from(slot % 3).unwrap()),
            );
            self.by_address.insert(to, self.clients.len());
            let queue = &self.ports[slot as usize % 2];
            (
                self.exchange
                    .attach(queue, encoding, to, identity(user), &to_joins(&joins))
                    .unwrap(),
                Outlet::Shard,
            )
        } else {
            let mailbox = self
                .exchange
                .open(identity(user), &to_joins(&joins))
                .unwrap();
            (mailbox.id(), Outlet::Mailbox(mailbox))
        };
        let mut client = Client {
            id,
            outlet: transport,
            user,
            topics: BTreeMap::new(),
            expected: VecDeque::new(),
            lists: HashMap::new(),
            last_seq: 0,
            stalled: false,
            gone: false,
        };
        joins
            .into_iter()
            .for_each(|(topic, meta)| client.put(topic, meta));
        self.clients.push(client);
    }

    fn update(&mut self, c: usize, topic: usize) {
        let Some(c) = self.pick(c) else { return };
        self.next += 1;
        let meta = format!("{{\"n\":{}}}", self.next);
        let listed = self.presence
            && topic < 3
            && self.clients[c].user.is_some()
            && self.clients[c].topics.contains_key(&topic);
        assert_eq!(
            self.exchange
                .update(self.clients[c].id, &name(topic), meta.as_str()),
            listed
        );
        if listed {
            self.clients[c].topics.insert(topic, meta);
        }
    }

    fn end(&mut self, c: usize, end: impl Fn(&Exchange, ConnId)) {
        let Some(c) = self.pick(c) else { return };
        self.clients[c].gone = true;
        end(&self.exchange, self.clients[c].id);
        assert!(
            self.exchange.join(self.clients[c].id, &[]).is_err(),
            "a disconnected client stays disconnected"
        );
    }

    fn publish(&mut self, topics: &[usize], except: Option<usize>, except_user: Option<u8>) {
        self.next += 1;
        let text = self.next.to_string();
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
            .filter(|(_, client)| !client.gone)
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
        let published = self.exchange.publish(publish).unwrap();
        let slow = self.notice_the_slow();
        assert!(
            published.reached <= reached && published.reached + slow >= reached,
            "a client that was not reached was too slow"
        );
        // If presence lists change, a recipient may overflow because of the announcement that
        // another client was disconnected.
        assert!(self.presence || published.reached + slow == reached);
        self.take_ports();
        self.read_all();
    }

    /// Marks clients that the bus removed without a request; each must have been too slow. Returns
    /// their number.
    fn notice_the_slow(&mut self) -> usize {
        let connected: BTreeSet<_> = self
            .exchange
            .connections()
            .iter()
            .map(|connection| connection.id)
            .collect();
        let mut slow = 0;
        for client in self.clients.iter_mut().filter(|client| !client.gone) {
            let too_slow = client.stalled && client.expected.len() > MAILBOX;
            assert!(
                self.presence || too_slow != connected.contains(&client.id),
                "ended at the limit and not before"
            );
            if connected.contains(&client.id) {
                continue;
            }
            let Outlet::Mailbox(mailbox) = &mut client.outlet else {
                panic!("a shard keeps its own queues")
            };
            assert!(client.stalled, "a reading client is never too slow");
            assert!(
                matches!(mailbox.try_recv(), Some(Err(End::TooSlow))),
                "it gets the reason"
            );
            client.gone = true;
            slow += 1;
        }
        slow
    }

    fn take_ports(&mut self) {
        for queue in self.ports.clone() {
            for delivery in queue.take().deliveries {
                match delivery {
                    Delivery::Event { event, to, dialect } => {
                        assert_eq!(
                            to.iter().collect::<BTreeSet<_>>().len(),
                            to.len(),
                            "each once"
                        );
                        for address in to {
                            assert_eq!(u32::from(dialect.0), address.slot % 3);
                            self.clients[self.by_address[&address]].hear(&event);
                        }
                    }
                    Delivery::Reply { .. } => panic!("the model sends no replies"),
                    Delivery::End { to, end } => {
                        let client = &self.clients[self.by_address[&to]];
                        assert!(
                            client.gone
                                && client.expected.is_empty()
                                && end == End::Dismissed("cleanup")
                        );
                    }
                }
            }
        }
    }

    fn read(&mut self, c: usize, count: usize) {
        let client = &mut self.clients[c];
        for _ in 0..count {
            let Outlet::Mailbox(mailbox) = &mut client.outlet else {
                return;
            };
            match mailbox.try_recv() {
                Some(Ok(event)) => client.hear(&event),
                Some(Err(_)) => return assert!(client.gone),
                None => return assert!(client.expected.is_empty(), "missed"),
            }
        }
    }

    fn read_all(&mut self) {
        for c in 0..self.clients.len() {
            if !self.clients[c].stalled {
                self.read(c, usize::MAX);
            }
        }
        while let Some(Ok(event)) = self.watch.try_recv() {
            let notice = event.message().unwrap().payload.to_string();
            let [topic, user, change] = notice.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{notice}")
            };
            let entry = (topic.to_owned(), user.to_owned());
            match change {
                "joined" => assert!(self.noticed.insert(entry), "joined twice"),
                "left" => assert!(self.noticed.remove(&entry), "left twice"),
                _ => assert!(self.noticed.contains(&entry)),
            }
        }
    }

    /// Compares the presence lists of the model, the bus, the members and the policy's messages.
    pub(super) fn check(&mut self) {
        self.notice_the_slow();
        self.take_ports();
        self.read_all();
        let live: Vec<_> = self.clients.iter().filter(|client| !client.gone).collect();
        let mut noticed = BTreeSet::new();
        for (topic, topic_name) in TOPIC_NAMES.iter().copied().enumerate() {
            let members: Vec<_> = live
                .iter()
                .filter(|client| client.topics.contains_key(&topic))
                .collect();
            let mut expected_list: BTreeMap<String, BTreeMap<ConnId, String>> = BTreeMap::new();
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
            let list = self.exchange.list(&name(topic)).into_iter();
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
            let counts = Counts {
                users: expected_list.len(),
                connections: members.len(),
            };
            assert_eq!(self.exchange.counts(&name(topic)), counts);
            for client in members
                .iter()
                .filter(|client| self.presence && topic < 2 && !client.stalled)
            {
                assert_eq!(
                    client.lists[topic_name], expected_list,
                    "list and changes match the model"
                );
            }
        }
        assert_eq!(self.noticed, noticed);
        let history: Vec<_> = self
            .exchange
            .recent(&name(0), 99)
            .iter()
            .map(|event| event.message().unwrap().payload.to_string())
            .collect();
        assert_eq!(
            history,
            self.published
                .iter()
                .rev()
                .take(RING)
                .cloned()
                .collect::<Vec<_>>()
        );
        let users: BTreeSet<_> = live.iter().filter_map(|client| client.user).collect();
        let topics: BTreeSet<_> = live
            .iter()
            .flat_map(|client| client.topics.keys())
            .chain([&0])
            .collect();
        let totals = Totals {
            connections: live.len() + 1,
            users: users.len(),
            topics: topics.len() + 1,
        };
        assert_eq!(self.exchange.totals(), totals, "no connection is left over");
    }
}
