//! A shard with one viewer and many other clients, for tests of their effect on the viewer.

use crate::event_loop::CLIENTS_PER_YIELD;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mio::{Poll, Token, Waker};
use tokio::sync::{Semaphore, mpsc};

use crate::RequestHandler;
use crate::async_requests::{AppQueues, AsyncQueues};
use crate::command::ShardCommand;
use crate::deps::ShardDeps;
use crate::inbox::Inbox;
use crate::upgraded_connection::ConnectionKind;
use crate::upgraded_connection::UpgradedConnection;
use crate::worker::ShardWorker;
use latido_admission::PermitSet;
use latido_auth::{
    Grants, PermissionFuture, PermissionQuestion, PermissionSource, Policy, PolicyConfig,
    Principal, Verifier, VerifierConfig,
};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_base::ident::{Key, StreamId, Topic, UserId};
use latido_hub::{Hub, WatchObserver};
use latido_session::{SessionContext, SessionLimits};
use latido_stream::{Catalog, KeyType, Stream, StreamRow};
use latido_telemetry::Metrics;
use mio::Events;

/// Returns a subscribe message as a frame, masked with zeros.
pub(super) fn subscription(key: usize) -> Vec<u8> {
    let text = format!(r#"{{"type":"subscribe","channel":"estadisticas:{key}"}}"#);
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// The padding of a frame, in bytes.
pub(super) const FRAME_BYTES: usize = 10_000;
/// The number of clients that connect or disconnect at once.
pub(super) const BURST: usize = 100;
/// The key that the one viewer watches; each client of the burst has its own key.
pub(super) const VIEWED_KEY: usize = 0;

/// Records, for each topic that becomes watched or unwatched, whether the viewer has anything to
/// read by then.
#[derive(Clone, Default)]
pub(super) struct ViewerProbe {
    pub(super) viewer: Arc<Mutex<Option<UnixStream>>>,
    pub(super) observations: Arc<Mutex<Vec<bool>>>,
}

impl ViewerProbe {
    pub(super) fn has_read(&self) -> bool {
        let viewer = self.viewer.lock().unwrap();
        viewer
            .as_ref()
            .is_some_and(|mut socket| socket.read(&mut [0; 4096]).is_ok_and(|count| count > 0))
    }

    /// Returns the number of clients served before the viewer received something.
    pub(super) fn served_before_viewer(&self) -> Option<usize> {
        self.observations
            .lock()
            .unwrap()
            .iter()
            .position(|had| *had)
    }

    pub(super) fn record(&self) {
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

pub(super) struct DenyAll;

impl PermissionSource for DenyAll {
    fn allowed<'a>(&'a self, _: &'a Stream, _: PermissionQuestion<'a>) -> PermissionFuture<'a> {
        Box::pin(std::future::ready(Ok(false)))
    }
}

/// A shard with one viewer that has read everything.
pub(super) struct TestShard {
    pub(super) worker: ShardWorker,
    pub(super) events: Events,
    pub(super) probe: ViewerProbe,
    pub(super) hub: Arc<Hub>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) _requests: [mpsc::Receiver<crate::async_requests::QueuedRequest>; 3],
}

impl TestShard {
    pub(super) fn new() -> Self {
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
            AsyncQueues {
                permissions: permission_queue,
                tokens: token_queue,
                apps: AppQueues::new(move || app_queue.clone()),
            },
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
    pub(super) fn connect(&self, key: usize) -> UnixStream {
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

    pub(super) fn connect_many(&self) -> Vec<UnixStream> {
        (1..=BURST).map(|key| self.connect(key)).collect()
    }

    /// Publishes new values for a key; `turn` is one of them.
    pub(super) fn change(&self, key: usize, turn: usize) {
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
    pub(super) fn publish(&self) {
        self.change(VIEWED_KEY, 1);
        self.probe.observations.lock().unwrap().clear();
    }

    /// Runs one tick of the shard's thread.
    pub(super) fn tick(&mut self) {
        self.worker
            .poll
            .poll(&mut self.events, Some(Duration::ZERO))
            .unwrap();
        self.worker.handle_events(&self.events);
    }

    /// Runs ticks until only the viewer's slot is in use.
    pub(super) fn tick_until_viewer_alone(&mut self) {
        while self.worker.slots_in_use() > 1 {
            let timeout = self.worker.poll_timeout();
            self.worker.poll.poll(&mut self.events, timeout).unwrap();
            self.worker.handle_events(&self.events);
        }
    }

    pub(super) fn assert_viewer_served_meanwhile(&self) {
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
