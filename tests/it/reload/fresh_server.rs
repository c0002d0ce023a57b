//! After random reloads, a server serves what a fresh one with the last file serves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::repeated::settle;
use super::{COUNT, MAX, Reloadable, SUM};
use crate::harness::{OTHER_USER, TestApp, TestSocket, disable_sweep, replayable_seed, wait_until};

const RELOADS: usize = 60;
const NAMES: [&str; 4] = ["s0", "s1", "s2", "s3"];
const RATES: [(&str, &str); 1] = [("MAX_MESSAGES_PER_SECOND", "100000")];

/// A random definition of a stream.
struct Definition {
    name: &'static str,
    aggregate: &'static str,
    event: Option<&'static str>,
    has_param: bool,
    has_history: bool,
    /// True if the database lets every user watch the key `a`.
    is_open: bool,
}

impl Definition {
    fn random(name: &'static str, random: &mut fastrand::Rng) -> Self {
        Self {
            name,
            aggregate: [COUNT, SUM, MAX][random.usize(0..3)],
            event: [None, Some("cifras")][random.usize(0..2)],
            has_param: random.bool(),
            has_history: random.bool(),
            is_open: random.bool(),
        }
    }

    fn to_toml(&self) -> String {
        let Self {
            name, aggregate, ..
        } = self;
        let (columns, arrays, names, condition) = match self.has_param {
            true => (
                "u.k, u.de",
                "$1::text[], $2::date[], $3::bigint[]",
                "k, hoy, de",
                "r.k = u.k AND r.n >= u.de",
            ),
            false => ("u.k", "$1::text[]", "k", "r.k = u.k"),
        };
        let from = format!("FROM unnest({arrays}) AS u ({names})");
        let mut toml = format!(
            "[streams.{name}]\nkey_field = 'k'\nquery = 'SELECT {columns}, s.* {from} CROSS JOIN LATERAL (SELECT {aggregate} AS n FROM rows r WHERE {condition}) s'\n"
        );
        let mut add = |line: String| writeln!(toml, "{line}").expect("a text");
        if let Some(event) = self.event {
            add(format!("event = '{event}'"));
        }
        if self.has_history {
            add(format!(
                "history = 'SELECT {columns}, r.n {from} JOIN rows r ON {condition} ORDER BY r.n'"
            ));
        }
        if self.is_open {
            add("authorize = \"SELECT 'a'::text WHERE 'a' = ANY ($2) AND $1 <> ''\"".to_owned());
        }
        if self.has_param {
            add(format!(
                "[streams.{name}.params]\nde = {{ type = 'integer', default = 0 }}"
            ));
        }
        add(format!(
            "[[streams.{name}.tables]]\ntable = 'rows'\nkey = 'k'"
        ));
        toml
    }
}

fn to_file(definitions: &[Definition]) -> String {
    let streams: String = definitions.iter().map(Definition::to_toml).collect();
    format!("builtin_streams = false\n{streams}")
}

fn random_definitions(random: &mut fastrand::Rng) -> Vec<Definition> {
    let mut names: Vec<_> = NAMES
        .into_iter()
        .filter(|_| random.usize(0..4) > 0)
        .collect();
    if names.is_empty() {
        names.push(NAMES[0]);
    }
    random.shuffle(&mut names);
    let define = |name| Definition::random(name, random);
    names.into_iter().map(define).collect()
}

fn channels() -> Vec<String> {
    let of = |name| ["a", "b", "a?de=2"].map(|key| format!("{name}:{key}"));
    NAMES.into_iter().flat_map(of).collect()
}

/// Returns whether a user, or an administrator, may watch a channel.
fn is_served(definitions: &[Definition], channel: &str, is_admin: bool) -> bool {
    let (name, key) = channel.split_once(':').expect("a channel");
    let definition = definitions.iter().find(|of| of.name == name);
    definition.is_some_and(|of| {
        (of.has_param || !key.contains('?')) && (is_admin || of.is_open && key.starts_with('a'))
    })
}

struct Viewer {
    socket: TestSocket,
    is_admin: bool,
    newest: BTreeMap<String, Value>,
    /// The channels that were served all the time since the client subscribed.
    alive: BTreeSet<String>,
}

impl Viewer {
    fn on_served(&mut self, definitions: &[Definition]) {
        let is_admin = self.is_admin;
        self.alive
            .retain(|channel| is_served(definitions, channel, is_admin));
    }

    async fn subscribe(&mut self, channel: &str) {
        let message = json!({"type": "subscribe", "channel": channel});
        self.socket.send(&message).await;
        self.alive.insert(channel.to_owned());
    }

    async fn settle(&mut self) {
        settle(&mut self.socket, &mut self.newest).await;
    }
}

/// Returns what a frame says, without what differs from server to server.
fn content(frame: &Value) -> Value {
    let mut data = frame["data"].clone();
    if let Some(data) = data.as_object_mut() {
        data.remove("timestamp");
    }
    json!([frame["type"], frame["channel"], data])
}

fn token(app: &TestApp, is_admin: bool) -> String {
    match is_admin {
        true => app.sign(&json!({"id": 7, "rol": "admin_sistema", "exp": 9_999_999_999_u64})),
        false => app.token(OTHER_USER),
    }
}

/// Returns what a new client gets of every channel.
async fn contents(app: &TestApp, is_admin: bool) -> BTreeMap<String, Value> {
    let mut socket = app.connect_socket(&token(app, is_admin)).await;
    let mut contents = BTreeMap::new();
    for channel in channels() {
        let message = json!({"type": "subscribe", "channel": channel});
        socket.send(&message).await;
        let frame = loop {
            let frame = socket.next().await;
            let of = frame["channel"]
                .as_str()
                .or(frame["data"]["channel"].as_str());
            if frame["type"] != "subscribed" && of == Some(&channel) {
                break frame;
            }
        };
        contents.insert(channel, content(&frame));
    }
    contents
}

/// Returns what the server says of its streams elsewhere.
async fn descriptions(app: &TestApp) -> BTreeMap<String, Value> {
    let mut descriptions = BTreeMap::new();
    let mut paths = vec!["/openapi.json".to_owned(), "/asyncapi.json".to_owned()];
    for name in NAMES {
        let keys = ["a", "b", "a?de=2", "a?history=true"];
        paths.extend(keys.map(|key| format!("/{name}/{key}")));
    }
    for path in paths {
        let request = app.request(reqwest::Method::GET, &path);
        let answer = request.bearer_auth(token(app, true)).send().await.unwrap();
        let status = answer.status().as_u16();
        let mut body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        if let Some(body) = body.as_object_mut() {
            body.remove("timestamp");
        }
        descriptions.insert(path, json!([status, body]));
    }
    let ready: Value = serde_json::from_str(&app.get("/ready").await.1).unwrap();
    descriptions.insert("/ready".to_owned(), ready["streams"].clone());
    let metrics = app.get("/metrics").await.1;
    let of_streams = metrics.lines().filter(|line| line.contains("stream=\""));
    descriptions.insert("/metrics".to_owned(), of_streams.collect());
    descriptions
}

/// Changes random rows all the time until the flag is set.
async fn start_writer(server: &Reloadable, seed: u64, stops: Arc<AtomicBool>) -> JoinHandle<()> {
    let db = server.app.connect_database().await;
    let mut random = fastrand::Rng::with_seed(seed);
    tokio::spawn(async move {
        while !stops.load(Ordering::Relaxed) {
            let (key, other, n) = (["a", "b"][random.usize(0..2)], "c", random.u8(0..9));
            let sql = match random.usize(0..8) {
                0..4 => format!("INSERT INTO rows VALUES ('{key}', {n}), ('{other}', {n})"),
                4 => format!("UPDATE rows SET n = n + 1 WHERE k = '{key}' AND n = {n}"),
                5 => format!("UPDATE rows SET k = '{key}' WHERE k = '{other}' AND n = {n}"),
                6 => format!("DELETE FROM rows WHERE n > {n}"),
                _ => "BEGIN; INSERT INTO rows VALUES ('a', 100); ROLLBACK".to_owned(),
            };
            // Two writers may lock the same rows in another order.
            let written = db.batch_execute(&sql).await;
            let is_deadlock = |error: &tokio_postgres::Error| {
                error.code() == Some(&tokio_postgres::error::SqlState::T_R_DEADLOCK_DETECTED)
            };
            assert!(written.is_ok() || written.is_err_and(|error| is_deadlock(&error)));
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn random_reloads_leave_what_a_fresh_server_serves() {
    let seed = replayable_seed();
    let mut random = fastrand::Rng::with_seed(seed);
    // All are installed: a stream without triggers is read again by the sweep alone, which is off.
    let mut served: Vec<_> = NAMES
        .into_iter()
        .map(|name| Definition::random(name, &mut random))
        .collect();
    let server = Reloadable::start_with(&to_file(&served), &RATES).await;
    let mut viewers = Vec::new();
    for is_admin in [true, false, true, false] {
        let token = token(&server.app, is_admin);
        viewers.push(Viewer {
            socket: server.app.connect_socket(&token).await,
            is_admin,
            newest: BTreeMap::new(),
            alive: BTreeSet::new(),
        });
    }
    let stops = Arc::new(AtomicBool::new(false));
    let writers = [
        start_writer(&server, seed ^ 1, Arc::clone(&stops)).await,
        start_writer(&server, seed ^ 2, Arc::clone(&stops)).await,
    ];
    let all = channels();
    for _ in 0..RELOADS {
        for viewer in &mut viewers {
            for channel in all.iter().filter(|_| random.usize(0..4) == 0) {
                viewer.subscribe(channel).await;
            }
            viewer.on_served(&served);
        }
        served = random_definitions(&mut random);
        server.reload(&to_file(&served)).await;
        for viewer in &mut viewers {
            viewer.on_served(&served);
            viewer.settle().await;
        }
    }
    // One at least is gone in the end.
    served.retain(|of| of.name != NAMES[3]);
    if served.is_empty() {
        served.push(Definition::random(NAMES[0], &mut random));
    }
    server.reload(&to_file(&served)).await;
    viewers.iter_mut().for_each(|of| of.on_served(&served));
    stops.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    compare_with_a_fresh_server(&server, &mut viewers).await;
    drop(viewers);
    let is_empty = async || server.app.metric("latido_topics").await == 0.0;
    wait_until("nobody watches", is_empty).await;
    assert_eq!(server.app.running().engine().unsettled_keys(), 0);
}

async fn compare_with_a_fresh_server(server: &Reloadable, viewers: &mut [Viewer]) {
    let path = server.folder.path().join("latido.toml");
    let variables = [("LATIDO_CONFIG", path.to_str().expect("UTF-8")), RATES[0]];
    let url = server.store.url();
    let fresh = TestApp::on_database_completed(&url, &variables, disable_sweep).await;
    for is_admin in [true, false] {
        let expected = contents(&fresh, is_admin).await;
        for viewer in viewers.iter_mut().filter(|of| of.is_admin == is_admin) {
            for channel in viewer.alive.clone() {
                wait_until(
                    &format!("{channel} is {}", expected[&channel]),
                    async || {
                        viewer.settle().await;
                        let newest = viewer.newest.get(&channel);
                        newest.is_some_and(|frame| content(frame) == expected[&channel])
                    },
                )
                .await;
            }
        }
        wait_until("a new client gets the same of both", async || {
            contents(&server.app, is_admin).await == expected
        })
        .await;
    }
    let (of_fresh, of_old) = (descriptions(&fresh).await, descriptions(&server.app).await);
    for (path, expected) in of_fresh {
        assert_eq!(of_old[&path], expected, "{path}");
    }
}
