//! Latido without its database: the real accept loop, tokens, policy, hub and shards. A publisher
//! puts generated rows directly into the hub. This allows rates that SQL cannot reach, and time
//! stamps inside the frames.

use std::collections::HashMap;
use std::io::{self, BufRead as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use latido_admin::{Admin, AdminDeps, Readiness, ReadinessReport, SystemTopicViewers};
use latido_auth::{
    PermissionFuture, PermissionQuestion, PermissionSource, Policy, PolicyConfig, Secret, Verifier,
    VerifierConfig,
};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_base::ident::{Key, StreamId, Topic};
use latido_engine::{self as engine, Engine, NoInterest, ReadFuture, ReadRow, SnapshotReader};
use latido_http::{self as http, ServerState};
use latido_hub::Hub;
use latido_session::{SessionContext, SessionLimits, SharedLimits};
use latido_shard::{self as shard, RequestHandler, Shards};
use latido_stream::{
    Catalog, Column, ColumnSource, KeyType, LocalDay, Stream, StreamRow, ZoneRule,
};
use latido_telemetry::Metrics;
use serde::{Deserialize, Serialize};

use crate::keys;
use crate::pacer::{self, PublishSchedule};
use crate::process::{BenchProcess, now_ns};

/// The task of the hub process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct HubPlan {
    /// The port on 127.0.0.1.
    pub(crate) port: u16,
    /// The number of threads that own sockets.
    pub(crate) shards: usize,
    /// The schedules of its publications.
    pub(crate) beats: Vec<PublishSchedule>,
}

/// Starts the server on a core, or on any core for `None`. It publishes after it receives a line.
pub(crate) fn start(plan: &HubPlan, core: Option<usize>) -> anyhow::Result<BenchProcess> {
    let mut process = BenchProcess::spawn_role("hub", core, plan)?;
    process.read_line()?;
    Ok(process)
}

/// Runs the hub role of this program.
pub(crate) fn run_role() -> anyhow::Result<()> {
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .context("reading the plan")?;
    let plan: HubPlan = serde_json::from_str(&line).context("the plan")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let _inside = runtime.enter();
    let (hub, _shards) = serve(&plan)?;
    crate::output::print("ready\n")?;
    if io::stdin().lock().lines().next().is_none() {
        return Ok(());
    }
    pacer::run_schedules(&plan.beats, |channel, turn| {
        let key = Key::from_canonical(&keys::key(channel));
        let row = StreamRow {
            key: key.clone(),
            columns: pacer::columns(turn, now_ns()),
            clock_us: wall_us(),
        };
        hub.publish(
            &Topic {
                stream: StreamId(0),
                key,
            },
            &row,
        );
        true
    });
    Ok(())
}

fn serve(plan: &HubPlan) -> anyhow::Result<(Arc<Hub>, Arc<Shards>)> {
    let config = http_config();
    let listener = http::bind(&[SocketAddr::from((Ipv4Addr::LOCALHOST, plan.port))])?;
    let catalog = Arc::new(Catalog::new(vec![stream()]));
    let (drain, clock, metrics) = (Drain::new(), Clock::system(), Arc::new(Metrics::new()));
    let engine = engine(&catalog, &metrics);
    let viewers = SystemTopicViewers::default();
    let observer = viewers.wrap_observer(engine.observer());
    let hub = Arc::new(Hub::new(Arc::clone(&catalog), observer));
    let verifier = verifier(&clock)?;
    let policy = Policy::new(PolicyConfig::default(), Arc::new(NoPermissions));
    let policy = Arc::new(policy);
    let deps = shard::ShardDeps {
        hub: Arc::clone(&hub),
        context: session_context(&catalog, &policy),
        request_handler: request_handler(&verifier, &policy, &catalog),
        clock: clock.clone(),
        metrics: Arc::clone(&metrics),
        drain: drain.clone(),
    };
    let threads = plan.shards;
    let shards = Arc::new(Shards::start(shard::Config { threads }, &deps)?);
    drain.spawn(engine.clone().run(engine::EngineDeps {
        config: engine_config(),
        catalog: Arc::clone(&catalog),
        hub: Arc::clone(&hub),
        reader: Arc::new(ZeroReader),
        transactions: Arc::new(engine::NoTransactions),
        clock: clock.clone(),
        drain: drain.clone(),
    }));
    let rules = config.upgrade_rules(&catalog, &verifier, &drain);
    let admin_deps = AdminDeps {
        hub: Arc::clone(&hub),
        shards: Arc::clone(&shards),
        engine: engine.clone(),
        metrics: Arc::clone(&metrics),
        verifier: Arc::clone(&verifier),
        readiness: Arc::new(AlwaysReady),
        clock: clock.clone(),
        connection_usage: rules.limits.usage(),
    };
    let state = ServerState {
        session_limits: SharedLimits::default(),
        reload: None,
        tls: None,
        rules: Arc::new(rules),
        admin: Admin::start(admin_deps, viewers, &drain),
        config,
        catalog,
        verifier,
        policy,
        hook_key: None,
        engine,
        hub: Arc::clone(&hub),
        shards: Arc::clone(&shards),
        metrics,
        readiness: Arc::new(AlwaysReady),
        column_source: Arc::new(AlwaysReady),
        clock,
        drain: drain.clone(),
        assets: &[],
        extra_routes: None,
    };
    drain.spawn(http::serve(
        listener,
        Arc::new(state),
        http::AppMounts::default(),
    ));
    Ok((hub, shards))
}

fn http_config() -> http::Config {
    http::Config {
        max_connections: 19_900,
        ..http::Config::default()
    }
}

fn engine(catalog: &Arc<Catalog>, metrics: &Arc<Metrics>) -> Engine {
    Engine::new(
        &engine::Config::default(),
        catalog,
        Arc::new(NoInterest),
        Arc::clone(metrics),
    )
}

fn request_handler(
    verifier: &Arc<Verifier>,
    policy: &Arc<Policy>,
    catalog: &Arc<Catalog>,
) -> RequestHandler {
    RequestHandler {
        verifier: Arc::clone(verifier),
        policy: Arc::clone(policy),
        catalog: Arc::clone(catalog),
    }
}

fn verifier(clock: &Clock) -> anyhow::Result<Arc<Verifier>> {
    let config = VerifierConfig {
        secrets: vec![Secret::new(keys::SECRET)],
        ..VerifierConfig::default()
    };
    Ok(Arc::new(Verifier::new(&config, clock.clone())?))
}

fn session_context(catalog: &Arc<Catalog>, policy: &Arc<Policy>) -> SessionContext {
    SessionContext {
        catalog: Arc::clone(catalog),
        policy: Arc::clone(policy),
        limits: SessionLimits::default(),
    }
}

/// Returns settings with which only the first read happens: generated rows need no sweep.
fn engine_config() -> engine::Config {
    let never = Duration::from_secs(24 * 3600);
    engine::Config {
        sweep: never,
        sweep_without_notifications: never,
        ..engine::Config::default()
    }
}

fn stream() -> Stream {
    Stream {
        name: "estadisticas".into(),
        query: String::new(),
        verification: None,
        history_query: None,
        authorize_query: None,
        zone_rule: ZoneRule::Fixed("UTC".into()),
        event: "stats".into(),
        key_fields: vec!["negocio_id".into()],
        params: Vec::new(),
        interval: None,
        tables: Vec::new(),
        key_types: OnceLock::from(vec![KeyType::Uuid]),
        inference: Default::default(),
        revision: 0,
    }
}

fn wall_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// A reader that returns zeros for every key until the first publication.
struct ZeroReader;

impl SnapshotReader for ZeroReader {
    fn read<'a>(
        &'a self,
        _: &'a Stream,
        keys: &'a [Key],
        _: &'a [LocalDay],
    ) -> ReadFuture<'a, Vec<ReadRow>> {
        let row = |key: &Key| StreamRow {
            key: key.clone(),
            columns: pacer::columns(0, 0),
            clock_us: wall_us(),
        };
        let rows = keys
            .iter()
            .map(row)
            .map(|row| ReadRow { row, took: None })
            .collect();
        Box::pin(async { Ok(rows) })
    }

    fn zones<'a>(&'a self, _: &'a Stream, _: &'a [Key]) -> ReadFuture<'a, HashMap<Key, String>> {
        Box::pin(async { Ok(HashMap::new()) })
    }
}

/// A permission source that denies everything, so only tokens decide.
struct NoPermissions;

impl PermissionSource for NoPermissions {
    fn allowed<'a>(&'a self, _: &'a Stream, _: PermissionQuestion<'a>) -> PermissionFuture<'a> {
        Box::pin(async { Ok(false) })
    }
}

struct AlwaysReady;

impl ColumnSource for AlwaysReady {
    fn columns(&self, _: &Stream) -> Option<Vec<Column>> {
        None
    }
}

impl Readiness for AlwaysReady {
    fn check(&self) -> BoxFuture<'_, ReadinessReport> {
        async {
            ReadinessReport {
                is_ready: true,
                database_problem: None,
                listener: "none",
                streams: Vec::new(),
            }
        }
        .boxed()
    }
}
