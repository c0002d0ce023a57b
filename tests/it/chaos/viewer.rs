//! A viewer that always reconnects and checks for frames that it must never receive.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};

/// The four statistics of one business, in wire order.
pub(super) type BusinessNumbers = [i64; 4];

/// The response timeout. A viewer leaves a server that does not answer within it.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);
/// The pause between two connection attempts.
const RECONNECT_PAUSE: Duration = Duration::from_millis(40);

/// The totals over all viewers.
#[derive(Debug, Default)]
pub(super) struct ViewerCounts {
    pub(super) frames: AtomicU64,
    pub(super) connections: AtomicU64,
    pub(super) refused: AtomicU64,
}

/// The current view of one viewer, and its first violation.
#[derive(Debug, Default)]
pub(super) struct ViewerState {
    /// The numbers by business. Cleared when a connection ends, because nothing is displayed then.
    pub(super) numbers: HashMap<String, BusinessNumbers>,
    versions: HashMap<String, u64>,
    pub(super) violation: Option<String>,
}

/// A client with its token and its businesses.
pub(super) struct ChaosViewer {
    pub(super) token: String,
    pub(super) businesses: Vec<String>,
    /// A business that the token does not grant.
    pub(super) forbidden: String,
    pub(super) state: Arc<Mutex<ViewerState>>,
    pub(super) counts: Arc<ViewerCounts>,
}

impl ChaosViewer {
    /// Connects to the current server address, again and again.
    pub(super) async fn follow(self, mut address: watch::Receiver<Option<SocketAddr>>) {
        loop {
            let there = *address.borrow_and_update();
            if let Some(there) = there {
                let _ended = self.run_connection(there, address.clone()).await;
                self.state.lock().unwrap().numbers.clear();
            }
            sleep(RECONNECT_PAUSE).await;
        }
    }

    async fn run_connection(
        &self,
        there: SocketAddr,
        mut address: watch::Receiver<Option<SocketAddr>>,
    ) -> Result<(), Error> {
        let url = format!("ws://{there}/ws?token={}", self.token);
        let connecting = Box::pin(tokio_tungstenite::connect_async(url));
        let Ok(connected) = timeout(RESPONSE_TIMEOUT, connecting).await else {
            return Ok(());
        };
        let (mut stream, _) = connected?;
        self.counts.connections.fetch_add(1, Ordering::Relaxed);
        for business in self.businesses.iter().chain([&self.forbidden]) {
            let subscribe =
                json!({"type": "subscribe", "channel": format!("estadisticas:{business}")});
            stream.send(Message::text(subscribe.to_string())).await?;
        }
        loop {
            let message = tokio::select! {
                message = stream.next() => message,
                // The process ended, and another program may use its port now.
                _ = address.changed() => return Ok(()),
            };
            match message {
                Some(Ok(Message::Text(text))) => {
                    let message = serde_json::from_str(&text).expect("every frame is JSON");
                    if self.on_message(&message) {
                        return Ok(());
                    }
                }
                Some(Ok(Message::Close(_))) | None => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
            }
        }
    }

    /// Checks a received message. Returns true if the server rejected a subscription for a
    /// temporary reason, so the viewer must reconnect.
    fn on_message(&self, message: &Value) -> bool {
        if message["type"] == "error" {
            let code = &message["data"]["code"];
            self.counts
                .refused
                .fetch_add(u64::from(code == "forbidden"), Ordering::Relaxed);
            return code != "forbidden";
        }
        if message["type"] != "stats" {
            return false;
        }
        self.counts.frames.fetch_add(1, Ordering::Relaxed);
        let data = &message["data"];
        let business = data["negocio_id"].as_str().unwrap_or_default().to_owned();
        let version = message["v"].as_u64().unwrap_or_default();
        let numbers = [
            "citas_hoy",
            "total_citas",
            "citas_completadas",
            "citas_canceladas",
        ];
        let numbers = numbers.map(|name| data[name].as_i64().unwrap_or(-1));
        let mut view = self.state.lock().unwrap();
        if !self.businesses.contains(&business)
            || message["channel"] != format!("estadisticas:{business}")
        {
            view.violation
                .get_or_insert(format!("a frame of another's: {message}"));
        }
        let before = view
            .versions
            .insert(business.clone(), version)
            .unwrap_or_default();
        let repeats = before == version && !view.numbers.contains_key(&business);
        if before > version || (before == version && !repeats) {
            view.violation
                .get_or_insert(format!("version {version} after {before}: {message}"));
        }
        view.numbers.insert(business, numbers);
        false
    }
}
