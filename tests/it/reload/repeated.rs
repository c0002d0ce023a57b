//! Many reloads in a row, with viewers and writers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::{COUNT, MAX, Reloadable, SUM, file};
use crate::harness::{OTHER_USER, TestSocket, replayable_seed, wait_until};

/// Reads what has arrived: the newest frame or error of each channel.
pub(super) async fn settle(socket: &mut TestSocket, newest: &mut BTreeMap<String, Value>) {
    socket.send(&json!({"type": "ping"})).await;
    loop {
        let frame = socket.next_frame().await;
        let channel = |frame: &Value| {
            let of_error = frame["data"]["channel"].as_str();
            frame["channel"].as_str().or(of_error).map(str::to_owned)
        };
        match frame["type"].as_str() {
            Some("pong") => return,
            Some("status" | "subscribed") => {}
            _ => {
                let channel = channel(&frame).unwrap_or_else(|| panic!("{frame}"));
                if let Some(old) = newest.get(&channel)
                    && let Some(old) = old["v"].as_u64()
                    && let Some(new) = frame["v"].as_u64()
                {
                    // The newest frame is sent again on request.
                    assert!(new >= old, "versions rise: {old}, {frame}");
                }
                newest.insert(channel, frame);
            }
        }
    }
}

/// The channels that every client subscribes to.
const CHANNELS: [&str; 5] = ["s0:a", "s1:a", "s1:b", "s2:a", "s3:a"];
const NAMES: [&str; 4] = ["s0", "s1", "s2", "s3"];

/// A client, and what it should have.
struct Viewer {
    socket: TestSocket,
    newest: BTreeMap<String, Value>,
    subscribed: BTreeSet<&'static str>,
}

impl Viewer {
    async fn subscribe_all(&mut self, served: &[(&str, &str)]) {
        for channel in CHANNELS {
            let message = json!({"type": "subscribe", "channel": channel});
            self.socket.send(&message).await;
        }
        self.subscribed.extend(CHANNELS);
        self.on_served(served);
        self.settle().await;
    }

    /// Notes that other streams are served.
    fn on_served(&mut self, served: &[(&str, &str)]) {
        let is_served = |channel: &str| served.iter().any(|(name, _)| channel.starts_with(name));
        self.subscribed.retain(|channel| is_served(channel));
    }

    async fn settle(&mut self) {
        settle(&mut self.socket, &mut self.newest).await;
    }

    /// Waits until the client has this number of a channel.
    async fn wait_for(&mut self, channel: &str, number: i64) {
        wait_until(&format!("{channel} is {number}"), async || {
            self.settle().await;
            self.newest[channel]["data"]["n"] == number
        })
        .await;
    }
}

/// Returns the streams of a random configuration; at least one.
fn random_streams(random: &mut fastrand::Rng) -> Vec<(&'static str, &'static str)> {
    let mut streams = Vec::new();
    for name in NAMES {
        match random.usize(0..6) {
            0 if name != "s0" => {}
            n => streams.push((name, [COUNT, SUM, MAX][n % 3])),
        }
    }
    streams
}

#[tokio::test(flavor = "multi_thread")]
async fn hundred_random_reloads_leave_every_frame_right_and_nothing_behind() {
    let mut random = fastrand::Rng::with_seed(replayable_seed());
    // All are installed: a stream without triggers is read again by the sweep alone, which is off.
    let mut served = NAMES.map(|name| (name, COUNT)).to_vec();
    let rates = [("MAX_MESSAGES_PER_SECOND", "100000")];
    let server = Reloadable::start_with(&file(&served), &rates).await;
    let mut viewers = Vec::new();
    for _ in 0..3 {
        viewers.push(Viewer {
            socket: server.connect().await,
            newest: BTreeMap::new(),
            subscribed: BTreeSet::new(),
        });
    }
    let stops = Arc::new(AtomicBool::new(false));
    let writer = start_writer(&server, Arc::clone(&stops)).await;
    for _ in 0..100 {
        for viewer in &mut viewers {
            if random.usize(0..3) == 0 {
                viewer.subscribe_all(&served).await;
            }
        }
        served = random_streams(&mut random);
        server.reload(&file(&served)).await;
        for viewer in &mut viewers {
            viewer.on_served(&served);
            viewer.settle().await;
        }
    }
    stops.store(true, Ordering::Relaxed);
    let db = writer.await.unwrap();
    let mut watched = BTreeSet::new();
    for viewer in &mut viewers {
        for channel in viewer.subscribed.clone() {
            let (name, key) = channel.split_once(':').unwrap();
            let aggregate = served.iter().find(|(served, _)| *served == name).unwrap().1;
            let sql = format!("SELECT ({aggregate})::bigint FROM rows r WHERE r.k = '{key}'");
            let number: i64 = db.query_one(&sql, &[]).await.unwrap().get(0);
            viewer.wait_for(channel, number).await;
            watched.insert(channel);
        }
    }
    let topics = server.app.metric("latido_topics").await;
    assert_eq!(topics, watched.len() as f64, "{watched:?}");
    drop(viewers);
    let is_empty = async || server.app.metric("latido_topics").await == 0.0;
    wait_until("nobody watches", is_empty).await;
    assert_eq!(server.app.running().engine().unsettled_keys(), 0);
}

/// Writes all the time until the flag is set.
async fn start_writer(server: &Reloadable, stops: Arc<AtomicBool>) -> JoinHandle<Client> {
    let db = server.app.connect_database().await;
    tokio::spawn(async move {
        while !stops.load(Ordering::Relaxed) {
            let write = "INSERT INTO rows VALUES ('a', 1), ('b', 2)";
            db.batch_execute(write).await.unwrap();
        }
        db
    })
}

/// More rights must be looked up at once than the queue for that holds.
#[tokio::test(flavor = "multi_thread")]
async fn many_viewers_go_over_although_each_right_is_looked_up() {
    const SOCKETS: usize = 50;
    const KEYS: usize = 100;
    let with = |aggregate: &str, pause: &str| {
        let key = "key_field = \"k\"";
        let sql = format!(
            "SELECT k FROM unnest($2::text[]) k, pg_sleep({pause}) WHERE $1 <> '' AND k <> ''"
        );
        let streams = file(&[("one", aggregate)]);
        streams.replacen(key, &format!("{key}\nauthorize = \"{sql}\""), 1)
    };
    let server = Reloadable::start(&with(COUNT, "0")).await;
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        let token = server.app.token(OTHER_USER);
        let mut socket = server.app.connect_socket(&token).await;
        for key in 0..KEYS {
            let frame = socket.subscribe_as(&format!("one:{key}"), "one").await;
            assert_eq!(frame["data"]["n"], 0);
        }
        sockets.push(socket);
    }
    let changed = with("count(*) + 1", "0.2");
    assert_eq!(server.reload(&changed).await, "~one");
    for socket in &mut sockets {
        let mut left: BTreeSet<_> = (0..KEYS).map(|key| format!("one:{key}")).collect();
        while !left.is_empty() {
            let frame = socket.next().await;
            assert_ne!(frame["type"], "error", "{frame}");
            if frame["type"] == "one" {
                assert_eq!(frame["data"]["n"], 1);
                assert!(left.remove(frame["channel"].as_str().unwrap()), "{frame}");
            }
        }
    }
    assert_eq!(server.app.metric("latido_topics").await, KEYS as f64);
}
