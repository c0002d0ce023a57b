//! A Socket.IO server that echoes events, on the product's accept loop, shards and sessions: for
//! the public test suite of the protocol.
//!
//! `cargo run --example socketio_echo [port]`; the port is 3000 unless the argument or `PORT` says
//! otherwise. `PING_INTERVAL_MS` and `PING_TIMEOUT_MS` replace the suite's 300 and 200 ms, and
//! `ALLOW_EIO3` allows Engine.IO 3.

#[path = "parts/shards.rs"]
mod shards;

use std::sync::Arc;
use std::time::Duration;

use latido_base::drain::Drain;
use latido_event_bus::{
    BusEvent, EventBus, Identity, PresenceDiff, PresenceMode, Publish, TopicName, TopicPolicy,
};
use latido_socketio::{
    Args, ClientEvent, Config, ConnectRequest, Emit, SocketActions, SocketHandler, SocketIoApp,
    SocketIoMount,
};
use serde_json::json;

/// The event bus has no topics here.
struct NoTopics;

impl TopicPolicy for NoTopics {
    fn presence_mode(&self, _: &TopicName) -> PresenceMode {
        PresenceMode::Off
    }

    fn on_presence_change(&self, _: &TopicName, _: &PresenceDiff) -> Vec<Publish> {
        Vec::new()
    }
}

struct EchoApp {
    event_bus: Arc<EventBus>,
}

impl SocketIoApp for EchoApp {
    fn namespaces(&self) -> &'static [&'static str] {
        &["/", "/custom"]
    }

    fn handles_event(&self, _: &str) -> bool {
        true
    }

    fn allows_engineio_3(&self) -> bool {
        std::env::var_os("ALLOW_EIO3").is_some()
    }

    fn on_connect(
        &self,
        socket: &ConnectRequest<'_>,
        actions: &mut SocketActions<'_>,
    ) -> Option<Box<dyn SocketHandler>> {
        actions.connect(&self.event_bus, Identity::default(), &[])?;
        actions.mark_identified();
        if socket.auth.is_null() {
            actions.emit("auth", &json!({}));
        } else {
            actions.emit("auth", socket.auth);
        }
        Some(Box::new(EchoSocket))
    }

    fn encode(&self, _: &str, _: &BusEvent) -> Vec<Emit> {
        Vec::new()
    }
}

struct EchoSocket;

impl SocketHandler for EchoSocket {
    fn on_event(
        &mut self,
        ClientEvent { name, args, ack }: ClientEvent,
        actions: &mut SocketActions<'_>,
    ) {
        match (&*name, ack) {
            ("message", _) => actions.emit_args("message-back", &args),
            ("message-with-ack", Some(ack)) => actions.acknowledge(&ack, &args),
            _ => {
                let error = Args::new([json!({"message": "unknown event"})]);
                actions.emit_args("error", &error);
            }
        }
    }
}

fn duration(variable: &str, default_ms: u64) -> anyhow::Result<Duration> {
    let ms = std::env::var(variable).map_or(Ok(default_ms), |ms| ms.parse())?;
    Ok(Duration::from_millis(ms))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config {
        ping_interval: duration("PING_INTERVAL_MS", 300)?,
        ping_timeout: duration("PING_TIMEOUT_MS", 200)?,
        ..Config::default()
    };
    let drain = Drain::new();
    let app = Arc::new(EchoApp {
        event_bus: Arc::new(EventBus::new(NoTopics, || 0)),
    });
    let mount = SocketIoMount::start(&config, &[app], &drain);
    shards::serve(mount, &drain).await
}
