//! A server without its database: real tokens, policy, engine, hub and shards, with made-up
//! numbers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::{Config, ServerState, StaticFile};
use latido_admin::{Admin, AdminDeps, Readiness, ReadinessReport, SystemTopicViewers};
use latido_auth::{
    ApiKey, PermissionFuture, PermissionLookupError, PermissionQuestion, PermissionSource, Policy,
    PolicyConfig, Secret, TokenSpec, Verifier, VerifierConfig, issue,
};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_base::ident::Key;
use latido_engine::{
    self as engine, Engine, HintSource, ReadError, ReadFuture, ReadRow, SnapshotReader,
};
use latido_hub::Hub;
use latido_session::{SessionContext, SessionLimits, SharedLimits};
use latido_shard::{self as shard, RequestHandler, Shards};
use latido_stream::{
    Catalog, Column, ColumnKind, ColumnSource, KeyType, LocalDay, Param, ParamKind, Stream,
    StreamRow, ZoneRule,
};
use latido_telemetry::Metrics;

pub(super) const HOOK_KEY: &str = "a key for the hook";
const SECRET: &str = "a secret of more than thirty-two bytes";

pub(super) const ASSETS: &[StaticFile] = &[
    StaticFile {
        path: "/",
        content_type: "text/html; charset=utf-8",
        bytes: b"<!doctype html>",
    },
    StaticFile {
        path: "/app.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: b"'use strict'",
    },
];

/// A key that the database refuses to read, and one that it reads slowly.
pub(super) const UNREADABLE: &str = "unreadable";
pub(super) const SLOW: &str = "slow";
/// A user whose permission lookup fails.
pub(super) const BROKEN: &str = "broken";

/// Issues a token of a user who may read everything.
pub(super) fn admin() -> String {
    sign(
        "admin",
        3_600,
        TokenSpec {
            role: Some("root".into()),
            ..TokenSpec::default()
        },
    )
}

/// Issues a token that expires in so many seconds. With a key, it grants that key.
pub(super) fn token(user: &str, seconds: i64, key: Option<&str>) -> String {
    sign(
        user,
        seconds,
        TokenSpec {
            negocios: key.map(str::to_owned).into_iter().collect(),
            ..TokenSpec::default()
        },
    )
}

fn sign(user: &str, seconds: i64, spec: TokenSpec) -> String {
    let clock = Clock::system();
    clock.set(Timestamp::from_second(clock.unix_s() + seconds).unwrap());
    issue(
        &Secret::new(SECRET),
        &TokenSpec {
            user: user.into(),
            ..spec
        },
        &clock,
        Duration::ZERO,
    )
    .unwrap()
}

/// A snapshot reader for which every key has the same number.
#[derive(Clone, Default)]
struct FakeSnapshotReader(Arc<AtomicU32>);

impl SnapshotReader for FakeSnapshotReader {
    fn read<'a>(
        &'a self,
        _: &'a Stream,
        keys: &'a [Key],
        _: &'a [LocalDay],
    ) -> ReadFuture<'a, Vec<ReadRow>> {
        let clock_us = Clock::system().now().as_microsecond();
        let columns = format!(r#"{{"total_citas":{}}}"#, self.0.load(Ordering::SeqCst));
        Box::pin(async move {
            if keys.iter().any(|key| key.as_str() == UNREADABLE) {
                return Err(ReadError::Rejected("no".into()));
            }
            if keys.iter().any(|key| key.as_str() == SLOW) {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            let row = |key: &Key| StreamRow {
                key: key.clone(),
                columns: columns.clone(),
                clock_us,
            };
            Ok(keys
                .iter()
                .map(|key| ReadRow {
                    row: row(key),
                    took: None,
                })
                .collect())
        })
    }

    fn zones<'a>(&'a self, _: &'a Stream, _: &'a [Key]) -> ReadFuture<'a, HashMap<Key, String>> {
        Box::pin(async { Ok(HashMap::new()) })
    }
}

/// A permission source that denies everything, so that only tokens grant access.
struct DenyingPermissionSource;

impl PermissionSource for DenyingPermissionSource {
    fn allowed<'a>(
        &'a self,
        _: &'a Stream,
        question: PermissionQuestion<'a>,
    ) -> PermissionFuture<'a> {
        let answer = if question.user.as_str() == BROKEN {
            Err(PermissionLookupError::Unavailable("no".into()))
        } else {
            Ok(false)
        };
        Box::pin(async { answer })
    }
}

struct FakeReadiness(bool);

impl Readiness for FakeReadiness {
    fn check(&self) -> BoxFuture<'_, ReadinessReport> {
        let report = ReadinessReport {
            is_ready: self.0,
            database_problem: (!self.0).then(|| "connection refused".into()),
            listener: "up",
            streams: Vec::new(),
        };
        async { report }.boxed()
    }
}

/// Every stream has one column, once the database was reached.
impl ColumnSource for FakeReadiness {
    fn columns(&self, _: &Stream) -> Option<Vec<Column>> {
        self.0.then(|| {
            vec![Column {
                name: "total_citas".into(),
                kind: ColumnKind::Integer,
                sql_type: "int8".into(),
            }]
        })
    }
}

fn stream(name: &str, key_field: &str, key_type: Option<KeyType>) -> Stream {
    Stream {
        name: name.into(),
        query: String::new(),
        verification: None,
        history_query: None,
        authorize_query: Some("".into()),
        zone_rule: ZoneRule::Fixed("UTC".into()),
        event: "stats".into(),
        key_fields: vec![key_field.into()],
        params: Vec::new(),
        interval: None,
        tables: Vec::new(),
        key_types: key_type.map(|of| vec![of].into()).unwrap_or_default(),
        inference: Default::default(),
        revision: 0,
    }
}

/// The state behind a listener. Tests may change it before the server starts.
pub(super) struct HttpBackend {
    pub(super) state: ServerState,
    /// Drains the engine and the shards' request queue, which outlast the HTTP server.
    pub(super) backend_drain: Drain,
    numbers: FakeSnapshotReader,
}

impl HttpBackend {
    /// Creates a server with `estadisticas` (text keys), `ventas` (integer keys), `cajas` (two key
    /// parts, and a date as parameter) and `totales` (without a key).
    pub(super) fn new(config: Config) -> Self {
        Self::with(config, true)
    }

    /// Creates the same server before its database was ever reached.
    pub(super) fn without_database(config: Config) -> Self {
        Self::with(config, false)
    }

    /// Creates the same server with a key on the hook.
    pub(super) fn with_hook_key() -> Self {
        let mut world = Self::new(Config::default());
        world.state.hook_key = Some(ApiKey::parse(&Secret::new(HOOK_KEY)).unwrap());
        world
    }

    fn with(config: Config, reached: bool) -> Self {
        let catalog = catalog(reached);
        let (backend_drain, clock, metrics) =
            (Drain::new(), Clock::system(), Arc::new(Metrics::new()));
        let engine = engine(&catalog, &metrics);
        let viewers = SystemTopicViewers::default();
        let observer = viewers.wrap_observer(engine.observer());
        let hub = Arc::new(Hub::new(Arc::clone(&catalog), observer));
        let (verifier, policy) = (verifier(&clock), policy());
        let shards = Shards::start(
            shard::Config { threads: 1 },
            &shard::ShardDeps {
                hub: Arc::clone(&hub),
                context: session_context(&catalog, &policy),
                request_handler: request_handler(&verifier, &policy, &catalog),
                clock: clock.clone(),
                metrics: Arc::clone(&metrics),
                drain: backend_drain.clone(),
            },
        );
        let numbers = FakeSnapshotReader::default();
        backend_drain.spawn(engine.clone().run(engine::EngineDeps {
            config: engine::Config::default(),
            catalog: Arc::clone(&catalog),
            hub: Arc::clone(&hub),
            reader: Arc::new(numbers.clone()),
            transactions: Arc::new(engine::NoTransactions),
            clock: clock.clone(),
            drain: backend_drain.clone(),
        }));
        let (shards, drain) = (Arc::new(shards.unwrap()), Drain::new());
        let rules = config.upgrade_rules(&catalog, &verifier, &drain);
        let readiness: Arc<dyn Readiness> = Arc::new(FakeReadiness(reached));
        let admin = AdminDeps {
            hub: Arc::clone(&hub),
            shards: Arc::clone(&shards),
            engine: engine.clone(),
            metrics: Arc::clone(&metrics),
            verifier: Arc::clone(&verifier),
            readiness: Arc::clone(&readiness),
            clock: clock.clone(),
            connection_usage: rules.limits.usage(),
        };
        let state = ServerState {
            session_limits: SharedLimits::default(),
            reload: None,
            rules: Arc::new(rules),
            tls: None,
            config,
            hub,
            catalog,
            verifier,
            policy,
            hook_key: None,
            engine,
            shards,
            admin: Admin::start(admin, viewers, &backend_drain),
            metrics,
            readiness,
            column_source: Arc::new(FakeReadiness(reached)),
            clock,
            drain,
            assets: ASSETS,
            extra_routes: None,
        };
        Self {
            state,
            backend_drain,
            numbers,
        }
    }

    /// Returns a handle to the number that the database returns.
    pub(super) fn number(&self) -> NumberHandle {
        NumberHandle {
            numbers: self.numbers.clone(),
            engine: self.state.engine.clone(),
        }
    }
}

/// Returns the catalog of all streams. Their key types are known once the database was reached.
fn catalog(reached: bool) -> Arc<Catalog> {
    let key_type = |of| reached.then_some(of);
    let estadisticas = stream("estadisticas", "negocio_id", key_type(KeyType::Text));
    let ventas = stream("ventas", "tienda_id", key_type(KeyType::Integer));
    let types = |of: &[KeyType]| match reached {
        true => of.to_vec().into(),
        false => OnceLock::new(),
    };
    let cajas = Stream {
        key_fields: vec!["tienda_id".into(), "caja".into()],
        key_types: types(&[KeyType::Integer, KeyType::Text]),
        params: vec![Param {
            name: "desde".into(),
            kind: ParamKind::Date,
            default: None,
        }],
        event: "caja".into(),
        ..stream("cajas", "", None)
    };
    let totales = Stream {
        key_fields: Vec::new(),
        key_types: types(&[]),
        ..stream("totales", "", None)
    };
    Arc::new(Catalog::new(vec![estadisticas, ventas, cajas, totales]))
}

fn engine(catalog: &Arc<Catalog>, metrics: &Arc<Metrics>) -> Engine {
    Engine::new(
        &engine::Config::default(),
        catalog,
        Arc::new(engine::NoInterest),
        Arc::clone(metrics),
    )
}

fn session_context(catalog: &Arc<Catalog>, policy: &Arc<Policy>) -> SessionContext {
    SessionContext {
        catalog: Arc::clone(catalog),
        policy: Arc::clone(policy),
        limits: SessionLimits::default(),
    }
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

fn verifier(clock: &Clock) -> Arc<Verifier> {
    let config = VerifierConfig {
        secrets: vec![Secret::new(SECRET)],
        ..VerifierConfig::default()
    };
    Arc::new(Verifier::new(&config, clock.clone()).unwrap())
}

fn policy() -> Arc<Policy> {
    let config = PolicyConfig {
        admin_roles: vec!["root".into()],
        ..PolicyConfig::default()
    };
    Arc::new(Policy::new(config, Arc::new(DenyingPermissionSource)))
}

/// A handle to the database's one number.
pub(super) struct NumberHandle {
    numbers: FakeSnapshotReader,
    engine: Engine,
}

impl NumberHandle {
    /// Simulates a commit that changed the number, and its notification.
    pub(super) fn set(&self, total: u32) {
        self.numbers.0.store(total, Ordering::SeqCst);
        self.engine.mark_all(None, HintSource::Trigger);
    }
}
