//! A Socket.IO server that says back what it hears, on this project's accept loop, limits and Socket.IO layer: for the protocol's public
//! test suite.
//!
//! `cargo run --example socketio_echo [port]`; the port is 3000 unless the argument or `PORT` says otherwise.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use latido_base::drain::Drain;
use latido_event_bus::{
    BusEvent, EventBus, Identity, Mailbox, PresenceDiff, PresenceMode, Publish, TopicName,
    TopicPolicy,
};
use latido_http::{self as http, bind, serve_mount};
use latido_socketio::{
    Args, ClientEvent, Config, Emit, SocketHandle, SocketHandler, SocketIoApp, SocketIoMount,
};
use serde_json::{Value, json};

/// The exchange has no topics here: a mailbox is only a socket's life.
struct NoTopics;

impl TopicPolicy for NoTopics {
    fn presence_mode(&self, _: &TopicName) -> PresenceMode {
        PresenceMode::Off
    }

    fn on_presence_change(&self, _: &TopicName, _: &PresenceDiff) -> Vec<Publish> {
        Vec::new()
    }
}

struct Echo {
    exchange: Arc<EventBus>,
}

impl SocketIoApp for Echo {
    fn namespaces(&self) -> &'static [&'static str] {
        &["/", "/custom"]
    }

    fn handles_event(&self, _: &str) -> bool {
        true
    }

    fn on_connect(
        &self,
        link: &SocketHandle,
        auth: Value,
    ) -> Option<(Box<dyn SocketHandler>, Mailbox)> {
        let mailbox = self.exchange.connect(Identity::default(), &[]).ok()?;
        let auth = if auth.is_null() { json!({}) } else { auth };
        link.mark_identified();
        link.emit("auth", &auth);
        Some((Box::new(Parrot { link: link.clone() }), mailbox))
    }

    fn encode(&self, _: &str, _: &BusEvent) -> Vec<Emit> {
        Vec::new()
    }
}

struct Parrot {
    link: SocketHandle,
}

impl SocketHandler for Parrot {
    fn on_event(
        &mut self,
        ClientEvent {
            name: event,
            args,
            ack,
        }: ClientEvent,
    ) -> BoxFuture<'_, ()> {
        match (&*event, ack) {
            ("message", _) => self.link.emit_args("message-back", &args),
            ("message-with-ack", Some(ack)) => ack.send(&args),
            _ => self
                .link
                .emit_args("error", &Args::new([json!({"message": "unknown event"})])),
        }
        Box::pin(std::future::ready(()))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let port = std::env::args()
        .nth(1)
        .or_else(|| std::env::var("PORT").ok())
        .map_or(Ok(3000), |port| port.parse())?;
    let listener = bind(&[([0_u16; 8], port).into(), ([0, 0, 0, 0], port).into()])?;
    report(listener.address().port());
    let config = Config {
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        max_payload_bytes: 1_000_000,
        ..Config::default()
    };
    let drain = Drain::new();
    let dialect = Arc::new(Echo {
        exchange: Arc::new(EventBus::new(NoTopics, || 0)),
    });
    let endpoint = SocketIoMount::start(&config, &[dialect], &drain);
    serve_mount(listener, &http::Config::default(), endpoint, &drain).await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a test waits for this line")]
fn report(port: u16) {
    println!("listening on port {port}");
}
