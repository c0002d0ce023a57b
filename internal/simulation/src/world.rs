//! All parts of a run, and the passage of time in it.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::database_model::{DatabaseModel, TopicLocks, today};
use crate::event_stream::{EVENT_STREAMS, SimEventStream};
use crate::reads::{LIMIT, ReadFault, ReadQueue};
use crate::script::{Script, VIEWERS};
use crate::server::{Permissions, SimServer, ZONE};
use crate::topics::{TOPICS, topic};
use crate::viewer::SimViewer;
use crate::violation::Violation;
use latido_admission::PermitSet;
use latido_auth::{Grants, Principal};
use latido_base::clock::simulated;
use latido_base::ident::UserId;
use latido_engine::ReadFailed;
use latido_shard::{self as shard, PendingRequest, UpgradedConnection};

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

/// The complete simulation; see the documentation of this module.
pub(super) struct SimWorld {
    pub(super) server: SimServer,
    pub(super) database: DatabaseModel,
    pub(super) reads: ReadQueue,
    pub(super) viewers: Vec<SimViewer>,
    pub(super) event_streams: [SimEventStream; EVENT_STREAMS],
    pub(super) requests: Vec<PendingRequest>,
    pub(super) hooks: Vec<PendingHook>,
    /// The keys whose last read was refused alone, with the number of times that they had lost their
    /// last viewer by then.
    pub(super) refused: BTreeMap<u8, u64>,
    /// The number of commits that the newest answered read saw, by key.
    pub(super) answered: [u64; TOPICS as usize],
    /// The last read of each key whose stream has an interval of its own, with the number of times
    /// that the key had lost its last viewer by then.
    pub(super) paced: BTreeMap<u8, (Instant, u64)>,
    /// A read that came too soon after another one.
    pub(super) too_soon: Option<Violation>,
    pub(super) permissions: Permissions,
    /// The rights that a recheck found withdrawn, and the time of the first such recheck.
    pub(super) withdrawn: BTreeMap<(usize, u8), Instant>,
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
        let permissions: Permissions = Arc::new(Mutex::new([[true; TOPICS as usize]; VIEWERS]));
        let server = SimServer::start(script.lossy, script.zones, &reads, &permissions);
        let locks = (0..TOPICS).map(topic).map(|topic| TopicLocks {
            pair: server.interest.locks_of_key(&topic),
            gate: server.interest.gate_locks(&topic),
        });
        let locks = locks.collect();
        let first_day = today(ZONE, Timestamp::from_microsecond(start_wall_us).unwrap());
        let mut world = Self {
            server,
            database: DatabaseModel::new(first_day, locks, start_wall_us),
            reads,
            viewers: (0..VIEWERS + usize::from(script.group_size))
                .map(|_| SimViewer::default())
                .collect(),
            event_streams: Default::default(),
            requests: Vec::new(),
            hooks: Vec::new(),
            refused: BTreeMap::new(),
            answered: [0; TOPICS as usize],
            paced: BTreeMap::new(),
            too_soon: None,
            permissions,
            withdrawn: BTreeMap::new(),
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
        self.event_streams = Default::default();
        self.reads.0.lock().unwrap().clear();
        self.requests.clear();
        self.hooks.clear();
        self.refused.clear();
        self.paced.clear();
        self.database.drop_server_connections();
        (self.is_listener_up, self.lock_holder, self.lost) = (false, LockHolderState::Down, false);
        self.withdrawn.clear();
        self.server = SimServer::start(self.lossy, self.zones, &self.reads, &self.permissions);
        self.listener_back();
        self.lock_holder_back();
    }

    /// Looks up the rights in use again, and notes those that the database no longer grants.
    pub(super) fn recheck_permissions(&mut self) {
        self.server.recheck_permissions();
        let permissions = self.permissions.lock().unwrap();
        for (viewer, keys) in permissions.iter().enumerate() {
            for (key, may) in (0..).zip(keys) {
                if !may {
                    self.withdrawn.entry((viewer, key)).or_insert(self.now);
                }
            }
        }
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
            for stream in &mut self.event_streams {
                read |= stream.read()?;
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
        let fault = match self.database.is_up {
            true => ReadFault::Rejected,
            false => ReadFault::Unavailable,
        };
        late.into_iter().for_each(|read| self.fail(read, fault));
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
