//! Clients of the convergence run: each follows some channels, over a WebSocket or as Server-Sent
//! Events, and checks the frames of each channel.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::shop::admin_token;
use crate::harness::{TestApp, TestSocket};

/// What a channel shows to one client.
#[derive(Clone, Default)]
pub(super) struct Shown {
    pub(super) data: Value,
    pub(super) is_failing: bool,
    pub(super) is_stale: bool,
    /// The number of errors so far.
    pub(super) errors: i64,
    /// The versions of the frames, in microseconds of the database's clock.
    versions: Vec<u64>,
    /// True if the last message of this channel was a frame, or an error of a channel that works
    /// otherwise. Only these may change the status.
    may_change_status: bool,
}

impl Shown {
    fn on_message(&mut self, message: &Value) {
        let may_change_status = std::mem::take(&mut self.may_change_status);
        match message["type"].as_str().unwrap() {
            "subscribed" => {}
            "error" => {
                assert_eq!(message["data"]["code"], "unavailable", "{message}");
                self.errors += 1;
                self.is_failing = true;
                self.may_change_status = true;
            }
            "status" => {
                let is_stale = message["data"]["stale"] == true;
                assert!(may_change_status, "{message}");
                assert_eq!(
                    is_stale,
                    self.is_failing && !self.versions.is_empty(),
                    "{message}"
                );
                assert_ne!(is_stale, self.is_stale, "{message}");
                self.is_stale = is_stale;
            }
            _ => {
                let version = message["v"].as_u64().unwrap();
                let is_newer = self.versions.last().is_none_or(|last| *last < version);
                assert!(is_newer, "{message}");
                self.versions.push(version);
                self.data = message["data"].clone();
                self.is_failing = false;
                self.may_change_status = true;
            }
        }
    }

    /// Asserts that frames came no faster than one in each interval. A read may have been late.
    pub(super) fn assert_paced(&self, interval: Duration) {
        const DELAY: Duration = Duration::from_secs(1);
        for (start, first) in self.versions.iter().enumerate() {
            for (count, last) in (0..).zip(&self.versions[start..]) {
                let passed = Duration::from_micros(last - first);
                let is_paced = passed + DELAY >= interval * count;
                assert!(is_paced, "{count} more frames in {passed:?}");
            }
        }
    }
}

/// A client that follows channels until it is stopped.
pub(super) struct Follower {
    pub(super) name: &'static str,
    channels: Arc<Mutex<HashMap<String, Shown>>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Follower {
    pub(super) async fn on_socket(app: &TestApp, names: &[String]) -> Self {
        let mut socket = TestSocket::connect(&app.ws_url(), &admin_token(app)).await;
        for name in names {
            let subscribe = json!({"type": "subscribe", "channel": name});
            socket.send(&subscribe).await;
        }
        Self::start("socket", names, Source::Socket(Box::new(socket)))
    }

    pub(super) async fn on_events(app: &TestApp, names: &[String]) -> Self {
        let query: Vec<_> = names
            .iter()
            .map(|name| format!("channel={}", percent_encode(name)))
            .collect();
        let request = app.request(Method::GET, &format!("/events?{}", query.join("&")));
        let answer = request.bearer_auth(admin_token(app)).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let source = Source::Events {
            bytes: answer.bytes_stream().boxed(),
            text: Vec::new(),
        };
        Self::start("event stream", names, source)
    }

    fn start(name: &'static str, names: &[String], mut source: Source) -> Self {
        let shown = names.iter().map(|name| (name.clone(), Shown::default()));
        let channels = Arc::new(Mutex::new(shown.collect::<HashMap<_, _>>()));
        let (stop, mut stopped) = watch::channel(false);
        let of_task = Arc::clone(&channels);
        let task = tokio::spawn(async move {
            loop {
                let message = tokio::select! {
                    message = source.next() => message,
                    _ = stopped.wait_for(|stop| *stop) => return,
                };
                let named = message["channel"].as_str();
                let named = named.or(message["data"]["channel"].as_str());
                // Without a channel it is the status of the database.
                if let Some(named) = named {
                    let mut channels = of_task.lock().unwrap();
                    channels.get_mut(named).unwrap().on_message(&message);
                }
            }
        });
        Self {
            name,
            channels,
            stop,
            task,
        }
    }

    /// Returns what each channel shows now.
    pub(super) fn shown(&self) -> HashMap<String, Shown> {
        assert!(!self.task.is_finished(), "the {} ended", self.name);
        self.channels.lock().unwrap().clone()
    }

    /// Ends the client. Panics if it found something wrong.
    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }
}

fn percent_encode(name: &str) -> String {
    let encode = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    name.bytes().map(encode).collect()
}

/// The connection of a client.
enum Source {
    Socket(Box<TestSocket>),
    Events {
        bytes: BoxStream<'static, reqwest::Result<Bytes>>,
        /// What came of the next event so far.
        text: Vec<u8>,
    },
}

impl Source {
    async fn next(&mut self) -> Value {
        let (bytes, text) = match self {
            Self::Socket(socket) => return socket.next_frame().await,
            Self::Events { bytes, text } => (bytes, text),
        };
        loop {
            while let Some(end) = text.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = text.drain(..end + 2).collect();
                if let Some(message) = parse_event(std::str::from_utf8(&event).unwrap()) {
                    return message;
                }
            }
            text.extend_from_slice(&bytes.next().await.expect("an event").unwrap());
        }
    }
}

/// Returns the frame in an event, unless it is a comment.
fn parse_event(event: &str) -> Option<Value> {
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
    let message: Value = serde_json::from_str(field("data:")?).unwrap();
    assert_eq!(message["type"].as_str(), field("event:"), "{event}");
    let version = message["v"].as_u64().map(|version| version.to_string());
    assert_eq!(version.as_deref(), field("id:"), "{event}");
    Some(message)
}
