//! Everything that a run consists of, and how time passes in it.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::auth::{
    Grants, Lookup, LookupFuture, Policy, PolicyConfig, Principal, Verifier, VerifierConfig,
};
use crate::clock::{Clock, simulated};
use crate::drain::Drain;
use crate::engine::{self, Actor, Arming, Engine, Unsettled};
use crate::hub::Hub;
use crate::ident::{Key, StreamId, Topic, UserId};
use crate::postgres::Interest;
use crate::session::{Context, Limits};
use crate::shard::{self, Arrival, Asking, Clerk, Thread};
use crate::simulation::Violation;
use crate::simulation::database::{Database, today};
use crate::simulation::reads::{LIMIT, Reads};
use crate::simulation::script::{KEYS, Script, VIEWERS};
use crate::simulation::viewer::Viewer;
use crate::stream::{Catalog, KeyType, Stream, ZoneRule};
use crate::telemetry::Metrics;

/// The zone of every key, where keys have none of their own.
pub(super) const ZONE: &str = "America/Guayaquil";
/// Notifications a second.
const HOT_FROM: u32 = 2;
/// Where no sweep is to hide what is lost.
const NEVER: Duration = Duration::from_secs(100_000);

/// The keeper's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeper {
    Up,
    /// Gone, and it does not know.
    Lost,
    Down,
}

/// A hook that waits for its answer.
pub(super) struct Hook {
    pub(super) key: u8,
    pub(super) commits: u64,
    /// How often the key had lost its last viewer when it was called.
    pub(super) left: u64,
    pub(super) answer: Pin<Box<dyn Future<Output = Result<(), Unsettled>> + Send>>,
}

/// One life of the server.
pub(super) struct Server {
    pub(super) engine: Engine,
    pub(super) actor: Actor,
    pub(super) hub: Arc<Hub>,
    pub(super) thread: Thread,
    pub(super) interest: Interest,
    left: Arc<[AtomicU64]>,
}

/// See the module's documentation.
pub(super) struct World {
    pub(super) server: Server,
    pub(super) database: Database,
    pub(super) reads: Reads,
    pub(super) viewers: Vec<Viewer>,
    pub(super) asking: Vec<Asking>,
    pub(super) hooks: Vec<Hook>,
    /// By key: the commits that the newest answered read saw.
    pub(super) answered: [u64; KEYS as usize],
    /// What the database says each user may read.
    pub(super) rights: [[bool; KEYS as usize]; VIEWERS],
    pub(super) keeper: Keeper,
    pub(super) flows: bool,
    /// The listener's connection lives, and the server knows it.
    pub(super) hears: bool,
    pub(super) wall_skew_us: i64,
    /// When the wall clock last jumped, and when a notification was lost.
    pub(super) jumped: Option<Instant>,
    pub(super) lost: bool,
    pub(super) lossy: bool,
    pub(super) zones: bool,
    /// The key of the crowd's channel.
    pub(super) crowded: u8,
    start: Instant,
    pub(super) now: Instant,
    start_wall_us: i64,
    seats: Arc<Semaphore>,
}

struct Declares(Interest, Arc<[AtomicU64]>);

impl engine::Interest for Declares {
    fn watch(&self, topic: &Topic) -> Arming {
        self.0.add(topic).into()
    }

    fn unwatch(&self, topic: &Topic) {
        self.1[usize::from(crate::simulation::reads::number(&topic.key))]
            .fetch_add(1, Ordering::Relaxed);
        self.0.remove(topic);
    }

    fn relax(&self, topic: &Topic) -> bool {
        self.0.relax(topic)
    }
}

/// Never asked: the desk's questions are answered by the world.
struct Nobody;

impl Lookup for Nobody {
    fn allowed<'a>(&'a self, _: &'a Stream, _: &'a UserId, _: &'a Key) -> LookupFuture<'a> {
        Box::pin(std::future::ready(Ok(false)))
    }
}

static POLICY: LazyLock<Arc<Policy>> =
    LazyLock::new(|| Arc::new(Policy::new(PolicyConfig::default(), Arc::new(Nobody))));

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
    let fake = Stream::fake("estadisticas", Some(KeyType::Integer));
    Arc::new(Catalog::new(vec![Stream {
        zone,
        authorize: Some(String::new()),
        ..fake
    }]))
}

impl Server {
    fn start(lossy: bool, zones: bool, reads: &Reads) -> Self {
        let (catalog, clock, metrics, drain) = (
            catalog(zones),
            Clock::system(),
            Arc::new(Metrics::new()),
            Drain::new(),
        );
        let (sweep, sweep_deaf) = if lossy {
            (30, 5)
        } else {
            (NEVER.as_secs(), NEVER.as_secs())
        };
        let (sweep, sweep_deaf) = (Duration::from_secs(sweep), Duration::from_secs(sweep_deaf));
        // Where keys have zones of their own a key is hot after a few notifications, else in these runs never.
        let pace = engine::Pace {
            hot_from: zones.then_some(HOT_FROM),
            ..engine::Pace::default()
        };
        let config = engine::Config {
            pace,
            sweep,
            sweep_deaf,
            ..engine::Config::default()
        };
        let interest = Interest::new(&catalog);
        let left: Arc<[AtomicU64]> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
        let declares = Arc::new(Declares(interest.clone(), Arc::clone(&left)));
        let engine = Engine::new(&config, &catalog, declares, Arc::clone(&metrics));
        let hub = Arc::new(Hub::new(Arc::clone(&catalog), engine.observer()));
        let verifier = Arc::new(Verifier::new(&VerifierConfig::default(), clock.clone()).unwrap());
        let policy = Arc::clone(&POLICY);
        let thread = Thread::new(shard::Parts {
            hub: Arc::clone(&hub),
            context: Context {
                catalog: Arc::clone(&catalog),
                policy: Arc::clone(&policy),
                limits: Limits::default(),
            },
            clerk: Clerk {
                verifier,
                policy,
                catalog: Arc::clone(&catalog),
            },
            clock: clock.clone(),
            metrics,
            drain: drain.clone(),
        });
        let (hub_, reader) = (Arc::clone(&hub), Arc::new(reads.clone()));
        let actor = Actor::new(
            &engine,
            engine::Parts {
                config,
                catalog,
                hub: hub_,
                reader,
                clock,
                drain,
            },
        );
        Self {
            engine,
            actor,
            hub,
            thread,
            interest,
            left,
        }
    }

    /// How often the key lost its last viewer.
    pub(super) fn left(&self, key: u8) -> u64 {
        self.left[usize::from(key)].load(Ordering::Relaxed)
    }
}

impl World {
    pub(super) fn new(script: &Script) -> Self {
        let midnight = "2026-11-22T05:00:00Z".parse::<Timestamp>().unwrap();
        let start_wall_us =
            midnight.as_microsecond() - i64::from(script.before_midnight_s) * 1_000_000;
        let start = Instant::now();
        simulated::set(
            start,
            Duration::from_micros(u64::try_from(start_wall_us).unwrap()),
        );
        let reads = Reads::default();
        let server = Server::start(script.lossy, script.zones, &reads);
        let locks = (0..KEYS)
            .map(|key| server.interest.locks_of(&topic(key)))
            .collect();
        let first_day = today(ZONE, Timestamp::from_microsecond(start_wall_us).unwrap());
        let mut world = Self {
            server,
            database: Database::new(first_day, locks, start_wall_us),
            reads,
            viewers: (0..VIEWERS + usize::from(script.crowd))
                .map(|_| Viewer::default())
                .collect(),
            asking: Vec::new(),
            hooks: Vec::new(),
            answered: [0; KEYS as usize],
            rights: [[true; KEYS as usize]; VIEWERS],
            keeper: Keeper::Down,
            flows: true,
            hears: false,
            wall_skew_us: 0,
            jumped: None,
            lost: false,
            lossy: script.lossy,
            zones: script.zones,
            crowded: script.crowded,
            start,
            now: start,
            start_wall_us,
            seats: Arc::new(Semaphore::new(10_000)),
        };
        world.listener_back();
        world.keeper_back();
        world
    }

    /// The server's wall clock.
    pub(super) fn wall(&self) -> Timestamp {
        let passed = i64::try_from((self.now - self.start).as_micros()).unwrap();
        Timestamp::from_microsecond(self.start_wall_us + passed + self.wall_skew_us).unwrap()
    }

    /// Another server takes the place of the one that ended; its clients and connections are gone.
    pub(super) fn restart(&mut self) {
        self.reads.0.lock().unwrap().clear();
        self.asking.clear();
        self.hooks.clear();
        self.database.lose_server();
        (self.hears, self.keeper, self.lost) = (false, Keeper::Down, false);
        self.server = Server::start(self.lossy, self.zones, &self.reads);
        self.listener_back();
        self.keeper_back();
    }

    /// Connects a viewer, with a socket that is soon full.
    pub(super) fn connect(&mut self, viewer: usize, good_for_s: u16) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let socket = std::net::TcpStream::from(OwnedFd::from(theirs));
        socket.set_nonblocking(true).unwrap();
        socket2::SockRef::from(&socket)
            .set_send_buffer_size(4_608)
            .unwrap();
        let principal = Arc::new(self.principal(viewer, good_for_s, true));
        self.viewers[viewer].connect(ours, principal.ends_at_s());
        let entrant = shard::Entrant::Native(principal, None);
        let permit = shard::Permits::new(Arc::clone(&self.seats).try_acquire_owned().unwrap());
        self.server.thread.adopt(Arrival {
            socket,
            early: bytes::Bytes::new(),
            entrant,
            permit,
        });
    }

    /// Viewer 0 has keys 0 and 1 by its token's claims, and the crowd its own; of all else the database is asked.
    pub(super) fn principal(&mut self, viewer: usize, good_for_s: u16, claims: bool) -> Principal {
        let keys: Vec<u8> = match viewer {
            0 if claims => vec![0, 1],
            VIEWERS.. => vec![self.crowded, self.crowded + 1],
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

    /// Lets everybody do what there is to do now; no time passes.
    pub(super) fn settle(&mut self) -> Result<(), Violation> {
        loop {
            self.keep();
            if !self.server.actor.act() {
                return Err("the engine never rests".to_owned());
            }
            if !self.server.thread.act() {
                return Err("the shard never rests".to_owned());
            }
            while let Some(asked) = self.server.thread.question() {
                self.asking.push(asked);
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
        self.hear_hooks()
    }

    /// A shard looks at a client's token once in a turn of its wheel at least, so a jump of the wall clock is noticed within that.
    fn has_just_jumped(&self) -> bool {
        self.jumped
            .is_some_and(|at| self.now.saturating_duration_since(at) < Duration::from_secs(66))
    }

    fn hear_hooks(&mut self) -> Result<(), Violation> {
        for mut hook in std::mem::take(&mut self.hooks) {
            match (&mut hook.answer).now_or_never() {
                None => self.hooks.push(hook),
                Some(Ok(()))
                    if hook.left == self.server.left(hook.key)
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

    /// Time passes, and everything happens that falls into it.
    pub(super) fn advance(&mut self, by: Duration) -> Result<(), Violation> {
        let target = self.now + by;
        self.settle()?;
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
                self.server.thread.deadline(),
                reads,
                Some(target),
            ];
            let next = due
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(target)
                .max(self.now + Duration::from_micros(1));
            self.go_to(next.min(target));
            self.expire();
            if self.flows {
                self.flow();
            }
            self.settle()?;
            self.check()?;
        }
        Ok(())
    }

    fn go_to(&mut self, now: Instant) {
        self.database
            .step_clock(i64::try_from((now - self.now).as_micros()).unwrap());
        self.now = now;
        self.show_time();
    }

    pub(super) fn show_time(&self) {
        let wall = u64::try_from(self.wall().as_microsecond()).unwrap();
        simulated::set(self.now, Duration::from_micros(wall));
    }

    /// A statement that takes too long fails: refused by its own time-out, or no answer at all.
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

    /// Reads at their own pace: done, and a little later answered.
    pub(super) fn flow(&mut self) {
        let (done, mut rest): (Vec<_>, Vec<_>) = std::mem::take(&mut *self.reads.0.lock().unwrap())
            .into_iter()
            .partition(|read| read.seen.is_some());
        rest.iter_mut()
            .for_each(|read| read.execute(&self.database));
        self.reads.0.lock().unwrap().extend(rest);
        done.into_iter().for_each(|read| self.finish(read));
    }
}
