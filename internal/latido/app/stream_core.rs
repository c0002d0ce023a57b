//! The parts that serve the streams, without the sockets that clients connect to.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::app::config::Config;
use crate::app::notification_routes::NotificationRoutes;
use crate::app::reload::ReloadParts;
use crate::app::sleep_monitor::SleepMonitor;
use crate::app::stream_monitor::StreamMonitor;
use crate::app::{adapters, trigger_monitor};
use crate::config::FixedFields;
use latido_admin::{Admin, AdminDeps, Readiness, SystemTopicViewers};
use latido_app_kit::{App, AppDeps};
use latido_auth::{Policy, Verifier};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_engine::{Engine, EngineDeps};
use latido_hub::Hub;
use latido_postgres::{Database, NotificationListener, ReadinessProbe, WatchLocks};
use latido_session::{SessionContext, SharedLimits};
use latido_shard::{RequestHandler, ShardDeps, Shards};
use latido_stream::HintSink as _;
use latido_telemetry::Metrics;

/// The running engine, hub and shards, with the database that they read.
pub(super) struct StreamCore {
    pub(super) database: Database,
    pub(super) engine: Engine,
    pub(super) shards: Arc<Shards>,
    /// The services that shards, apps and requests share.
    pub(super) deps: ShardDeps,
    watch_locks: WatchLocks,
    trigger_check_interval: Duration,
    builtin_is_optional: Arc<AtomicBool>,
    /// The limits of one client, which a reload replaces.
    pub(super) limits: SharedLimits,
    system_viewers: SystemTopicViewers,
}

impl StreamCore {
    /// Starts the engine and the shards. The database may be unavailable.
    ///
    /// # Errors
    /// Returns an error if the database settings or the keys are unusable, or a shard fails to
    /// start.
    pub(super) fn start(config: &Config, drain: &Drain) -> anyhow::Result<Self> {
        let clock = Clock::system();
        let metrics = Arc::new(Metrics::new());
        let catalog = Arc::clone(&config.catalog);
        let database = Database::open(&config.postgres)?;
        let watch_locks = WatchLocks::new(&catalog);
        let interest = Arc::new(watch_locks.clone());
        let engine = Engine::with_sleep(
            &config.engine,
            &catalog,
            interest,
            Arc::clone(&metrics),
            database.sleep().clone(),
        );
        let system_viewers = SystemTopicViewers::default();
        let observer = system_viewers.wrap_observer(engine.observer());
        let hub = Hub::new(Arc::clone(&catalog), observer)
            .with_param_sets_per_key(config.limits.param_sets_per_key);
        let hub = Arc::new(hub);
        let verifier = Arc::new(Verifier::new(&config.verifier, clock.clone())?);
        verifier.start(drain);
        let permissions = Arc::new(database.clone());
        let policy = Arc::new(Policy::new(config.policy.clone(), permissions));
        policy.start(&catalog, drain);
        let deps = ShardDeps {
            hub: Arc::clone(&hub),
            context: SessionContext {
                catalog: Arc::clone(&catalog),
                policy: Arc::clone(&policy),
                limits: config.limits,
            },
            request_handler: RequestHandler {
                verifier,
                policy,
                catalog: Arc::clone(&catalog),
            },
            clock: clock.clone(),
            metrics,
            drain: drain.clone(),
        };
        let shards = Arc::new(Shards::start(config.shard, &deps)?);
        drain.spawn(engine.clone().run(EngineDeps {
            config: config.engine.clone(),
            catalog,
            hub,
            reader: Arc::new(database.clone()),
            transactions: Arc::new(database.clone()),
            clock,
            drain: drain.clone(),
        }));
        Ok(Self {
            database,
            engine,
            shards,
            deps,
            watch_locks,
            trigger_check_interval: config.trigger_check_interval,
            builtin_is_optional: Arc::new(AtomicBool::new(config.builtin_is_optional)),
            limits: SharedLimits::new(config.limits),
            system_viewers,
        })
    }

    /// Starts the LISTEN connection, the watch locks, and the checks of the streams and of their
    /// triggers. Returns the probe that `/ready` asks.
    pub(super) fn listen(&self, routes: NotificationRoutes) -> Arc<dyn Readiness> {
        let (metrics, drain) = (&self.deps.metrics, &self.deps.drain);
        let catalog = &self.deps.context.catalog;
        let channels = routes.channels();
        let listener = NotificationListener::start(
            &self.database,
            catalog,
            &channels,
            metrics,
            drain,
            adapters::forward_hints(self.engine.clone(), Arc::clone(metrics), routes),
        );
        let engine = self.engine.clone();
        self.watch_locks
            .start(&self.database, &listener, metrics, drain, move |event| {
                engine.on_watch_locks(&event)
            });
        let delivery = trigger_monitor::DeliveryState {
            listener: listener.watch_state(),
            watch_locks: self.watch_locks.watch_state(),
            queue_has_room: listener.watch_queue(),
            check_interval: self.trigger_check_interval,
            reloads: self.deps.hub.reloads(),
            triggers: listener.trigger_health().clone(),
        };
        let streams = StreamMonitor {
            database: self.database.clone(),
            catalog: Arc::clone(catalog),
            engine: self.engine.clone(),
            hub: Arc::clone(&self.deps.hub),
            builtin_is_optional: Arc::clone(&self.builtin_is_optional),
        };
        let triggers = trigger_monitor::run(
            self.database.clone(),
            Arc::clone(catalog),
            self.engine.clone(),
            delivery,
        );
        let sleep = SleepMonitor {
            database: self.database.clone(),
            catalog: Arc::clone(catalog),
            metrics: Arc::clone(metrics),
        };
        drain.spawn_until_stop(sleep.run());
        drain.spawn_until_stop(async move {
            streams.prepare_all().await;
            tokio::join!(streams.run(), triggers);
        });
        Arc::new(ReadinessProbe::new(
            self.database.clone(),
            Arc::clone(catalog),
            listener,
        ))
    }

    /// Returns the parts that a reload changes. `fixed_fields` are those of the configuration file
    /// that count after a restart only.
    pub(super) fn reload_parts(
        &self,
        fixed_fields: FixedFields,
        apps: Vec<&'static dyn App>,
    ) -> ReloadParts {
        let deps = &self.deps;
        ReloadParts {
            database: self.database.clone(),
            catalog: Arc::clone(&deps.context.catalog),
            engine: self.engine.clone(),
            watch_locks: self.watch_locks.clone(),
            hub: Arc::clone(&deps.hub),
            shards: Arc::clone(&self.shards),
            verifier: Arc::clone(&deps.request_handler.verifier),
            drain: deps.drain.clone(),
            limits: self.limits.clone(),
            builtin_is_optional: Arc::clone(&self.builtin_is_optional),
            fixed_fields,
            apps,
        }
    }

    /// Bundles the dependencies of apps.
    pub(super) fn app_deps(&self) -> AppDeps {
        let deps = &self.deps;
        AppDeps {
            clock: deps.clock.clone(),
            metrics: Arc::clone(&deps.metrics),
            drain: deps.drain.clone(),
            database: self.database.clone(),
            verifier: Arc::clone(&deps.request_handler.verifier),
            policy: Arc::clone(&deps.context.policy),
            catalog: Arc::clone(&deps.context.catalog),
            hub: Arc::clone(&deps.hub),
            engine: self.engine.clone(),
            limits: deps.context.limits,
            is_dedicated: false,
        }
    }

    /// Starts the admin service.
    pub(super) fn start_admin(
        &self,
        readiness: &Arc<dyn Readiness>,
        connection_usage: Box<dyn Fn() -> (usize, usize) + Send + Sync>,
    ) -> Arc<Admin> {
        let deps = &self.deps;
        let admin_deps = AdminDeps {
            hub: Arc::clone(&deps.hub),
            shards: Arc::clone(&self.shards),
            engine: self.engine.clone(),
            metrics: Arc::clone(&deps.metrics),
            verifier: Arc::clone(&deps.request_handler.verifier),
            readiness: Arc::clone(readiness),
            clock: deps.clock.clone(),
            connection_usage,
        };
        Admin::start(admin_deps, self.system_viewers.clone(), &deps.drain)
    }
}
