//! One instance of the server, with its real parts and simulated surroundings.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;

use crate::reads::ReadQueue;
use crate::script::VIEWERS;
use crate::topics::{STREAMS, TOPICS, key_number, order_streams, topics_of_key};
use latido_auth::{
    PermissionFuture, PermissionQuestion, PermissionSource, Policy, PolicyConfig, Verifier,
    VerifierConfig,
};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_base::ident::Topic;
use latido_base::sleep::Sleep;
use latido_engine::{self as engine, Engine, NotifyState, SimulatedActor};
use latido_hub::Hub;
use latido_postgres::WatchLocks;
use latido_session::{SessionContext, SessionLimits};
use latido_shard::{self as shard, RequestHandler, SimulatedShard};
use latido_stream::{Catalog, Interest, KeyType, Stream, ZoneRule};
use latido_telemetry::Metrics;

/// The zone of every key in runs in which keys have no own zone.
pub(super) const ZONE: &str = "America/Guayaquil";
/// The hot-key threshold, in notifications per second.
const HOT_KEY_THRESHOLD: u32 = 2;
/// The sweep interval of runs in which the sweep must not hide a lost change.
const NEVER: Duration = Duration::from_secs(100_000);

/// The time without viewers after which the connections may sleep. It is longer than a read takes.
pub(super) const SLEEP_AFTER: Duration = Duration::from_secs(6);

/// One instance of the server.
pub(super) struct SimServer {
    pub(super) catalog: Arc<Catalog>,
    pub(super) engine: Engine,
    pub(super) actor: SimulatedActor,
    pub(super) hub: Arc<Hub>,
    pub(super) shard: SimulatedShard,
    pub(super) interest: WatchLocks,
    pub(super) sleep: Sleep,
    policy: Arc<Policy>,
    viewer_losses: Arc<[AtomicU64]>,
}

struct CountingInterest(WatchLocks, Arc<[AtomicU64]>);

impl Interest for CountingInterest {
    fn watch(&self, topic: &Topic) -> NotifyState {
        self.0.watch(topic)
    }

    fn unwatch(&self, topic: &Topic) {
        self.1[usize::from(key_number(&topic.key))].fetch_add(1, Ordering::Relaxed);
        self.0.unwatch(topic);
    }

    fn release_for_polling(&self, topic: &Topic) -> bool {
        self.0.release_for_polling(topic)
    }
}

/// The permissions of each user in the database.
pub(super) type Permissions = Arc<Mutex<[[bool; TOPICS as usize]; VIEWERS]>>;

/// The source that rechecks ask. The world answers the requests of the queues.
struct SimulatedPermissions(Permissions);

impl PermissionSource for SimulatedPermissions {
    fn allowed<'a>(
        &'a self,
        _: &'a Stream,
        question: PermissionQuestion<'a>,
    ) -> PermissionFuture<'a> {
        let PermissionQuestion { user, key, .. } = question;
        let viewer = user.as_str().parse::<usize>().unwrap_or(VIEWERS);
        let permissions = self.0.lock().unwrap();
        let rights = permissions.get(viewer);
        let topics = topics_of_key(key);
        let may =
            rights.is_some_and(|rights| topics.iter().all(|topic| rights[usize::from(*topic)]));
        Box::pin(std::future::ready(Ok(may)))
    }
}

/// Creates the policy of one server. A cached answer outlasts the run, because the cache has a clock
/// of its own.
fn policy(permissions: &Permissions) -> Arc<Policy> {
    let config = PolicyConfig {
        cache_ttl: NEVER,
        ..PolicyConfig::default()
    };
    Arc::new(Policy::new(
        config,
        Arc::new(SimulatedPermissions(Arc::clone(permissions))),
    ))
}

fn catalog(zones: bool) -> Arc<Catalog> {
    let zone = match zones {
        true => ZoneRule::Query {
            sql: String::new(),
            default: ZONE.to_owned(),
        },
        false => ZoneRule::Fixed(ZONE.to_owned()),
    };
    let [one, other, ..] = STREAMS;
    let of_citas = [one, other].map(|name| Stream {
        zone_rule: zone.clone(),
        ..Stream::test_stream(name, Some(KeyType::Integer))
    });
    let of_orders = order_streams().map(|stream| Stream {
        zone_rule: ZoneRule::Fixed(ZONE.to_owned()),
        ..stream
    });
    let streams = of_citas.into_iter().chain(of_orders);
    let streams = streams.map(|stream| Stream {
        authorize_query: Some("".into()),
        ..stream
    });
    Arc::new(Catalog::new(streams.collect()))
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
    pub(super) fn start(
        lossy: bool,
        zones: bool,
        reads: &ReadQueue,
        permissions: &Permissions,
    ) -> Self {
        let (catalog, clock, metrics, drain) = (
            catalog(zones),
            Clock::system(),
            Arc::new(Metrics::new()),
            Drain::new(),
        );
        let config = engine_config(lossy, zones);
        let interest = WatchLocks::new(&catalog);
        let viewer_losses: Arc<[AtomicU64]> = (0..TOPICS).map(|_| AtomicU64::new(0)).collect();
        let interest_counter = Arc::new(CountingInterest(
            interest.clone(),
            Arc::clone(&viewer_losses),
        ));
        let sleep = Sleep::new(Some(SLEEP_AFTER));
        let engine = Engine::with_sleep(
            &config,
            &catalog,
            interest_counter,
            Arc::clone(&metrics),
            sleep.clone(),
        );
        let hub = Arc::new(Hub::new(Arc::clone(&catalog), engine.observer()));
        let verifier = Arc::new(Verifier::new(&VerifierConfig::default(), clock.clone()).unwrap());
        let policy = policy(permissions);
        let shard = SimulatedShard::new(shard::ShardDeps {
            hub: Arc::clone(&hub),
            context: SessionContext {
                catalog: Arc::clone(&catalog),
                policy: Arc::clone(&policy),
                limits: SessionLimits::default(),
            },
            request_handler: RequestHandler {
                verifier,
                policy: Arc::clone(&policy),
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
                catalog: Arc::clone(&catalog),
                hub: Arc::clone(&hub),
                reader: Arc::new(reads.clone()),
                transactions: Arc::new(reads.clone()),
                clock,
                drain,
            },
        );
        Self {
            catalog,
            engine,
            actor,
            hub,
            shard,
            interest,
            sleep,
            policy,
            viewer_losses,
        }
    }

    /// Looks up the rights in use again, as the policy's task does.
    pub(super) fn recheck_permissions(&self) {
        let recheck = self.policy.recheck_leases(&self.catalog).now_or_never();
        recheck.expect("the source answers at once");
    }

    /// Returns the time within which a withdrawn right ends after a recheck.
    pub(super) fn lease_check(&self) -> Duration {
        self.policy.lease_check()
    }

    /// Returns the number of times the key lost its last viewer.
    pub(super) fn left(&self, key: u8) -> u64 {
        self.viewer_losses[usize::from(key)].load(Ordering::Relaxed)
    }
}
