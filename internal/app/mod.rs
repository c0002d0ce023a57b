//! Builds a server out of its parts, runs it, and ends it: the only wiring.

mod adapters;
mod apps;
mod config;
mod coverage;
mod demo;
mod maintenance;
mod serve;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::apps::messaging::Hints;
use crate::auth::{Policy, Verifier};
use crate::clock::Clock;
use crate::drain::Drain;
use crate::engine::{self, Engine};
use crate::http::{self, Doors, Seats};
use crate::hub::Hub;
use crate::operations::{self, Audience, Operations, Readiness};
use crate::postgres::{Database, Interest, Listener};
use crate::session::Context;
use crate::shard::{self, Clerk, Shards};
use crate::telemetry::Metrics;

pub use config::Config;
pub use demo::{Welcome, demo};
pub use maintenance::{doctor, install, install_sql, uninstall, uninstall_sql};
pub use serve::serve;

/// A running server.
#[derive(Debug)]
pub struct App {
    address: SocketAddr,
    /// The apps, and where each listens.
    apps: Vec<(&'static str, SocketAddr)>,
    clock: Clock,
    shards: Arc<Shards>,
    /// Accepting, requests, event streams: they stop first.
    front: Drain,
    /// What the front stands on: the engine, the listener, the desk. Also stopped by a part that can't go on.
    back: Drain,
    grace: Duration,
}

impl App {
    /// Binds and starts, on the current runtime. The database need not be there: until it is, `/ready` says so and clients are told to come back.
    pub fn start(config: Config) -> anyhow::Result<Self> {
        let (front, back) = (Drain::new(), Drain::new());
        let clock = Clock::system();
        let metrics = Arc::new(Metrics::new());
        let (listener, groups) = apps::bind(config.reuse_port, config.address, config.apps)?;
        let address = listener.address();
        let tls = config.http.tls.as_ref().map(http::Tls::open).transpose()?;
        let catalog = config.catalog;
        let database = Database::open(&config.postgres)?;
        let interest = Interest::new(&catalog);
        let declares = Arc::new(adapters::Declares(interest.clone()));
        let engine = Engine::new(&config.engine, &catalog, declares, Arc::clone(&metrics));
        let audience = Audience::default();
        let hub = Arc::new(Hub::new(
            Arc::clone(&catalog),
            audience.beside(engine.observer()),
        ));
        let verifier = Arc::new(Verifier::new(&config.verifier, clock.clone())?);
        verifier.start(&back);
        let policy = Arc::new(Policy::new(
            config.policy,
            Arc::new(adapters::Lookups(database.clone())),
        ));
        let parts = shard::Parts {
            hub: Arc::clone(&hub),
            context: Context {
                catalog: Arc::clone(&catalog),
                policy: Arc::clone(&policy),
                limits: config.limits,
            },
            clerk: Clerk {
                verifier: Arc::clone(&verifier),
                policy: Arc::clone(&policy),
                catalog: Arc::clone(&catalog),
            },
            clock: clock.clone(),
            metrics: Arc::clone(&metrics),
            drain: back.clone(),
        };
        let shards = Arc::new(Shards::start(config.shard, &parts)?);
        back.spawn(engine.clone().run(engine::Parts {
            config: config.engine,
            catalog: Arc::clone(&catalog),
            hub: Arc::clone(&hub),
            reader: Arc::new(adapters::Reads(database.clone())),
            clock: clock.clone(),
            drain: back.clone(),
        }));
        let hints = Hints::default();
        let sink = adapters::sink(engine.clone(), Arc::clone(&metrics), hints.clone());
        let ears = Listener::start(&database, &catalog, &metrics, &back, sink);
        interest.start(
            &database,
            ears.watch(),
            &metrics,
            &back,
            adapters::declared(engine.clone()),
        );
        let roads = coverage::Roads {
            ears: ears.watch(),
            interest: interest.watch_state(),
        };
        back.spawn_until_stop(coverage::keep(
            database.clone(),
            Arc::clone(&catalog),
            engine.clone(),
            roads,
        ));
        let readiness: Arc<dyn Readiness> = Arc::new(adapters::Ready {
            database: database.clone(),
            catalog: Arc::clone(&catalog),
            ears,
        });
        let lent = lend(&parts, &database, &engine, hints);
        let seats = Seats::new(&config.http);
        let operations = operate(&parts, &shards, &engine, &readiness, &seats, audience);
        if let Some(tls) = &tls {
            tls.keep(&front);
        }
        let doors = Doors {
            seats,
            tls,
            config: config.http,
            catalog,
            verifier,
            policy,
            hook_key: config.notify_key,
            engine,
            hub,
            shards: Arc::clone(&shards),
            extra: config
                .demo
                .map(|demo| http::demo_routes(demo, Arc::clone(&metrics))),
            metrics,
            operations,
            shapes: Arc::new(adapters::Described(database)),
            readiness,
            clock: clock.clone(),
            drain: front.clone(),
            assets: http::PAGE,
        };
        let apps = open(listener, groups, &Arc::new(doors), &lent)?;
        Ok(Self {
            address,
            apps,
            clock,
            shards,
            front,
            back,
            grace: config.shutdown,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where an app listens, if it is switched on.
    pub fn address_of(&self, app: &str) -> Option<SocketAddr> {
        self.apps
            .iter()
            .find(|(name, _)| *name == app)
            .map(|(_, address)| *address)
    }

    /// The clock that everything in this server looks at; clones share it.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Resolves when a part of the server can't go on and it must be stopped.
    pub async fn broken(&self) {
        tokio::select! {
            () = self.front.stopping() => {}
            () = self.back.stopping() => {}
        }
    }

    /// Stops in order: no new connections, clients asked to come back elsewhere, requests under way answered, and then the rest. Returns
    /// whether all went within the deadline.
    pub async fn stop(self) -> bool {
        self.front.stop();
        let (spread, begun) = (self.grace / 2, Instant::now());
        let clients = self.shards.leave(spread, self.grace).await;
        // After the shards, for they give those back who had not spoken yet. Requests ended by themselves meanwhile.
        let requests = self
            .front
            .finish(self.grace.saturating_sub(begun.elapsed()))
            .await;
        let rest = self.back.finish(Duration::from_secs(2)).await;
        let in_time = clients && requests == 0 && rest == 0;
        if !in_time {
            tracing::warn!(
                clients_left = !clients,
                requests,
                tasks = rest,
                "the deadline passed; what was left is dropped"
            );
        }
        in_time
    }
}

/// What apps may work with, made of what the shards have already.
fn lend(
    parts: &shard::Parts,
    database: &Database,
    engine: &Engine,
    messaging_hints: Hints,
) -> crate::apps::Parts {
    crate::apps::Parts {
        clock: parts.clock.clone(),
        metrics: Arc::clone(&parts.metrics),
        drain: parts.drain.clone(),
        database: database.clone(),
        verifier: Arc::clone(&parts.clerk.verifier),
        policy: Arc::clone(&parts.context.policy),
        catalog: Arc::clone(&parts.context.catalog),
        hub: Arc::clone(&parts.hub),
        engine: engine.clone(),
        limits: parts.context.limits,
        messaging_hints,
        is_alone: false,
    }
}

/// Opens the listeners: the main one, and those of apps that have their own.
fn open(
    main: http::Listener,
    groups: Vec<apps::Group>,
    doors: &Arc<Doors>,
    parts: &crate::apps::Parts,
) -> anyhow::Result<Vec<(&'static str, SocketAddr)>> {
    let main_address = main.address();
    let mut main = Some(main);
    let mut served = Vec::new();
    for group in groups {
        let annex = group.open(parts, &doors.drain)?;
        served.extend(
            group
                .names()
                .map(|name| (name, group.address().unwrap_or(main_address))),
        );
        if let Some(listener) = group.listener.or_else(|| main.take()) {
            doors
                .drain
                .spawn(http::serve(listener, Arc::clone(doors), annex));
        }
    }
    Ok(served)
}

/// What operators see, made of what the shards work with already.
fn operate(
    parts: &shard::Parts,
    shards: &Arc<Shards>,
    engine: &Engine,
    readiness: &Arc<dyn Readiness>,
    seats: &Seats,
    audience: Audience,
) -> Arc<Operations> {
    let seen = operations::Parts {
        hub: Arc::clone(&parts.hub),
        shards: Arc::clone(shards),
        engine: engine.clone(),
        metrics: Arc::clone(&parts.metrics),
        verifier: Arc::clone(&parts.clerk.verifier),
        readiness: Arc::clone(readiness),
        clock: parts.clock.clone(),
        seats: seats.gauge(),
    };
    Operations::start(seen, audience, &parts.drain)
}
