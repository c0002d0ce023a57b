//! `latido try`: a page for one query, from a role that may only read.

mod mending;
mod refusals;
mod standby;

use std::net::SocketAddr;

use reqwest::StatusCode;
use reqwest::header::{HOST, ORIGIN};
use rustix::process::Signal;
use serde_json::Value;
use tokio_postgres::Client;

use crate::harness::cluster::OwnCluster;
use crate::harness::{CommandHome, CommandOutput, RunningCommand, http_client, within};
use crate::postgres::pooler_proxy::{PoolerBehaviour, PoolerProxy};
use standby::Standby;

const SCHEMA: &str = "CREATE TABLE tiendas (id bigint PRIMARY KEY, nombre text);
    CREATE TABLE pedidos (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tienda_id bigint, caja text DEFAULT 'a b', total numeric(30, 2), dia date DEFAULT '2026-11-30');
    CREATE TABLE secretos (id bigint, tienda_id bigint);
    CREATE TABLE notas (tienda_id bigint, texto text);
    CREATE VIEW resumen AS SELECT tienda_id, sum(total) AS suma FROM pedidos GROUP BY 1;
    CREATE FUNCTION cuenta(bigint) RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM pedidos WHERE tienda_id = $1); END';
    CREATE FUNCTION anota() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN INSERT INTO notas VALUES (1, ''x''); RETURN 1; END';
    CREATE FUNCTION suelta() RETURNS text LANGUAGE plpgsql AS 'BEGIN
      PERFORM set_config(''default_transaction_read_only'', ''off'', false);
      IF current_setting(''transaction_read_only'') = ''off'' THEN INSERT INTO notas VALUES (1, ''x''); END IF;
      RETURN current_setting(''transaction_read_only''); END';
    INSERT INTO tiendas VALUES (7, 'Norte'), (8, 'Sur');
    INSERT INTO pedidos (tienda_id, total) SELECT 7 + n % 2, n FROM generate_series(1, 100) n;
    INSERT INTO notas VALUES (7, 'a'), (8, 'b');
    ALTER TABLE notas ENABLE ROW LEVEL SECURITY;
    CREATE ROLE lector LOGIN;
    CREATE POLICY de_siete ON notas FOR SELECT TO lector USING (tienda_id = 7);
    GRANT SELECT ON tiendas, pedidos, notas, resumen TO lector;
    GRANT INSERT ON notas TO lector";

const PLAIN: &str = "SELECT count(*) AS pedidos, sum(total) AS total FROM pedidos;\n";
const KEYED: &str = "SELECT k.tienda_id, k.desde, s.* FROM unnest($1::bigint[], $2::date[], $3::date[]) AS k (tienda_id, hoy, desde)
    CROSS JOIN LATERAL (SELECT count(*) AS pedidos, sum(total) AS total FROM pedidos p WHERE p.tienda_id = k.tienda_id AND p.dia >= k.desde) s";

/// The state of a database that a write or a new object changes.
const TRACES: &str = "SELECT (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_proc), (SELECT count(*) FROM pg_type), \
    pg_snapshot_xmax(pg_current_snapshot())::text";

/// A server with a small schema, and a folder with a query.
struct Trial {
    cluster: OwnCluster,
    owner: Client,
    home: CommandHome,
}

impl Trial {
    async fn new(query: &str) -> Self {
        let cluster = OwnCluster::start(&[]).await;
        let owner = cluster.client().await;
        owner.batch_execute(SCHEMA).await.unwrap();
        let home = CommandHome::new();
        home.folder().write("q.sql", query);
        Self {
            cluster,
            owner,
            home,
        }
    }

    /// Returns the address of the database for the role that may only read.
    fn url(&self) -> String {
        self.cluster.url().replacen("postgres@", "lector@", 1)
    }

    async fn run(&self, arguments: &[&str]) -> CommandOutput {
        let url = self.url();
        let arguments = [&["try"], arguments].concat();
        let variables = [("DATABASE_URL", &*url), ("PORT", "0")];
        self.home.run(&arguments, &variables).await
    }

    /// Returns the message for a query that cannot be shown.
    async fn refusal(&self, query: &str) -> String {
        self.home.folder().write("q.sql", query);
        let ended = self.run(&["q.sql"]).await;
        assert_eq!(ended.code, Some(1), "{query}: {ended:?}");
        assert_eq!(ended.stdout, "", "{query}");
        ended.stderr
    }

    async fn start(&self, arguments: &[&str]) -> TrialPage {
        TrialPage::start(&self.home, &self.url(), arguments).await
    }

    async fn traces(&self) -> String {
        let row = self.owner.query_one(TRACES, &[]).await.unwrap();
        let counts: [i64; 3] = [0, 1, 2].map(|column| row.get(column));
        format!("{counts:?} {}", row.get::<_, &str>(3))
    }
}

/// A running command with its page.
struct TrialPage {
    process: RunningCommand,
    address: SocketAddr,
    http: reqwest::Client,
}

impl TrialPage {
    async fn start(home: &CommandHome, url: &str, arguments: &[&str]) -> Self {
        let arguments = [&["try", "q.sql"], arguments].concat();
        Self::start_with(home, &arguments, &[("DATABASE_URL", url), ("PORT", "0")]).await
    }

    async fn start_with(
        home: &CommandHome,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let process = home.start(arguments, variables);
        let line = process
            .wait_for_stdout("the page", |line| {
                line.contains(" is live: http://127.0.0.1:")
            })
            .await;
        let (_, address) = line.split_once("q is live: http://").expect(&line);
        let address = address.trim_end_matches('/').parse().expect(&line);
        Self {
            process,
            address,
            http: http_client(),
        }
    }

    fn request(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("http://{}{path}", self.address))
    }

    async fn status(&self, path: &str) -> StatusCode {
        within(self.request(path).send()).await.unwrap().status()
    }

    async fn query(&self) -> Value {
        let response = within(self.request("/query").send()).await.unwrap();
        assert_eq!(response.status(), 200);
        serde_json::from_str(&response.text().await.unwrap()).unwrap()
    }

    async fn events(&self, query: &str) -> PageEvents {
        let response = within(self.request(&format!("/events{query}")).send())
            .await
            .unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        PageEvents {
            response,
            text: String::new(),
        }
    }

    async fn end(self) {
        self.process.signal(Signal::INT);
        let ended = self.process.wait_for_exit().await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

struct PageEvents {
    response: reqwest::Response,
    text: String,
}

impl PageEvents {
    /// Waits for an event of that name whose data satisfy a condition.
    async fn wait_for(&mut self, name: &str, satisfied: impl Fn(&Value) -> bool) -> Value {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                };
                let found = (field("event") == Some(name))
                    .then(|| serde_json::from_str::<Value>(field("data").unwrap()).unwrap());
                self.text = rest.to_owned();
                if let Some(data) = found.filter(&satisfied) {
                    return data;
                }
            }
            let chunk = within(self.response.chunk())
                .await
                .unwrap()
                .expect("more events");
            self.text.push_str(str::from_utf8(&chunk).unwrap());
        }
    }

    /// Waits until the row has these texts.
    async fn wait_for_row(&mut self, texts: &[&str]) -> Value {
        self.wait_for("row", |row| {
            let fields = row["fields"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            fields.iter().map(|field| &field["text"]).eq(texts.iter())
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn try_shows_a_plain_query_and_leaves_no_trace() {
    let trial = Trial::new(PLAIN).await;
    let before = trial.traces().await;
    let page = trial.start(&[]).await;
    let mut events = page.events("?key=").await;
    let row = events.wait_for_row(&["100", "5050.00"]).await;
    assert_eq!(row["fields"][1]["kind"], "number");
    let query = page.query().await;
    assert_eq!(query["name"], "q");
    assert_eq!(query["keys"].as_array().map(Vec::len), Some(0));
    assert_eq!(query["tables"][0]["name"], "pedidos");
    assert_eq!(query["tables"][0]["columns"], "total");
    let next = query["next"].to_string();
    assert!(
        next.contains("mv q.sql streams/q.sql") && next.contains(" install"),
        "{next}"
    );
    assert_eq!(
        trial.traces().await,
        before,
        "it wrote or created something"
    );

    // JavaScript would round this sum.
    let insert = "INSERT INTO pedidos (tienda_id, total) VALUES (7, 123456789012345678901234)";
    trial.owner.batch_execute(insert).await.unwrap();
    events
        .wait_for_row(&["101", "123456789012345678906284.00"])
        .await;
    page.process
        .wait_for_stdout("what it reads", |line| line.trim() == "pedidos  total")
        .await;
    page.process
        .wait_for_stdout("the next step", |line| {
            line.contains("next: mkdir -p streams")
        })
        .await;
    drop(events);
    page.end().await;
}

/// The statements around a query have short names of their own.
#[tokio::test(flavor = "multi_thread")]
async fn try_shows_columns_of_any_name() {
    let trial = Trial::new("SELECT count(*) AS r, 6 AS q, 7 AS d FROM pedidos").await;
    let page = trial.start(&[]).await;
    let mut events = page.events("?key=").await;
    events.wait_for_row(&["100", "6", "7"]).await;
    drop(events);
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn try_answers_only_its_own_machine_and_page() {
    let trial = Trial::new(PLAIN).await;
    let page = trial.start(&[]).await;
    let response = page.request("/").send().await.unwrap();
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self'"),
        "{policy}"
    );
    assert!(
        response
            .headers()
            .get("access-control-allow-origin")
            .is_none()
    );
    for path in ["/", "/query", "/events?key=", "/try.js"] {
        assert_eq!(page.status(path).await, 200, "{path}");
        for (name, value) in [
            (HOST, "evil.example"),
            (HOST, "127.0.0.1.evil.example"),
            (ORIGIN, "http://evil.example"),
            (ORIGIN, "null"),
        ] {
            let request = page.request(path).header(&name, value);
            let status = request.send().await.unwrap().status();
            assert_eq!(status, 403, "{path} with {name}: {value}");
        }
        let posted = page.http.post(format!("http://{}{path}", page.address));
        assert_eq!(posted.send().await.unwrap().status(), 405, "POST {path}");
    }
    for path in [
        "/ws",
        "/metrics",
        "/health",
        "/ready",
        "/dashboard",
        "/notify/q",
        "/q",
        "/q/7",
    ] {
        assert_eq!(page.status(path).await, 404, "{path}");
    }
    let connections = tokio::net::TcpListener::bind(("127.0.0.2", page.address.port())).await;
    assert!(connections.is_ok(), "it listens on 127.0.0.1 alone");
    let (url, port) = (trial.url(), page.address.port().to_string());
    let variables = [("DATABASE_URL", &*url), ("PORT", &*port)];
    let second = trial.home.run(&["try", "q.sql"], &variables).await;
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(
        second.stderr.contains(&format!("PORT: {port} is taken")),
        "{second:?}"
    );
    // Another program may have the port already.
    let _taken = std::net::TcpListener::bind(("127.0.0.1", 8_080));
    let variables = [("DATABASE_URL", &*url), ("HOST", "0.0.0.0")];
    let other = TrialPage::start_with(&trial.home, &["try", "q.sql"], &variables).await;
    assert!(other.address.ip().is_loopback() && other.address.port() != 8_080);
    other.end().await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn try_asks_for_keys_and_parameters() {
    let trial = Trial::new(KEYED).await;
    let page = trial.start(&["--key", "7?desde=2026-11-01"]).await;
    let query = page.query().await;
    assert_eq!(query["keys"][0]["name"], "tienda_id");
    assert_eq!(query["keys"][0]["input"], "number");
    assert_eq!(query["params"][0]["name"], "desde");
    assert_eq!(query["params"][0]["input"], "date");
    assert_eq!(query["examples"].to_string(), r#"["7","8"]"#);
    let notes = query["notes"].to_string();
    assert!(notes.contains("without [streams.q.params]"), "{notes}");
    assert_eq!(query["initial"], "7?desde=2026-11-01");
    let mut seven = page.events("?key=7%3Fdesde%3D2026-11-01").await;
    let mut later = page.events("?key=7%3Fdesde%3D2026-12-01").await;
    seven.wait_for_row(&["50", "2550.00"]).await;
    let empty = later.wait_for("row", |row| row["state"] == "live").await;
    assert_eq!(empty["fields"][0]["text"], "0");
    assert!(empty["fields"][1]["text"].is_null());
    for (key, expected) in [
        ("x%3Fdesde%3D2026-11-01", "tienda_id: expected an integer"),
        ("7", "desde is missing"),
        ("", "tienda_id: expected an integer"),
        ("7%3Fdesde%3Dayer", "desde: expected a date"),
    ] {
        let mut events = page.events(&format!("?key={key}")).await;
        let refused = events.wait_for("refused", |_| true).await;
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains(expected), "{key}: {message}");
    }
    let bad = trial.run(&["q.sql", "--key", "x"]).await;
    assert!(
        bad.code == Some(1) && bad.stderr.contains("--key: "),
        "{bad:?}"
    );
    let named = trial.run(&["q.sql", "--keys", "a,b,c,d"]).await;
    assert!(named.stderr.contains("--keys names 4 parts"), "{named:?}");
    page.end().await;
    let unreturned = KEYED.replace("k.desde, s.*", "s.*");
    trial.home.folder().write("q.sql", &unreturned);
    let bounds = trial.start(&[]).await;
    let notes = bounds.query().await["notes"].to_string();
    let expected = "$2 and $3 hold today and the next day";
    assert!(notes.contains(expected), "{notes}");
    bounds.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn try_follows_changes_of_the_file() {
    let trial = Trial::new(PLAIN).await;
    let page = trial.start(&[]).await;
    let mut events = page.events("?key=").await;
    events.wait_for_row(&["100", "5050.00"]).await;
    trial
        .home
        .folder()
        .write("q.sql", "SELECT count(*) AS n,\n  sum(totl) FROM pedidos");
    let broken = events
        .wait_for("text", |text| !text["problem"].is_null())
        .await;
    assert_eq!(broken["generation"], 1, "the query before is still shown");
    let problem = broken["problem"].as_str().unwrap();
    assert!(
        problem.contains("line 2:   sum(totl) FROM pedidos\n              ^"),
        "{problem}"
    );
    trial
        .home
        .folder()
        .write("q.sql", "SELECT max(dia) AS ultimo FROM pedidos");
    events
        .wait_for("text", |text| text["generation"] == 2)
        .await;
    let mut events = page.events("?key=").await;
    let row = events.wait_for_row(&["2026-11-30"]).await;
    assert_eq!(row["fields"][0]["kind"], "date");
    assert_eq!(page.query().await["generation"], 2);
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn try_works_behind_a_transaction_pooler() {
    let trial = Trial::new(PLAIN).await;
    let behaviour = PoolerBehaviour {
        refuse_options: true,
        lose_statements: true,
        drop_notifications: true,
        ..PoolerBehaviour::default()
    };
    let proxy = PoolerProxy::start(&trial.url(), behaviour).await;
    let before = trial.traces().await;
    let page = TrialPage::start(&trial.home, &proxy.url, &[]).await;
    page.events("?key=")
        .await
        .wait_for_row(&["100", "5050.00"])
        .await;
    assert_eq!(page.query().await["tables"][0]["name"], "pedidos");
    assert_eq!(
        trial.traces().await,
        before,
        "it wrote or created something"
    );
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn try_works_on_a_standby() {
    let mut trial = Trial::new(KEYED).await;
    let standby = Standby::start(&mut trial.cluster).await;
    let url = standby.url.replacen("postgres@", "lector@", 1);
    let page = TrialPage::start(&trial.home, &url, &[]).await;
    page.events("?key=8%3Fdesde%3D2026-11-01")
        .await
        .wait_for_row(&["50", "2500.00"])
        .await;
    assert_eq!(page.query().await["tables"][0]["name"], "pedidos");
    page.end().await;
}
