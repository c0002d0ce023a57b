//! A model test of histories on a shard: clients subscribe, leave and come back, numbers change, and
//! the database answers late or not at all. A history comes exactly once for each request, before any
//! other frame of the channel, from a statement that is not older than the request.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use latido_admission::PermitSet;
use latido_auth::{Grants, Policy, PolicyConfig, Principal, Verifier, VerifierConfig};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_base::ident::{Channel, Key, StreamId, Topic, UserId};
use latido_hub::{HistoryReply, HistoryUnavailable, Hub, WatchObserver};
use latido_protocol::native;
use latido_session::{SessionContext, SessionLimits};
use latido_stream::{Catalog, KeyType, Stream, StreamRow};
use latido_telemetry::Metrics;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::simulated::SimulatedShard;
use crate::test_shard::DenyAll;
use crate::upgraded_connection::{ConnectionKind, UpgradedConnection};
use crate::{RequestHandler, ShardDeps};

const CLIENTS: usize = 3;
/// The channels; the stream of the last one has no history.
const CHANNELS: [&str; 4] = ["con:1", "con:negocio_1", "con:2", "sin:1"];

/// The size of a frame that fills a socket, below that of frames with a longer length.
const FILLING_BYTES: usize = 60_000;
/// The number of such frames, more than any socket holds.
const FILLING_FRAMES: usize = 50;

/// The requests without an answer in their order, each with its number.
#[derive(Default)]
struct RequestLog {
    next_number: usize,
    open: VecDeque<(usize, Channel, HistoryReply)>,
}

#[derive(Clone, Default)]
struct Requests(Arc<Mutex<RequestLog>>);

impl WatchObserver for Requests {
    fn on_watched(&self, _: &Topic) {}
    fn on_unwatched(&self, _: &Topic) {}

    fn read_history(&self, channel: &Channel, reply: HistoryReply) {
        let mut requests = self.0.lock().unwrap();
        let number = requests.next_number;
        requests.next_number += 1;
        requests.open.push_back((number, channel.clone(), reply));
    }
}

impl Requests {
    fn next_number(&self) -> usize {
        self.0.lock().unwrap().next_number
    }
}

/// What a client may expect of a channel.
#[derive(Default)]
struct Expected {
    /// The number of the first request that may serve the client, while it waits.
    history_from: Option<usize>,
}

struct TestClient {
    socket: UnixStream,
    bytes: Vec<u8>,
    channels: BTreeMap<String, Expected>,
}

#[derive(Debug, Clone)]
enum Step {
    Subscribe(usize, usize, bool),
    Unsubscribe(usize, usize),
    Publish(usize),
    /// Answers the oldest request, or fails it.
    Answer(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let (client, channel) = (0..CLIENTS, 0..CHANNELS.len());
    prop_oneof![
        4 => (client.clone(), channel.clone(), any::<bool>())
            .prop_map(|(client, channel, history)| Step::Subscribe(client, channel, history)),
        1 => (client, channel).prop_map(|(client, channel)| Step::Unsubscribe(client, channel)),
        2 => (1..3usize).prop_map(Step::Publish),
        3 => prop::bool::weighted(0.8).prop_map(Step::Answer),
    ]
}

struct Model {
    shard: SimulatedShard,
    hub: Arc<Hub>,
    catalog: Arc<Catalog>,
    requests: Requests,
    clients: Vec<TestClient>,
    published: i64,
}

impl Model {
    fn new() -> Self {
        let stream = |name: &str| Stream::test_stream(name, Some(KeyType::Integer));
        let with_history = |name: &str| Stream {
            history_query: Some("SELECT".to_owned()),
            ..stream(name)
        };
        let streams = vec![with_history("con"), stream("sin"), with_history("otra")];
        let catalog = Arc::new(Catalog::new(streams));
        let requests = Requests::default();
        let hub = Arc::new(Hub::new(Arc::clone(&catalog), Box::new(requests.clone())));
        let policy = Arc::new(Policy::new(PolicyConfig::default(), Arc::new(DenyAll)));
        let verifier = Verifier::new(&VerifierConfig::default(), Clock::system()).unwrap();
        let shard = SimulatedShard::new(ShardDeps {
            hub: Arc::clone(&hub),
            context: SessionContext {
                catalog: Arc::clone(&catalog),
                policy: Arc::clone(&policy),
                limits: SessionLimits::default(),
            },
            request_handler: RequestHandler {
                verifier: Arc::new(verifier),
                policy,
                catalog: Arc::clone(&catalog),
            },
            clock: Clock::system(),
            metrics: Arc::new(Metrics::new()),
            drain: Drain::new(),
        });
        let clients = (0..CLIENTS).map(|_| connect(&shard)).collect();
        let mut model = Self {
            shard,
            hub,
            catalog,
            requests,
            clients,
            published: 0,
        };
        (1..3).for_each(|key| model.publish(key));
        model
    }

    fn publish(&mut self, key: usize) {
        self.published += 1;
        let key = Key::from_canonical(&key.to_string());
        for stream in [0, 1].map(StreamId) {
            let row = StreamRow {
                key: key.clone(),
                columns: format!(r#"{{"n":{}}}"#, self.published),
                clock_us: self.published,
            };
            let key = key.clone();
            self.hub.publish(&Topic { stream, key }, &row);
        }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Subscribe(client, channel, history) => {
                let from = self.requests.next_number();
                let client = &mut self.clients[client];
                let name = CHANNELS[channel];
                let data = json!({"channel": name, "history": history});
                send(
                    &mut client.socket,
                    &json!({"type": "subscribe", "data": data}),
                );
                let expected = client.channels.entry(name.to_owned()).or_default();
                if history {
                    expected.history_from.get_or_insert(from);
                }
            }
            Step::Unsubscribe(client, channel) => {
                let client = &mut self.clients[client];
                let name = CHANNELS[channel];
                send(
                    &mut client.socket,
                    &json!({"type": "unsubscribe", "channel": name}),
                );
                client.channels.remove(name);
            }
            Step::Publish(key) => self.publish(key),
            Step::Answer(succeeds) => {
                let request = self.requests.0.lock().unwrap().open.pop_front();
                let Some((number, channel, reply)) = request else {
                    return;
                };
                let rows = format!(r#"{{"request":{number}}}"#);
                let frame = native::encode_history(&channel.name, &rows, false);
                reply.send(if succeeds {
                    Ok(frame)
                } else {
                    Err(HistoryUnavailable)
                });
            }
        }
    }

    /// Publishes large frames of the channel without a history until no client's socket takes more.
    fn fill_sockets(&mut self) {
        for _ in 0..FILLING_FRAMES {
            self.published += 1;
            let key = Key::from_canonical("1");
            let row = StreamRow {
                key: key.clone(),
                columns: format!(
                    r#"{{"n":"{}{}"}}"#,
                    self.published,
                    "x".repeat(FILLING_BYTES)
                ),
                clock_us: self.published,
            };
            let stream = StreamId(1);
            self.hub.publish(&Topic { stream, key }, &row);
            assert!(self.shard.run_until_idle());
        }
    }

    /// Lets the client read until nothing more comes.
    fn drain(&mut self, client: usize) {
        while self.clients[client].read() {
            assert!(self.shard.run_until_idle());
        }
        self.check();
    }

    fn check(&mut self) {
        assert!(self.shard.run_until_idle());
        let open = self.requests.0.lock().unwrap().open.len();
        assert!(open <= CLIENTS, "one request for a client: {open}");
        for client in &mut self.clients {
            client.receive();
        }
    }
}

impl TestClient {
    /// Reads what is in the socket. Returns whether anything was.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 64 * 1024];
        let before = self.bytes.len();
        while let Ok(count @ 1..) = self.socket.read(&mut buffer) {
            self.bytes.extend_from_slice(&buffer[..count]);
        }
        self.bytes.len() > before
    }

    fn receive(&mut self) {
        self.read();
        while let Some(frame) = self.next_frame() {
            self.on_frame(&frame);
        }
        assert!(self.bytes.is_empty());
    }

    fn next_frame(&mut self) -> Option<Value> {
        let short = usize::from(*self.bytes.get(1)?);
        let (length, head) = match short {
            126 => (
                usize::from(u16::from_be_bytes([self.bytes[2], self.bytes[3]])),
                4,
            ),
            length => (length, 2),
        };
        let frame = serde_json::from_slice(&self.bytes[head..head + length]).unwrap();
        self.bytes.drain(..head + length);
        Some(frame)
    }

    fn on_frame(&mut self, frame: &Value) {
        let kind = frame["type"].as_str().unwrap();
        let name = frame["channel"].as_str().unwrap_or_default();
        match kind {
            "subscribed" | "unsubscribed" => return,
            _ => {}
        }
        let expected = self.channels.get_mut(name);
        let expected = expected.unwrap_or_else(|| panic!("not subscribed: {frame}"));
        if kind == "stats" {
            assert_eq!(
                expected.history_from, None,
                "the history comes first: {frame}"
            );
            return;
        }
        assert_eq!(kind, "history", "{frame}");
        let from = expected.history_from.take();
        let from = from.unwrap_or_else(|| panic!("nobody asked for {frame}"));
        let error = frame["error"]["code"].as_str();
        match name.starts_with("sin") {
            true => assert_eq!(error, Some("no_history")),
            false if error.is_some() => assert_eq!(error, Some("history_unavailable")),
            false => {
                let number = frame["data"][0]["request"].as_u64().unwrap();
                assert!(usize::try_from(number).unwrap() >= from, "too old: {frame}");
            }
        }
    }
}

fn connect(shard: &SimulatedShard) -> TestClient {
    let (client, server) = UnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    let socket = TcpStream::from(OwnedFd::from(server));
    socket.set_nonblocking(true).unwrap();
    let keys = ["1", "2"].map(ToOwned::to_owned).to_vec();
    let grants = Grants::new(vec![("negocio_id".into(), keys)], Vec::new());
    let principal = Principal::new(UserId::new("ana"), i64::MAX, None, grants);
    let permit = PermitSet::new(Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap());
    shard.add_upgraded(UpgradedConnection {
        socket,
        early_bytes: bytes::Bytes::new(),
        kind: ConnectionKind::Native(Arc::new(principal), None),
        permits: permit,
    });
    TestClient {
        socket: client,
        bytes: Vec::new(),
        channels: BTreeMap::new(),
    }
}

/// Sends a short message as a text frame, masked with zeros.
fn send(socket: &mut UnixStream, message: &Value) {
    let text = message.to_string();
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 126);
    let head = [0x81, 0x80 | length.unwrap(), 0, 0, 0, 0];
    socket
        .write_all(&[&head, text.as_bytes()].concat())
        .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn history_comes_once_for_each_request_before_any_frame(
        steps in prop::collection::vec(step(), 1..100),
    ) {
        let mut model = Model::new();
        model.check();
        for step in &steps {
            model.apply(step);
            model.check();
        }
        // Once everything is answered, nobody waits, and numbers arrive.
        while !model.requests.0.lock().unwrap().open.is_empty() {
            model.apply(&Step::Answer(true));
            model.check();
        }
        for client in &model.clients {
            for (name, expected) in &client.channels {
                prop_assert_eq!(expected.history_from, None, "{} waits", name);
            }
        }
    }
}

#[test]
fn history_that_meets_a_full_socket_is_read_again_once_the_client_reads() {
    let mut model = Model::new();
    model.apply(&Step::Subscribe(0, 3, false));
    model.apply(&Step::Subscribe(0, 0, true));
    model.check();
    model.fill_sockets();
    model.apply(&Step::Answer(true));
    assert!(model.shard.run_until_idle());
    model.apply(&Step::Subscribe(0, 2, true));
    assert!(model.shard.run_until_idle());
    assert_eq!(model.requests.next_number(), 1, "nothing is read for it");
    model.drain(0);
    let waits = |model: &Model, name: &str| model.clients[0].channels[name].history_from.is_some();
    assert!(waits(&model, "con:1"), "the first history was dropped");
    for number in [2, 3] {
        assert_eq!(model.requests.next_number(), number, "one at a time");
        model.apply(&Step::Answer(true));
        model.check();
    }
    assert!(!waits(&model, "con:1") && !waits(&model, "con:2"));
}

#[test]
fn history_of_a_stream_that_was_removed_keeps_no_other_one_waiting() {
    let mut model = Model::new();
    model.apply(&Step::Subscribe(0, 0, true));
    model.apply(&Step::Subscribe(0, 2, true));
    let other = json!({"channel": "otra:1", "history": true});
    let message = json!({"type": "subscribe", "data": other});
    send(&mut model.clients[0].socket, &message);
    assert!(model.shard.run_until_idle());
    // The client has not left the channels of `con` yet.
    model.catalog.list(vec![StreamId(1), StreamId(2)]);
    model.apply(&Step::Answer(true));
    assert!(model.shard.run_until_idle());
    let requests = model.requests.0.lock().unwrap();
    let open = requests.open.iter().map(|(_, channel, _)| &*channel.name);
    assert_eq!(open.collect::<Vec<_>>(), ["otra:1"]);
}
