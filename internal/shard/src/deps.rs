//! The settings and the dependencies of the shards.

use std::sync::Arc;

use crate::async_requests::RequestHandler;
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_hub::Hub;
use latido_session::SessionContext;
use latido_telemetry::Metrics;

/// The settings of the shard threads.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// The number of shard threads; one per core is the best value.
    pub threads: usize,
}

/// The dependencies of the shards.
#[derive(Debug, Clone)]
pub struct ShardDeps {
    /// The source of the frames of all rooms.
    pub hub: Arc<Hub>,
    /// The streams, the policy and the limits.
    pub context: SessionContext,
    /// The handler of requests that need to await.
    pub request_handler: RequestHandler,
    /// The wall clock, for token expiry.
    pub clock: Clock,
    /// The server's metrics registry.
    pub metrics: Arc<Metrics>,
    /// The shutdown signal. A shard that dies triggers it, because the other shards cannot take
    /// over its clients.
    pub drain: Drain,
}
