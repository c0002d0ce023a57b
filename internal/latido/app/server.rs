//! A server: it is built from its parts, runs, and stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::Signal;

use crate::app::app_listeners;
use crate::app::config::Config;
use crate::app::reload::Reloader;
use crate::app::stream_core::StreamCore;
use latido_admin::{Readiness, Reload, ReloadError, ReloadReport};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_engine::Engine;
use latido_http::{self as http, ServerState};
use latido_shard::Shards;

/// A server that accepts connections, with all its background tasks.
#[derive(Debug)]
pub struct App {
    address: SocketAddr,
    /// The enabled apps, each with the address of its listener.
    apps: Vec<(&'static str, SocketAddr)>,
    clock: Clock,
    engine: Engine,
    shards: Arc<Shards>,
    reload: Option<Reloader>,
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
    pub fn start(mut config: Config) -> anyhow::Result<Self> {
        let (request_drain, background_drain) = (Drain::new(), Drain::new());
        let enabled_apps = std::mem::take(&mut config.apps);
        let apps = enabled_apps.iter().map(|enabled| enabled.app).collect();
        let (main_listener, groups) = app_listeners::bind(config.listen, enabled_apps)?;
        let address = main_listener.address();
        let tls = config.http.tls.as_ref().map(http::Tls::open).transpose()?;
        let core = StreamCore::start(&config, &background_drain)?;
        // The apps are started before the listener, which forwards notifications to them.
        let (groups, routes) = app_listeners::start(groups, &core.app_deps(), &request_drain)?;
        let readiness = core.listen(routes);
        if let Some(tls) = &tls {
            tls.start_reload(&request_drain);
        }
        let shutdown_timeout = config.shutdown_timeout;
        let fixed_fields = std::mem::take(&mut config.fixed_fields);
        let reload = config.reload.take();
        let reload = reload.map(|of| Reloader::new(of, core.reload_parts(fixed_fields, apps)));
        let mut state = server_state(config, tls, &core, readiness, &request_drain);
        state.reload = reload.clone().map(|reload| Arc::new(reload) as _);
        let apps = serve_listeners(main_listener, groups, &Arc::new(state));
        Ok(Self {
            address,
            apps,
            clock: core.deps.clock,
            engine: core.engine,
            shards: core.shards,
            reload,
            request_drain,
            background_drain,
            shutdown_timeout,
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

    /// Reads the configuration again whenever the signal comes. Signals that come while it is read
    /// count as one.
    pub(super) fn start_reload_on(&self, mut signal: Signal) {
        let Some(reload) = self.reload.clone() else {
            return;
        };
        self.background_drain.spawn_until_stop(async move {
            while signal.recv().await.is_some() {
                // The service logs the result.
                let _logged = reload.reload().await;
            }
        });
    }

    /// Reads the configuration again and applies what changed, or nothing. Logs the result. Returns
    /// `None` if the server was started without the origin of its configuration.
    ///
    /// # Errors
    /// The configuration has mistakes, or the database does not answer.
    pub async fn reload(&self) -> Option<Result<ReloadReport, ReloadError>> {
        match &self.reload {
            Some(reload) => Some(reload.reload().await),
            None => None,
        }
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

/// Serves the main listener and the separate listeners of apps. Returns each app's address.
fn serve_listeners(
    main: http::HttpListener,
    groups: Vec<app_listeners::StartedGroup>,
    state: &Arc<ServerState>,
) -> Vec<(&'static str, SocketAddr)> {
    let mut main = Some(main);
    let mut served = Vec::new();
    for app_listeners::StartedGroup { listener, mounts } in groups {
        // Only the first group has no listener of its own.
        let Some(listener) = listener.or_else(|| main.take()) else {
            continue;
        };
        let address = listener.address();
        served.extend(mounts.apps.iter().map(|name| (*name, address)));
        state
            .drain
            .spawn(http::serve(listener, Arc::clone(state), mounts));
    }
    served
}

/// Builds the state that all requests share.
fn server_state(
    config: Config,
    tls: Option<http::Tls>,
    core: &StreamCore,
    readiness: Arc<dyn Readiness>,
    request_drain: &Drain,
) -> ServerState {
    let deps = &core.deps;
    let verifier = Arc::clone(&deps.request_handler.verifier);
    let rules = config
        .http
        .upgrade_rules(&config.catalog, &verifier, request_drain);
    #[cfg(feature = "demo")]
    let extra_routes = config
        .demo
        .map(|demo| http::demo_routes(demo, Arc::clone(&deps.metrics)));
    #[cfg(not(feature = "demo"))]
    let extra_routes = None;
    ServerState {
        admin: core.start_admin(&readiness, rules.limits.usage()),
        session_limits: core.limits.clone(),
        reload: None,
        rules: Arc::new(rules),
        tls,
        config: config.http,
        catalog: config.catalog,
        verifier,
        policy: Arc::clone(&deps.context.policy),
        hook_key: config.notify_key,
        engine: core.engine.clone(),
        hub: Arc::clone(&deps.hub),
        shards: Arc::clone(&core.shards),
        extra_routes,
        metrics: Arc::clone(&deps.metrics),
        column_source: Arc::new(core.database.clone()),
        readiness,
        clock: deps.clock.clone(),
        drain: request_drain.clone(),
        assets: http::STATIC_FILES,
    }
}
