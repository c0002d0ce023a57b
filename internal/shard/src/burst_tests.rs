//! Many clients that need service at the same moment, and clients that send without reading: the
//! effect on other clients.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use mio::Waker;
use tokio::sync::{Semaphore, mpsc};

use super::*;
use crate::{RequestHandler, SEND_BUFFER_BYTES};
use latido_auth::{
    Grants, PermissionFuture, PermissionSource, Policy, PolicyConfig, Principal, Verifier,
    VerifierConfig,
};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_base::ident::{Key, StreamId, Topic};
use latido_hub::{Hub, WatchObserver};
use latido_session::{SessionContext, SessionLimits};
use latido_stream::{Catalog, KeyType, Stream, StreamRow};
use latido_telemetry::Metrics;

/// Returns a subscribe message as a frame, masked with zeros.
fn subscription(key: usize) -> Vec<u8> {
    let text = format!(r#"{{"type":"subscribe","channel":"estadisticas:{key}"}}"#);
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// The padding of a frame, in bytes.
const FRAME_BYTES: usize = 10_000;
/// The number of clients that connect or disconnect at once.
const BURST: usize = 100;
/// The key that the one viewer watches; each client of the burst has its own key.
const VIEWED_KEY: usize = 0;

/// Records, for each topic that becomes watched or unwatched, whether the viewer has anything to
/// read by then.
#[derive(Clone, Default)]
struct ViewerProbe {
    viewer: Arc<Mutex<Option<UnixStream>>>,
    observations: Arc<Mutex<Vec<bool>>>,
}

impl ViewerProbe {
    fn has_read(&self) -> bool {
        let viewer = self.viewer.lock().unwrap();
        viewer
            .as_ref()
            .is_some_and(|mut socket| socket.read(&mut [0; 4096]).is_ok_and(|count| count > 0))
    }

    /// Returns the number of clients served before the viewer received something.
    fn served_before_viewer(&self) -> Option<usize> {
        self.observations
            .lock()
            .unwrap()
            .iter()
            .position(|had| *had)
    }

    fn record(&self) {
        let had = self.has_read();
        self.observations.lock().unwrap().push(had);
    }
}

impl WatchObserver for ViewerProbe {
    fn on_watched(&self, _: &Topic) {
        self.record();
    }

    fn on_unwatched(&self, _: &Topic) {
        self.record();
    }
}

struct DenyAll;

impl PermissionSource for DenyAll {
    fn allowed<'a>(&'a self, _: &'a Stream, _: &'a UserId, _: &'a Key) -> PermissionFuture<'a> {
        Box::pin(std::future::ready(Ok(false)))
    }
}

/// A shard with one viewer that has read everything.
struct TestShard {
    worker: ShardWorker,
    events: Events,
    probe: ViewerProbe,
    hub: Arc<Hub>,
    permits: Arc<Semaphore>,
    _requests: [mpsc::Receiver<crate::async_requests::QueuedRequest>; 3],
}

impl TestShard {
    fn new() -> Self {
        let catalog = Arc::new(Catalog::new(vec![Stream::test_stream(
            "estadisticas",
            Some(KeyType::Integer),
        )]));
        let witness = ViewerProbe::default();
        let hub = Arc::new(Hub::new(Arc::clone(&catalog), Box::new(witness.clone())));
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(usize::MAX)).unwrap());
        let frames = hub.register_shard(|| {});
        let policy = Arc::new(Policy::new(PolicyConfig::default(), Arc::new(DenyAll)));
        let verifier =
            Arc::new(Verifier::new(&VerifierConfig::default(), Clock::system()).unwrap());
        let deps = ShardDeps {
            hub: Arc::clone(&hub),
            context: SessionContext {
                catalog: Arc::clone(&catalog),
                policy: Arc::clone(&policy),
                limits: SessionLimits::default(),
            },
            request_handler: RequestHandler {
                verifier,
                policy,
                catalog,
            },
            clock: Clock::system(),
            metrics: Arc::new(Metrics::new()),
            drain: Drain::new(),
        };
        let [
            (permission_queue, permissions),
            (token_queue, tokens),
            (app_queue, app_requests),
        ] = std::array::from_fn(|_| mpsc::channel(1));
        let inbox = Arc::new(Inbox::new(waker));
        let worker = ShardWorker::new(
            poll,
            inbox,
            frames,
            [permission_queue, token_queue, app_queue],
            deps,
        );
        let (events, permits) = (
            Events::with_capacity(2 * BURST),
            Arc::new(Semaphore::new(BURST + 1)),
        );
        let mut shard = Self {
            worker,
            events,
            probe: witness,
            hub,
            permits,
            _requests: [permissions, tokens, app_requests],
        };
        let viewer = shard.connect(VIEWED_KEY);
        shard.tick();
        *shard.probe.viewer.lock().unwrap() = Some(viewer);
        assert!(shard.probe.has_read(), "the response to its subscription");
        shard
    }

    /// Connects a client that subscribes together with its handshake.
    fn connect(&self, key: usize) -> UnixStream {
        let (client, server) = UnixStream::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        let socket = std::net::TcpStream::from(OwnedFd::from(server));
        socket.set_nonblocking(true).unwrap();
        let grants = Grants::new(
            vec![(
                "negocio_id".into(),
                (0..=BURST).map(|key| key.to_string()).collect(),
            )],
            Vec::new(),
        );
        let principal = Arc::new(Principal::new(UserId::new("ana"), i64::MAX, None, grants));
        let early = subscription(key);
        let permit = PermitSet::new(Arc::clone(&self.permits).try_acquire_owned().unwrap());
        let kind = ConnectionKind::Native(principal, None);
        self.worker
            .inbox
            .put(ShardCommand::AddUpgraded(Box::new(UpgradedConnection {
                socket,
                early_bytes: early.into(),
                kind,
                permits: permit,
            })));
        client
    }

    fn connect_many(&self) -> Vec<UnixStream> {
        (1..=BURST).map(|key| self.connect(key)).collect()
    }

    /// Publishes new values for a key; `turn` is one of them.
    fn change(&self, key: usize, turn: usize) {
        let key = Key::from_canonical(&key.to_string());
        let columns = format!(
            r#"{{"turn":{turn},"padding":"{}"}}"#,
            "x".repeat(FRAME_BYTES)
        );
        self.hub.publish(
            &Topic {
                stream: StreamId(0),
                key: key.clone(),
            },
            &StreamRow {
                key,
                columns,
                clock_us: 1,
            },
        );
    }

    /// Publishes new values for the viewer's key.
    fn publish(&self) {
        self.change(VIEWED_KEY, 1);
        self.probe.observations.lock().unwrap().clear();
    }

    /// Runs one tick of the shard's thread.
    fn tick(&mut self) {
        self.worker
            .poll
            .poll(&mut self.events, Some(Duration::ZERO))
            .unwrap();
        self.worker.handle_events(&self.events);
    }

    /// Runs ticks until only the viewer's slot is in use.
    fn tick_until_viewer_alone(&mut self) {
        while self.worker.slots_in_use() > 1 {
            let timeout = self.worker.poll_timeout();
            self.worker.poll.poll(&mut self.events, timeout).unwrap();
            self.worker.handle_events(&self.events);
        }
    }

    fn assert_viewer_served_meanwhile(&self) {
        assert_eq!(
            self.probe.observations.lock().unwrap().len(),
            BURST,
            "every client was served in this tick"
        );
        let before = self
            .probe
            .served_before_viewer()
            .expect("the viewer's frame came before the last of them");
        assert!(before <= CLIENTS_PER_YIELD, "after {before} of them");
    }
}

#[test]
fn a_frame_waits_for_few_disconnecting_clients() {
    let mut shard = TestShard::new();
    let clients = shard.connect_many();
    shard.tick();
    shard.publish();
    drop(clients);
    shard.tick();
    shard.assert_viewer_served_meanwhile();
    assert_eq!(
        shard.permits.available_permits(),
        BURST,
        "the clients are removed at once"
    );
    assert!(
        shard.worker.slots_in_use() > 1,
        "their sockets are closed later"
    );
    shard.tick_until_viewer_alone();
}

#[test]
fn every_closing_client_gets_a_close_reply_despite_later_input() {
    const CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8];
    const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];
    let mut shard = TestShard::new();
    let mut clients = shard.connect_many();
    shard.tick();
    let mut received = Vec::new();
    for client in &mut clients {
        // The response to the subscription; it is not examined.
        let _unread: io::Result<usize> = client.read(&mut [0; 4096]);
        client.write_all(&CLOSE).unwrap();
    }
    shard.tick();
    clients
        .iter_mut()
        .for_each(|client| client.write_all(&PING).unwrap_or_default());
    shard.tick_until_viewer_alone();
    for client in &mut clients {
        received.clear();
        client.read_to_end(&mut received).unwrap();
        assert_eq!(received, [0x88, 0x02, 0x03, 0xE8]);
    }
}

#[test]
fn a_single_disconnect_is_closed_in_the_same_tick() {
    let mut shard = TestShard::new();
    let client = shard.connect(1);
    shard.tick();
    drop(client);
    shard.tick();
    assert_eq!(shard.worker.slots_in_use(), 1);
}

#[test]
fn shutdown_does_not_wait_for_the_close_queue() {
    let mut shard = TestShard::new();
    let clients = shard.connect_many();
    shard.tick();
    drop(clients);
    *shard.probe.viewer.lock().unwrap() = None;
    shard.tick();
    assert!(shard.worker.slots_in_use() > 0, "some are still open");
    shard
        .worker
        .inbox
        .put(ShardCommand::Shutdown { spread_ms: 0 });
    shard.tick();
    assert!(shard.worker.is_stopping);
}

#[test]
fn the_close_queue_can_be_emptied_for_descriptors() {
    let mut shard = TestShard::new();
    let clients = shard.connect_many();
    shard.tick();
    drop(clients);
    shard.tick();
    assert!(shard.worker.close_all(), "some were still open");
    assert_eq!(shard.worker.slots_in_use(), 1);
    assert!(!shard.worker.close_all());
}

#[test]
fn a_frame_waits_for_few_connecting_clients() {
    let mut shard = TestShard::new();
    shard.publish();
    let _clients = shard.connect_many();
    shard.tick();
    shard.assert_viewer_served_meanwhile();
    assert_eq!(shard.worker.slots_in_use(), 1 + BURST);
}

/// Returns the bytes kept for single clients.
fn kept_bytes(shard: &TestShard) -> usize {
    let clients = shard.worker.clients.iter().flatten();
    clients
        .filter_map(|client| client.outbox.as_ref())
        .map(|outbox| outbox.kept_bytes())
        .sum()
}

/// Reads everything that is available.
fn read(socket: &mut UnixStream) -> String {
    let (mut all, mut buffer) = (Vec::new(), [0; 64 * 1024]);
    while let Ok(count @ 1..) = socket.read(&mut buffer) {
        all.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn repeated_requests_without_reading_keep_one_frame() {
    const REQUESTS: usize = 150;
    /// An upper bound of a response's size, in bytes.
    const RESPONSE_BYTES: usize = 100;
    let mut shard = TestShard::new();
    let mut slow = shard.connect(1);
    shard.tick();
    for turn in 1.. {
        shard.change(1, turn);
        shard.tick();
        if shard
            .worker
            .clients
            .iter()
            .flatten()
            .any(|client| client.outbox.is_some())
        {
            break;
        }
    }
    let mut requests: Vec<u8> = (0..REQUESTS).flat_map(|_| subscription(1)).collect();
    // The requests arrived together, and were read before the client's socket was full.
    shard.worker.with_client(1, |worker, client| {
        worker.feed(1, client, &mut Chunk::new(&mut requests))
    });
    assert!(
        kept_bytes(&shard) < REQUESTS * RESPONSE_BYTES + FRAME_BYTES,
        "{} bytes are kept",
        kept_bytes(&shard)
    );
    shard.change(1, 1_000_000);
    let mut all = String::new();
    for _ in 0..100 {
        all.push_str(&read(&mut slow));
        shard.tick();
    }
    let (answers, newest) = (
        all.matches("subscribed").count(),
        all.matches("1000000").count(),
    );
    assert_eq!(
        (answers, newest),
        (1 + REQUESTS, 1),
        "every request has its response, and the newest frame comes once"
    );
}

#[test]
fn a_slow_client_of_many_rooms_keeps_bounded_bytes() {
    let mut shard = TestShard::new();
    let mut slow = shard.connect(1);
    for key in 2..=50 {
        io::Write::write_all(&mut slow, &subscription(key)).unwrap();
    }
    shard.tick();
    shard.tick();
    for turn in 1..20 {
        for key in 1..=50 {
            shard.change(key, turn);
        }
        shard.tick();
    }
    let mut all = String::new();
    for _ in 0..200 {
        assert!(
            kept_bytes(&shard) <= 2 * (SEND_BUFFER_BYTES + 2 * FRAME_BYTES),
            "{} bytes are kept",
            kept_bytes(&shard)
        );
        all.push_str(&read(&mut slow));
        shard.tick();
    }
    assert_eq!(
        all.matches("\"turn\":19").count(),
        50,
        "the newest of each, once"
    );
}
