//! All parts of a run, and the passage of time in it.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::database_model::{DatabaseModel, today};
use crate::reads::{LIMIT, ReadQueue};
use crate::script::{KEYS, Script, VIEWERS};
use crate::viewer::SimViewer;
use crate::violation::Violation;
use latido_admission::PermitSet;
use latido_auth::{
    Grants, PermissionFuture, PermissionSource, Policy, PolicyConfig, Principal, Verifier,
    VerifierConfig,
};
use latido_base::clock::{Clock, simulated};
use latido_base::drain::Drain;
use latido_base::ident::{Key, StreamId, Topic, UserId};
use latido_engine::{self as engine, Engine, NotifyState, ReadFailed, SimulatedActor};
use latido_hub::Hub;
use latido_postgres::WatchLocks;
use latido_session::{SessionContext, SessionLimits};
use latido_shard::{
    self as shard, PendingRequest, RequestHandler, SimulatedShard, UpgradedConnection,
};
use latido_stream::{Catalog, Interest, KeyType, Stream, ZoneRule};
use latido_telemetry::Metrics;

/// The zone of every key in runs in which keys have no own zone.
pub(super) const ZONE: &str = "America/Guayaquil";
/// The hot-key threshold, in notifications per second.
const HOT_KEY_THRESHOLD: u32 = 2;
/// The sweep interval of runs in which the sweep must not hide a lost change.
const NEVER: Duration = Duration::from_secs(100_000);

/// The state of the lock holder's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LockHolderState {
    Up,
    /// The connection is gone, and the lock holder has not noticed.
    Lost,
    Down,
}

/// A hook call that waits for its response.
pub(super) struct PendingHook {
    pub(super) key: u8,
    pub(super) commits: u64,
    /// The number of times the key had lost its last viewer at the time of the call.
    pub(super) losses_at_call: u64,
    pub(super) response: Pin<Box<dyn Future<Output = Result<(), ReadFailed>> + Send>>,
}

/// One instance of the server.
pub(super) struct SimServer {
    pub(super) engine: Engine,
    pub(super) actor: SimulatedActor,
    pub(super) hub: Arc<Hub>,
    pub(super) shard: SimulatedShard,
    pub(super) interest: WatchLocks,
    viewer_losses: Arc<[AtomicU64]>,
}

/// The complete simulation; see the documentation of this module.
pub(super) struct SimWorld {
    pub(super) server: SimServer,
    pub(super) database: DatabaseModel,
    pub(super) reads: ReadQueue,
    pub(super) viewers: Vec<SimViewer>,
    pub(super) requests: Vec<PendingRequest>,
    pub(super) hooks: Vec<PendingHook>,
    /// The number of commits that the newest answered read saw, by key.
    pub(super) answered: [u64; KEYS as usize],
    /// The permissions of each user in the database.
    pub(super) permissions: [[bool; KEYS as usize]; VIEWERS],
    pub(super) lock_holder: LockHolderState,
    pub(super) reads_flow: bool,
    /// True while the listener is connected and the server knows it.
    pub(super) is_listener_up: bool,
    pub(super) wall_skew_us: i64,
    /// The time of the last jump of the wall clock.
    pub(super) jumped: Option<Instant>,
    pub(super) lost: bool,
    pub(super) lossy: bool,
    pub(super) zones: bool,
    /// The key of the group's channel.
    pub(super) group_key: u8,
    start: Instant,
    pub(super) now: Instant,
    start_wall_us: i64,
    permits: Arc<Semaphore>,
}

struct CountingInterest(WatchLocks, Arc<[AtomicU64]>);

impl Interest for CountingInterest {
    fn watch(&self, topic: &Topic) -> NotifyState {
        self.0.watch(topic)
    }

    fn unwatch(&self, topic: &Topic) {
        self.1[usize::from(crate::reads::key_number(&topic.key))].fetch_add(1, Ordering::Relaxed);
        self.0.unwatch(topic);
    }

    fn release_for_polling(&self, topic: &Topic) -> bool {
        self.0.release_for_polling(topic)
    }
}

/// A permission source that is never queried: the world answers the requests of the queues.
struct UnusedPermissions;

impl PermissionSource for UnusedPermissions {
    fn allowed<'a>(&'a self, _: &'a Stream, _: &'a UserId, _: &'a Key) -> PermissionFuture<'a> {
        Box::pin(std::future::ready(Ok(false)))
    }
}

static POLICY: LazyLock<Arc<Policy>> = LazyLock::new(|| {
    Arc::new(Policy::new(
        PolicyConfig::default(),
        Arc::new(UnusedPermissions),
    ))
});

pub(super) fn topic(key: u8) -> Topic {
    Topic {
        stream: StreamId(0),
        key: Key::from_canonical(&key.to_string()),
    }
}

fn catalog(zones: bool) -> Arc<Catalog> {
    let zone = match zones {
        true => ZoneRule::Query {
            sql: String::new(),
            default: ZONE.to_owned(),
        },
        false => ZoneRule::Fixed(ZONE.to_owned()),
    };
    let fake = Stream::test_stream("estadisticas", Some(KeyType::Integer));
    Arc::new(Catalog::new(vec![Stream {
        zone_rule: zone,
        authorize_query: Some(String::new()),
        ..fake
    }]))
}

/// Returns the settings of the engine. In runs without lost notifications, no sweep hides a lost
/// change.
fn engine_config(lossy: bool, zones: bool) -> engine::Config {
    let (sweep, sweep_without_notifications) = if lossy {
        (Duration::from_secs(30), Duration::from_secs(5))
    } else {
        (NEVER, NEVER)
    };
    engine::Config {
        // With separate zones a key becomes hot after a few notifications; in other runs never.
        pacing: engine::ReadPacing {
            hot_from: zones.then_some(HOT_KEY_THRESHOLD),
            ..engine::ReadPacing::default()
        },
        sweep,
        sweep_without_notifications,
        ..engine::Config::default()
    }
}

impl SimServer {
    fn start(lossy: bool, zones: bool, reads: &ReadQueue) -> Self {
        let (catalog, clock, metrics, drain) = (
            catalog(zones),
            Clock::system(),
            Arc::new(Metrics::new()),
            Drain::new(),
        );
        let config = engine_config(lossy, zones);
        let interest = WatchLocks::new(&catalog);
        let viewer_losses: Arc<[AtomicU64]> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
        let interest_counter = Arc::new(CountingInterest(
            interest.clone(),
            Arc::clone(&viewer_losses),
        ));
        let engine = Engine::new(&config, &catalog, interest_counter, Arc::clone(&metrics));
        let hub = Arc::new(Hub::new(Arc::clone(&catalog), engine.observer()));
        let verifier = Arc::new(Verifier::new(&VerifierConfig::default(), clock.clone()).unwrap());
        let policy = Arc::clone(&POLICY);
        let shard = SimulatedShard::new(shard::ShardDeps {
            hub: Arc::clone(&hub),
            context: SessionContext {
                catalog: Arc::clone(&catalog),
                policy: Arc::clone(&policy),
                limits: SessionLimits::default(),
            },
            request_handler: RequestHandler {
                verifier,
                policy,
                catalog: Arc::clone(&catalog),
            },
            clock: clock.clone(),
            metrics,
            drain: drain.clone(),
        });
        let actor = SimulatedActor::new(
            &engine,
            engine::EngineDeps {
                config,
                catalog,
                hub: Arc::clone(&hub),
                reader: Arc::new(reads.clone()),
                clock,
                drain,
            },
        );
        Self {
            engine,
            actor,
            hub,
            shard,
            interest,
            viewer_losses,
        }
    }

    /// Returns the number of times the key lost its last viewer.
    pub(super) fn left(&self, key: u8) -> u64 {
        self.viewer_losses[usize::from(key)].load(Ordering::Relaxed)
    }
}

impl SimWorld {
    pub(super) fn new(script: &Script) -> Self {
        let midnight = "2026-11-22T05:00:00Z".parse::<Timestamp>().unwrap();
        let start_wall_us =
            midnight.as_microsecond() - i64::from(script.before_midnight_s) * 1_000_000;
        let start = Instant::now();
        simulated::set(
            start,
            Duration::from_micros(u64::try_from(start_wall_us).unwrap()),
        );
        let reads = ReadQueue::default();
        let server = SimServer::start(script.lossy, script.zones, &reads);
        let locks = (0..KEYS)
            .map(|key| server.interest.locks_of_key(&topic(key)))
            .collect();
        let first_day = today(ZONE, Timestamp::from_microsecond(start_wall_us).unwrap());
        let mut world = Self {
            server,
            database: DatabaseModel::new(first_day, locks, start_wall_us),
            reads,
            viewers: (0..VIEWERS + usize::from(script.group_size))
                .map(|_| SimViewer::default())
                .collect(),
            requests: Vec::new(),
            hooks: Vec::new(),
            answered: [0; KEYS as usize],
            permissions: [[true; KEYS as usize]; VIEWERS],
            lock_holder: LockHolderState::Down,
            reads_flow: true,
            is_listener_up: false,
            wall_skew_us: 0,
            jumped: None,
            lost: false,
            lossy: script.lossy,
            zones: script.zones,
            group_key: script.group_key,
            start,
            now: start,
            start_wall_us,
            permits: Arc::new(Semaphore::new(10_000)),
        };
        world.listener_back();
        world.lock_holder_back();
        world
    }

    /// Returns the time of the server's wall clock.
    pub(super) fn wall(&self) -> Timestamp {
        let passed = i64::try_from((self.now - self.start).as_micros()).unwrap();
        Timestamp::from_microsecond(self.start_wall_us + passed + self.wall_skew_us).unwrap()
    }

    /// Starts another server in place of the ended one. Its clients and connections are gone.
    pub(super) fn restart(&mut self) {
        self.reads.0.lock().unwrap().clear();
        self.requests.clear();
        self.hooks.clear();
        self.database.drop_server_connections();
        (self.is_listener_up, self.lock_holder, self.lost) = (false, LockHolderState::Down, false);
        self.server = SimServer::start(self.lossy, self.zones, &self.reads);
        self.listener_back();
        self.lock_holder_back();
    }

    /// Connects a viewer through a socket that fills quickly.
    pub(super) fn connect(&mut self, viewer: usize, good_for_s: u16) {
        let (client_end, server_end) = UnixStream::pair().unwrap();
        let socket = std::net::TcpStream::from(OwnedFd::from(server_end));
        socket.set_nonblocking(true).unwrap();
        socket2::SockRef::from(&socket)
            .set_send_buffer_size(4_608)
            .unwrap();
        let principal = Arc::new(self.principal(viewer, good_for_s, true));
        self.viewers[viewer].connect(client_end, principal.ends_at_s());
        let kind = shard::ConnectionKind::Native(principal, None);
        let permit = PermitSet::new(Arc::clone(&self.permits).try_acquire_owned().unwrap());
        self.server.shard.add_upgraded(UpgradedConnection {
            socket,
            early_bytes: bytes::Bytes::new(),
            kind,
            permits: permit,
        });
    }

    /// Creates the identity of a viewer. The token claims grant keys 0 and 1 to viewer 0, and their
    /// keys to the group. The database decides all other permissions.
    pub(super) fn principal(&mut self, viewer: usize, good_for_s: u16, claims: bool) -> Principal {
        let keys: Vec<u8> = match viewer {
            0 if claims => vec![0, 1],
            VIEWERS.. => vec![self.group_key, self.group_key + 1],
            _ => Vec::new(),
        };
        self.viewers[viewer].allowed.extend(&keys);
        let field = (
            "negocio_id".into(),
            keys.iter().map(u8::to_string).collect(),
        );
        let expires_at_s = self.wall().as_second() + i64::from(good_for_s);
        Principal::new(
            UserId::new(&viewer.to_string()),
            expires_at_s,
            None,
            Grants::new(vec![field], Vec::new()),
        )
    }

    /// Runs all parts until they are idle, without advancing time.
    pub(super) fn run_until_idle(&mut self) -> Result<(), Violation> {
        loop {
            self.run_lock_holder();
            if !self.server.actor.run_until_idle() {
                return Err("the engine never rests".to_owned());
            }
            if !self.server.shard.run_until_idle() {
                return Err("the shard never rests".to_owned());
            }
            while let Some(asked) = self.server.shard.next_request() {
                self.requests.push(asked);
            }
            let (now_s, jumped) = (self.wall().as_second(), self.has_just_jumped());
            let mut read = false;
            for viewer in self.viewers.iter_mut().filter(|viewer| !viewer.is_paused) {
                read |= viewer.read(usize::MAX, now_s, jumped)?;
            }
            if !read {
                break;
            }
        }
        self.check_hooks()
    }

    /// A shard checks a client's token at least once per turn of its timer wheel, so it notices a
    /// jump of the wall clock within that time.
    fn has_just_jumped(&self) -> bool {
        self.jumped
            .is_some_and(|at| self.now.saturating_duration_since(at) < Duration::from_secs(66))
    }

    fn check_hooks(&mut self) -> Result<(), Violation> {
        for mut hook in std::mem::take(&mut self.hooks) {
            match (&mut hook.response).now_or_never() {
                None => self.hooks.push(hook),
                Some(Ok(()))
                    if hook.losses_at_call == self.server.left(hook.key)
                        && self.answered[usize::from(hook.key)] < hook.commits =>
                {
                    return Err(format!(
                        "a hook of key {} was answered before its change was read",
                        hook.key
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Advances time and runs everything that becomes due.
    pub(super) fn advance(&mut self, by: Duration) -> Result<(), Violation> {
        let target = self.now + by;
        self.run_until_idle()?;
        while self.now < target {
            let reads = self
                .reads
                .0
                .lock()
                .unwrap()
                .iter()
                .map(|read| read.asked + LIMIT)
                .min();
            let due = [
                self.server.actor.deadline(),
                self.server.shard.next_wakeup(),
                reads,
                Some(target),
            ];
            let next = due
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(target)
                .max(self.now + Duration::from_micros(1));
            self.set_now(next.min(target));
            self.expire();
            if self.reads_flow {
                self.advance_reads();
            }
            self.run_until_idle()?;
            self.check_invariants()?;
        }
        Ok(())
    }

    fn set_now(&mut self, now: Instant) {
        self.database
            .step_clock(i64::try_from((now - self.now).as_micros()).unwrap());
        self.now = now;
        self.apply_clock();
    }

    pub(super) fn apply_clock(&self) {
        let wall = u64::try_from(self.wall().as_microsecond()).unwrap();
        simulated::set(self.now, Duration::from_micros(wall));
    }

    /// Fails statements that take too long: by their own timeout, or with no response at all.
    fn expire(&mut self) {
        let mut reads = self.reads.0.lock().unwrap();
        let (late, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut *reads)
            .into_iter()
            .partition(|read| self.now >= read.asked + LIMIT);
        *reads = rest;
        drop(reads);
        late.into_iter()
            .for_each(|read| read.fail(self.database.is_up));
    }

    /// Lets reads progress at their own pace: executed first, and answered a little later.
    pub(super) fn advance_reads(&mut self) {
        let (done, mut rest): (Vec<_>, Vec<_>) = std::mem::take(&mut *self.reads.0.lock().unwrap())
            .into_iter()
            .partition(|read| read.seen.is_some());
        rest.iter_mut()
            .for_each(|read| read.execute(&self.database));
        self.reads.0.lock().unwrap().extend(rest);
        done.into_iter().for_each(|read| self.finish(read));
    }
}
