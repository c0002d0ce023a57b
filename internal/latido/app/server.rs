//! A server: it is built from its parts, runs, and stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::app::config::Config;
use crate::app::{adapters, app_listeners, trigger_monitor};
use latido_admin::{self as operations, Admin, Readiness, SystemTopicViewers};
use latido_app_kit::FeedTrigger;
use latido_auth::{Policy, Verifier};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_engine::{self as engine, Engine};
use latido_http::{self as http, ServerState};
use latido_hub::Hub;
use latido_postgres::{Database, NotificationListener, ReadinessProbe, WatchLocks};
use latido_session::SessionContext;
use latido_shard::{self as shard, RequestHandler, Shards};
use latido_stream::HintSink as _;
use latido_telemetry::Metrics;

/// A server that accepts connections, with all its background tasks.
#[derive(Debug)]
pub struct App {
    address: SocketAddr,
    /// The enabled apps, each with the address of its listener.
    apps: Vec<(&'static str, SocketAddr)>,
    clock: Clock,
    engine: Engine,
    shards: Arc<Shards>,
    /// Counts accept loops, requests and event streams. They stop first.
    request_drain: Drain,
    /// Counts the background tasks: the engine, the LISTEN connection, the request queue. A
    /// task that cannot continue also stops it.
    background_drain: Drain,
    shutdown_timeout: Duration,
}

impl App {
    /// Binds the sockets and starts the server on the current runtime. The database may be
    /// unavailable: until it is there, `/ready` reports that and clients are asked to come back
    /// later.
    ///
    /// # Errors
    ///
    /// Returns an error if an address is taken, the TLS files are unusable, or an app fails to
    /// start.
    pub fn start(config: Config) -> anyhow::Result<Self> {
        let (request_drain, background_drain) = (Drain::new(), Drain::new());
        let clock = Clock::system();
        let metrics = Arc::new(Metrics::new());
        let (main_listener, groups) = app_listeners::bind(config.listen, config.apps)?;
        let address = main_listener.address();
        let tls = config.http.tls.as_ref().map(http::Tls::open).transpose()?;
        let catalog = config.catalog;
        let database = Database::open(&config.postgres)?;
        let watch_locks = WatchLocks::new(&catalog);
        let watch_locks_adapter = Arc::new(watch_locks.clone());
        let engine = Engine::new(
            &config.engine,
            &catalog,
            watch_locks_adapter,
            Arc::clone(&metrics),
        );
        let system_viewers = SystemTopicViewers::default();
        let hub = Arc::new(Hub::new(
            Arc::clone(&catalog),
            system_viewers.wrap_observer(engine.observer()),
        ));
        let verifier = Arc::new(Verifier::new(&config.verifier, clock.clone())?);
        verifier.start(&background_drain);
        let policy = Arc::new(Policy::new(config.policy, Arc::new(database.clone())));
        let deps = shard::ShardDeps {
            hub: Arc::clone(&hub),
            context: SessionContext {
                catalog: Arc::clone(&catalog),
                policy: Arc::clone(&policy),
                limits: config.limits,
            },
            request_handler: RequestHandler {
                verifier: Arc::clone(&verifier),
                policy: Arc::clone(&policy),
                catalog: Arc::clone(&catalog),
            },
            clock: clock.clone(),
            metrics: Arc::clone(&metrics),
            drain: background_drain.clone(),
        };
        let shards = Arc::new(Shards::start(config.shard, &deps)?);
        background_drain.spawn(engine.clone().run(engine::EngineDeps {
            config: config.engine,
            catalog: Arc::clone(&catalog),
            hub: Arc::clone(&hub),
            reader: Arc::new(database.clone()),
            clock: clock.clone(),
            drain: background_drain.clone(),
        }));
        let hints = FeedTrigger::default();
        let sink = adapters::forward_hints(engine.clone(), Arc::clone(&metrics), hints.clone());
        let listener =
            NotificationListener::start(&database, &catalog, &metrics, &background_drain, sink);
        watch_locks.start(
            &database,
            listener.watch_state(),
            &metrics,
            &background_drain,
            {
                let engine = engine.clone();
                move |event| engine.on_watch_locks(&event)
            },
        );
        let delivery = trigger_monitor::DeliveryState {
            listener: listener.watch_state(),
            watch_locks: watch_locks.watch_state(),
        };
        background_drain.spawn_until_stop(trigger_monitor::run(
            database.clone(),
            Arc::clone(&catalog),
            engine.clone(),
            delivery,
        ));
        let readiness: Arc<dyn Readiness> = Arc::new(ReadinessProbe::new(
            database.clone(),
            Arc::clone(&catalog),
            listener,
        ));
        let app_deps = app_deps(&deps, &database, &engine, hints);
        let rules = config
            .http
            .upgrade_rules(&catalog, &verifier, &request_drain);
        let admin = start_admin(
            &deps,
            &shards,
            &engine,
            &readiness,
            rules.limits.usage(),
            system_viewers,
        );
        if let Some(tls) = &tls {
            tls.start_reload(&request_drain);
        }
        let state = ServerState {
            rules: Arc::new(rules),
            tls,
            config: config.http,
            catalog,
            verifier,
            policy,
            hook_key: config.notify_key,
            engine: engine.clone(),
            hub,
            shards: Arc::clone(&shards),
            extra_routes: config
                .demo
                .map(|demo| http::demo_routes(demo, Arc::clone(&metrics))),
            metrics,
            admin,
            column_source: Arc::new(database),
            readiness,
            clock: clock.clone(),
            drain: request_drain.clone(),
            assets: http::STATIC_FILES,
        };
        let apps = serve_listeners(main_listener, groups, &Arc::new(state), &app_deps)?;
        Ok(Self {
            address,
            apps,
            clock,
            engine,
            shards,
            request_drain,
            background_drain,
            shutdown_timeout: config.shutdown_timeout,
        })
    }

    /// Returns the address of the main listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address on which an app is served, or `None` if it is not enabled.
    pub fn app_address(&self, app: &str) -> Option<SocketAddr> {
        self.apps
            .iter()
            .find(|(name, _)| *name == app)
            .map(|(_, address)| *address)
    }

    /// Returns the clock that all parts of this server share. Clones are the same clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns the engine, so that tests can wait for the end of its reads.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Resolves when a part of the server cannot continue, so that the server must be stopped.
    pub async fn failed(&self) {
        tokio::select! {
            () = self.request_drain.stopping() => {}
            () = self.background_drain.stopping() => {}
        }
    }

    /// Stops the server in order: it accepts no new connections, asks clients to reconnect
    /// elsewhere, completes running requests, and then stops the background tasks. Returns `true`
    /// if all of this ended within the deadline.
    pub async fn stop(self) -> bool {
        self.request_drain.stop();
        let (spread, started) = (self.shutdown_timeout / 2, Instant::now());
        let clients = self.shards.shutdown(spread, self.shutdown_timeout).await;
        // After the shards, because they hand back connections that have not sent a request yet.
        // Requests finish on their own meanwhile.
        let requests = self
            .request_drain
            .drain(self.shutdown_timeout.saturating_sub(started.elapsed()))
            .await;
        let rest = self.background_drain.drain(Duration::from_secs(2)).await;
        let in_time = clients && requests == 0 && rest == 0;
        if !in_time {
            tracing::warn!(
                clients_left = !clients,
                requests,
                tasks = rest,
                "the deadline passed; the remaining connections and tasks are dropped"
            );
        }
        in_time
    }
}

/// Bundles the dependencies of apps from those of the shards.
fn app_deps(
    deps: &shard::ShardDeps,
    database: &Database,
    engine: &Engine,
    messaging_hints: FeedTrigger,
) -> latido_app_kit::AppDeps {
    latido_app_kit::AppDeps {
        clock: deps.clock.clone(),
        metrics: Arc::clone(&deps.metrics),
        drain: deps.drain.clone(),
        database: database.clone(),
        verifier: Arc::clone(&deps.request_handler.verifier),
        policy: Arc::clone(&deps.context.policy),
        catalog: Arc::clone(&deps.context.catalog),
        hub: Arc::clone(&deps.hub),
        engine: engine.clone(),
        limits: deps.context.limits,
        messaging_trigger: messaging_hints,
        is_dedicated: false,
    }
}

/// Starts the main listener and the separate listeners of apps. Returns each app's address.
fn serve_listeners(
    main: http::HttpListener,
    groups: Vec<app_listeners::ListenerGroup>,
    state: &Arc<ServerState>,
    deps: &latido_app_kit::AppDeps,
) -> anyhow::Result<Vec<(&'static str, SocketAddr)>> {
    let main_address = main.address();
    let mut main = Some(main);
    let mut served = Vec::new();
    for group in groups {
        let mounts = group.start_apps(deps, &state.drain)?;
        served.extend(
            group
                .names()
                .map(|name| (name, group.address().unwrap_or(main_address))),
        );
        if let Some(listener) = group.listener.or_else(|| main.take()) {
            state
                .drain
                .spawn(http::serve(listener, Arc::clone(state), mounts));
        }
    }
    Ok(served)
}

/// Starts the admin service from the dependencies of the shards.
fn start_admin(
    deps: &shard::ShardDeps,
    shards: &Arc<Shards>,
    engine: &Engine,
    readiness: &Arc<dyn Readiness>,
    connection_usage: Box<dyn Fn() -> (usize, usize) + Send + Sync>,
    system_viewers: SystemTopicViewers,
) -> Arc<Admin> {
    let admin_deps = operations::AdminDeps {
        hub: Arc::clone(&deps.hub),
        shards: Arc::clone(shards),
        engine: engine.clone(),
        metrics: Arc::clone(&deps.metrics),
        verifier: Arc::clone(&deps.request_handler.verifier),
        readiness: Arc::clone(readiness),
        clock: deps.clock.clone(),
        connection_usage,
    };
    Admin::start(admin_deps, system_viewers, &deps.drain)
}
