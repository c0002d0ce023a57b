//! Shards without streams, for examples that serve only a mounted service.

use std::net::SocketAddr;
use std::sync::Arc;

use latido_auth::{
    PermissionFuture, PermissionQuestion, PermissionSource, Policy, PolicyConfig, Verifier,
    VerifierConfig,
};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_base::ident::Topic;
use latido_http::{Config, MountedService, bind, serve_mount};
use latido_hub::{Hub, WatchObserver};
use latido_session::{SessionContext, SessionLimits};
use latido_shard::{Config as ShardConfig, RequestHandler, ShardDeps, Shards};
use latido_stream::{Catalog, Stream};
use latido_telemetry::Metrics;

/// No user may read anything, and nothing is watched.
struct NoStreams;

impl PermissionSource for NoStreams {
    fn allowed<'a>(&'a self, _: &'a Stream, _: PermissionQuestion<'a>) -> PermissionFuture<'a> {
        Box::pin(async { Ok(false) })
    }
}

impl WatchObserver for NoStreams {
    fn on_watched(&self, _: &Topic) {}
    fn on_unwatched(&self, _: &Topic) {}
}

/// Serves a mounted service on a port of every address, until the process ends. The port is the
/// first argument, else `PORT`, else 3000.
pub(crate) async fn serve(mount: Arc<dyn MountedService>, drain: &Drain) -> anyhow::Result<()> {
    let port = std::env::args()
        .nth(1)
        .or_else(|| std::env::var("PORT").ok())
        .map_or(Ok(3000), |port| port.parse())?;
    let any: [SocketAddr; 2] = [([0_u16; 8], port).into(), ([0, 0, 0, 0], port).into()];
    let listener = bind(&any)?;
    report(listener.address().port());
    let shards = Arc::new(shards(drain)?);
    serve_mount(listener, &Config::default(), mount, shards, drain).await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a test waits for this line")]
fn report(port: u16) {
    println!("listening on port {port}");
}

fn shards(drain: &Drain) -> anyhow::Result<Shards> {
    let catalog = Arc::new(Catalog::new(Vec::new()));
    let clock = Clock::system();
    let policy = Arc::new(Policy::new(PolicyConfig::default(), Arc::new(NoStreams)));
    let verifier = Arc::new(Verifier::new(&VerifierConfig::default(), clock.clone())?);
    let deps = ShardDeps {
        hub: Arc::new(Hub::new(Arc::clone(&catalog), Box::new(NoStreams))),
        context: SessionContext {
            catalog: Arc::clone(&catalog),
            policy: Arc::clone(&policy),
            limits: SessionLimits::default(),
        },
        request_handler: RequestHandler {
            verifier,
            policy,
            catalog,
        },
        clock,
        metrics: Arc::new(Metrics::new()),
        drain: drain.clone(),
    };
    Ok(Shards::start(ShardConfig { threads: 2 }, &deps)?)
}
