//! Clients whose heartbeats are late, on a shard with a simulated clock.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::config::socket_limits;
use latido_auth::{
    PermissionFuture, PermissionQuestion, PermissionSource, Policy, PolicyConfig, Verifier,
    VerifierConfig,
};
use latido_base::clock::{Clock, simulated};
use latido_base::drain::Drain;
use latido_base::ident::{Topic, UserId};
use latido_event_bus::BusEvent;
use latido_http::PermitSet;
use latido_hub::{Hub, WatchObserver};
use latido_protocol::Frame;
use latido_session::{SessionContext, SessionLimits};
use latido_shard::{
    Actions, AsyncResult, ClientMessage, ConnectionKind, HandlerSpec, ProtocolHandler,
    RequestHandler, ShardDeps, SimulatedShard, Timestamp, UpgradedConnection,
};
use latido_stream::{Catalog, Stream};
use latido_telemetry::Metrics;

/// A masked text frame without text, as a heartbeat.
const HEARTBEAT: [u8; 6] = [0x81, 0x80, 0, 0, 0, 0];

struct Nothing;

impl PermissionSource for Nothing {
    fn allowed<'a>(&'a self, _: &'a Stream, _: PermissionQuestion<'a>) -> PermissionFuture<'a> {
        Box::pin(std::future::ready(Ok(false)))
    }
}

impl WatchObserver for Nothing {
    fn on_watched(&self, _: &Topic) {}
    fn on_unwatched(&self, _: &Topic) {}
}

impl ProtocolHandler for Nothing {
    fn on_message(&mut self, _: ClientMessage<'_>, _: Timestamp, _: &mut Actions<'_>) {}
    fn on_async_result(&mut self, _: AsyncResult, _: Timestamp, _: &mut Actions<'_>) {}
    fn encode(&self, _: &BusEvent) -> Frame {
        Frame::text("")
    }
    fn user(&self) -> Option<&UserId> {
        None
    }
}

fn start_shard() -> SimulatedShard {
    let catalog = Arc::new(Catalog::new(Vec::new()));
    let policy = Arc::new(Policy::new(PolicyConfig::default(), Arc::new(Nothing)));
    let verifier = Arc::new(Verifier::new(&VerifierConfig::default(), Clock::system()).unwrap());
    SimulatedShard::new(ShardDeps {
        hub: Arc::new(Hub::new(Arc::clone(&catalog), Box::new(Nothing))),
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
        clock: Clock::system(),
        metrics: Arc::new(Metrics::new()),
        drain: Drain::new(),
    })
}

/// Returns the number of heartbeats that a client could send, of at most ten that are `interval`
/// apart.
fn heartbeats_until_closed(interval: Duration) -> usize {
    let (begin, wall) = (Instant::now(), Duration::from_secs(1_700_000_000));
    let set = |elapsed: Duration| simulated::set(begin + elapsed, wall + elapsed);
    set(Duration::ZERO);
    let mut shard = start_shard();
    let (mut client, server) = UnixStream::pair().unwrap();
    let socket = std::net::TcpStream::from(OwnedFd::from(server));
    socket.set_nonblocking(true).unwrap();
    let spec = HandlerSpec::new("test", |_| Box::new(Nothing))
        .limits(socket_limits(SessionLimits::default()));
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    shard.add_upgraded(UpgradedConnection {
        socket,
        early_bytes: HEARTBEAT.to_vec().into(),
        kind: ConnectionKind::App(Box::new(spec)),
        permits: PermitSet::new(permit),
    });
    shard.run_until_idle();
    let mut sent = 0;
    for round in 1..=10 {
        let next = interval * round;
        // Timers are due once per second at most.
        for second in (interval * (round - 1)).as_secs()..=next.as_secs() {
            set(Duration::from_secs(second).max(interval * (round - 1)));
            shard.run_until_idle();
        }
        set(next);
        shard.run_until_idle();
        if shard.slots_in_use() == 0 {
            return sent;
        }
        std::io::Write::write_all(&mut client, &HEARTBEAT).unwrap();
        shard.run_until_idle();
        sent += 1;
    }
    sent
}

#[test]
fn heartbeats_of_background_tabs_keep_the_connection() {
    for (ms, heartbeats) in [
        (30_000, 10),
        // As two browsers sent them from a tab in the background.
        (59_860, 10),
        (59_930, 10),
        (65_000, 10),
        (80_000, 0),
    ] {
        let interval = Duration::from_millis(ms);
        assert_eq!(heartbeats_until_closed(interval), heartbeats, "{ms} ms");
    }
}
