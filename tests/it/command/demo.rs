//! The `demo` command, which `make run` uses, on its embedded PostgreSQL.

use std::fs::{self, DirEntry};
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio_postgres::config::Host;

use crate::embedded::processes;
use crate::harness::claims::{SECRET, sign_with};
use crate::harness::cluster::connect;
use crate::harness::{CommandHome, RunningCommand, TestSocket, http_client, wait_until};

/// A running demo and the output for its user.
struct CommandDemo {
    process: RunningCommand,
    page: String,
    token: String,
    watch: String,
    database: String,
    http: reqwest::Client,
}

/// Returns variables that keep the demo's state in its home folder and use any free port.
pub(super) fn demo_variables(state: &str) -> [(&str, &str); 3] {
    [
        ("XDG_STATE_HOME", state),
        ("PORT", "0"),
        ("SHUTDOWN_SECONDS", "60"),
    ]
}

impl CommandDemo {
    async fn start(home: &CommandHome, state: &str) -> Self {
        Self::start_with(home, &demo_variables(state)).await
    }

    async fn start_with(home: &CommandHome, variables: &[(&str, &str)]) -> Self {
        let process = home.start(&["demo"], variables);
        let behind = async |mark: &str| {
            let line = process
                .wait_for_stdout(mark, |line| line.contains(mark))
                .await;
            line.split_once(mark)
                .expect("the mark is in the line")
                .1
                .trim()
                .to_owned()
        };
        let page = behind("Latido is running: ").await;
        let watch = behind("LATIDO_TOKEN=").await;
        let token = behind("The token, good for an hour: ").await;
        let database = behind("psql ").await.trim_matches('\'').to_owned();
        process
            .wait_for_stdout("the last line", |line| {
                line.contains("Ctrl-C stops everything")
            })
            .await;
        process.ready_address().await;
        Self {
            page,
            token,
            watch,
            database,
            http: http_client(),
            process,
        }
    }

    async fn session(&self) -> Value {
        let answer = self
            .http
            .get(format!("{}demo/session", self.page))
            .send()
            .await
            .expect("a response");
        assert_eq!(answer.status(), 200);
        serde_json::from_str(&answer.text().await.unwrap()).expect("JSON")
    }

    /// Connects a dashboard with a token of that session. Returns it with the channel of one of its
    /// businesses.
    async fn socket(&self, session: &Value) -> (TestSocket, String) {
        let url = format!("{}ws", self.page.replacen("http://", "ws://", 1));
        let socket = TestSocket::connect(&url, session["token"].as_str().expect("a token")).await;
        (
            socket,
            format!(
                "estadisticas:{}",
                session["negocios"][0]["id"].as_str().expect("an id")
            ),
        )
    }
}

/// Returns the folder of the Unix socket in a database URL.
fn socket_folder(url: &str) -> PathBuf {
    let config: tokio_postgres::Config = url.parse().expect("a URL");
    match &config.get_hosts()[0] {
        Host::Unix(folder) => folder.clone(),
        Host::Tcp(host) => panic!("a socket, not {host}"),
    }
}

/// Returns the commands of processes that mention this folder.
fn processes_of(state: &str) -> Vec<String> {
    processes()
        .into_iter()
        .map(|(.., command)| command)
        .filter(|command| command.contains(state))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_works_survives_crashes_and_leaves_nothing_behind() {
    let home = CommandHome::new();
    let state = home
        .folder()
        .path()
        .join("state")
        .to_str()
        .expect("UTF-8")
        .to_owned();
    check_interrupted_start(&home, &state).await;
    let mut demo = CommandDemo::start(&home, &state).await;
    check_page(&demo).await;
    check_watch_command(&home, &demo).await;
    check_live_numbers(&demo).await;
    check_booking(&demo).await;
    connect(&demo.database)
        .await
        .batch_execute("CREATE TABLE kept ()")
        .await
        .expect("a table");

    let socket = socket_folder(&demo.database);
    assert!(socket.exists());
    let second = home.run(&["demo"], &demo_variables(&state)).await;
    assert_eq!(
        (second.code, second.stdout.as_str()),
        (Some(1), ""),
        "{second:?}"
    );
    let error_text = format!("process {} already runs the database", demo.process.pid());
    assert!(second.stderr.contains(&error_text), "{}", second.stderr);
    assert!(!demo.process.has_ended());
    check_live_numbers(&demo).await;

    demo.process.signal(Signal::KILL);
    assert_eq!(demo.process.wait_for_exit().await.code, None);
    wait_until("its PostgreSQL is gone", async || {
        processes_of(&state).is_empty() && !socket.exists()
    })
    .await;

    let apps = [
        ("LATIDO_APPS", "messaging,modules"),
        ("MODULES_API_KEY", "a key of this test"),
    ];
    let demo = CommandDemo::start_with(&home, &[&demo_variables(&state)[..], &apps].concat()).await;
    connect(&demo.database)
        .await
        .batch_execute("SELECT FROM kept, messages, modules")
        .await
        .expect("the database was kept and has the apps' tables");
    check_live_numbers(&demo).await;
    demo.process.signal(Signal::INT);
    let finished = demo.process.wait_for_exit().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(
        processes_of(&state),
        Vec::<String>::new(),
        "its PostgreSQL has stopped"
    );
    assert!(!socket.exists(), "{}", socket.display());
    assert!(
        !finished.stderr.contains(&demo.token),
        "{}",
        finished.stderr
    );
}

/// Returns whether a token is signed with that secret, whatever it claims.
fn is_signed_with(secret: &str, token: &str) -> bool {
    let mut rules = jsonwebtoken::Validation::default();
    rules.required_spec_claims.clear();
    (rules.validate_exp, rules.validate_aud) = (false, false);
    let key = jsonwebtoken::DecodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::decode::<Value>(token, &key, &rules).is_ok()
}

/// The folder holds the settings of a server in production, and a proxy on this machine makes its
/// addresses public.
#[tokio::test(flavor = "multi_thread")]
async fn demo_beside_production_gives_out_no_token_of_it() {
    assert!(is_signed_with(SECRET, &sign_with(SECRET, &json!({}))));
    let home = CommandHome::new();
    home.folder()
        .write(".env", &format!("JWT_SECRET='{SECRET}'\n"));
    let state = home.folder().path().join("state");
    let demo = CommandDemo::start(&home, state.to_str().expect("UTF-8")).await;
    let mut tokens = vec![demo.token.clone()];
    for path in ["demo/session", "demo/operator"] {
        let request = || demo.http.get(format!("{}{path}", demo.page));
        let answer = request().send().await.expect("a response");
        assert_eq!(answer.status(), 200, "{path}");
        let body: Value = serde_json::from_str(&answer.text().await.unwrap()).expect("JSON");
        tokens.push(body["token"].as_str().expect("a token").to_owned());
        for header in ["x-forwarded-for", "x-real-ip", "forwarded", "via"] {
            let forwarded = request().header(header, "203.0.113.9").send().await;
            assert_eq!(forwarded.expect("a response").status(), 403, "{header}");
        }
    }
    for token in tokens {
        assert!(!is_signed_with(SECRET, &token), "{token}");
    }
}

/// Stops a demo during its first start. It waits for the processes that create the data, and never
/// uses incomplete data.
async fn check_interrupted_start(home: &CommandHome, state: &str) {
    let demo = home.start(&["demo"], &demo_variables(state));
    let is_unfinished =
        |entry: DirEntry| entry.file_name().to_string_lossy().ends_with(".unfinished");
    let folder = format!("{state}/latido");
    wait_until("initdb works", async || {
        fs::read_dir(&folder).is_ok_and(|entries| entries.flatten().any(is_unfinished))
    })
    .await;
    demo.signal(Signal::KILL);
    demo.wait_for_exit().await;
}

async fn check_page(demo: &CommandDemo) {
    assert!(demo.page.starts_with("http://127.0.0.1:"), "{}", demo.page);
    let answer = demo.http.get(&demo.page).send().await.expect("a response");
    assert_eq!(answer.status(), 200);
    let policy = answer.headers()["content-security-policy"]
        .to_str()
        .expect("text")
        .to_owned();
    assert!(
        policy.contains("default-src 'none'") && policy.contains("script-src 'self'"),
        "{policy}"
    );
    let page = answer.text().await.expect("text");
    for path in page
        .split("src=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
    {
        let asset = demo
            .http
            .get(format!("{}{}", demo.page, path.trim_start_matches('/')))
            .send()
            .await
            .expect("a response");
        assert_eq!(asset.status(), 200, "{path}");
    }
}

/// The printed command can be pasted: `LATIDO_TOKEN=… path/of/latido watch CHANNEL --url URL`.
async fn check_watch_command(home: &CommandHome, demo: &CommandDemo) {
    let (token, command) = demo.watch.split_once(' ').expect("a command");
    assert_eq!(token, demo.token);
    let mut arguments = command.split(' ');
    assert_eq!(
        arguments.next(),
        Some(env!("CARGO_BIN_EXE_latido")),
        "the path of the running binary"
    );
    let watch = home.start(&arguments.collect::<Vec<_>>(), &[("LATIDO_TOKEN", token)]);
    watch
        .wait_for_stdout("numbers", |line| line.contains("total_citas "))
        .await;
}

async fn check_live_numbers(demo: &CommandDemo) {
    let session = demo.session().await;
    let (mut socket, _) = demo.socket(&session).await;
    for business in session["negocios"].as_array().expect("businesses") {
        socket
            .send(
                &json!({"type": "subscribe", "data": {"channel": format!("estadisticas:{}", business["id"].as_str().unwrap())}}),
            )
            .await;
    }
    let mut first = std::collections::HashMap::new();
    loop {
        let frame = socket.next_of_type("stats").await;
        let mut data = frame["data"].clone();
        data["timestamp"].take();
        if first
            .entry(frame["channel"].to_string())
            .or_insert_with(|| data.clone())
            != &data
        {
            return;
        }
    }
}

async fn check_booking(demo: &CommandDemo) {
    let session = demo.session().await;
    let (mut socket, channel) = demo.socket(&session).await;
    let count = "SELECT count(*) FROM citas WHERE negocio_id::text = $1";
    let client = connect(&demo.database).await;
    let id = channel.split_once(':').expect("a key").1;
    socket.subscribe(&channel).await;
    for _ in 0..3 {
        let before: i64 = client
            .query_one(count, &[&id])
            .await
            .expect("a count")
            .get(0);
        let answer = demo
            .http
            .post(format!("{}demo/citas", demo.page))
            .json(&json!({"negocio_id": id}))
            .send()
            .await;
        assert_eq!(answer.expect("a response").status(), 201);
        socket
            .stats_until(&channel, |data| data["total_citas"].as_i64() > Some(before))
            .await;
    }
    let foreign = demo
        .http
        .get(format!("{}demo/session", demo.page))
        .header("host", "evil.example")
        .send()
        .await;
    assert_eq!(foreign.expect("a response").status(), 403);
}
