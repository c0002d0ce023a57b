//! The connections to the database sleep while nobody watches, and nothing is missed afterwards.

use std::time::{Duration, Instant};

use latido::app::Config;
use latido::apps::APPS;
use latido::config::{ConfigSources, Purpose, Settings};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::harness::claims::{self, SECRET};
use crate::harness::{
    ADMIN_OF_B1, B1, OTHER_USER, TempFolder, TestApp, TestSocket, disable_sweep, wait_until, within,
};

/// The time without viewers after which the servers of these tests sleep.
const SLEEP_AFTER: Duration = Duration::from_millis(300);
/// The time for which no connection may appear. It is longer than every interval of these servers;
/// the longest are the two seconds of the empty queries and of the queue's level.
const QUIET_TIME: Duration = Duration::from_secs(5);
/// The time after which no connection is still being opened.
const SETTLE_TIME: Duration = Duration::from_millis(500);
/// The name of the servers of these tests in `pg_stat_activity`.
const NAME: &str = "sleeper";

fn sleepy(config: &mut Config) {
    disable_sweep(config);
    config.postgres.sleep_after = Some(SLEEP_AFTER);
    config.postgres.application_name = NAME.to_owned();
    config.policy.recheck = Duration::from_millis(500);
    config.trigger_check_interval = Duration::from_millis(100);
}

/// A server whose connections sleep, with the database of another one, which has ended.
struct SleepyApp {
    app: TestApp,
    db: Client,
    owner: TestApp,
}

impl SleepyApp {
    async fn start() -> Self {
        Self::on(TestApp::start().await, &[]).await
    }

    async fn on(mut owner: TestApp, variables: &[(&str, &str)]) -> Self {
        owner.stop().await;
        let url = owner.database_url();
        let app = Self {
            db: owner.connect_database().await,
            app: TestApp::start_on_database(&url, variables, sleepy),
            owner,
        };
        app.wait_until_asleep().await;
        app
    }

    /// Waits until the server sleeps and PostgreSQL has none of its connections.
    async fn wait_until_asleep(&self) {
        self.app.assert_metric_settles("latido_asleep", 1.0).await;
        // PostgreSQL shows a connection that was given up while it was opened a little later.
        let mut closed_at = Instant::now();
        wait_until("every connection is closed", async || {
            if self.connections().await > 0 {
                closed_at = Instant::now();
            }
            closed_at.elapsed() > SETTLE_TIME
        })
        .await;
    }

    async fn connections(&self) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity
            WHERE application_name = $1 AND datname = current_database()";
        let row = self.db.query_one(sql, &[&NAME]).await.expect("a count");
        row.get(0)
    }

    /// Returns the number of sessions that the database has ever had.
    async fn sessions(&self) -> i64 {
        let sql = "SELECT sessions FROM pg_stat_database WHERE datname = current_database()";
        self.db.query_one(sql, &[]).await.expect("a count").get(0)
    }

    /// Asserts that no connection appears, whoever asks about the server.
    async fn assert_stays_asleep(&self) {
        let (sessions, start) = (self.sessions().await, Instant::now());
        while start.elapsed() < QUIET_TIME {
            let (status, body) = self.app.get("/ready").await;
            let report: Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(
                (status, &report["listener"]),
                (200, &json!("asleep")),
                "{body}"
            );
            assert_eq!(self.app.get("/health").await.0, 200);
            assert_eq!(self.app.metric("latido_asleep").await, 1.0);
            assert_eq!(self.connections().await, 0);
        }
        assert_eq!(self.sessions().await, sessions, "and none appeared shortly");
    }

    async fn book(&self) {
        self.app.book(&self.db, B1, "pendiente", 0).await;
    }

    async fn wakes(&self) -> f64 {
        self.app.metric("latido_wakes_total").await
    }

    /// Requests a path of the owner of the business.
    async fn get_as_owner(&self, path: &str) -> Response {
        let token = self.app.token(ADMIN_OF_B1);
        let request = self.app.request(Method::GET, path).bearer_auth(token);
        within(request.send()).await.expect("a response")
    }

    async fn connect_owner(&self) -> TestSocket {
        let token = self.app.token(ADMIN_OF_B1);
        self.app.connect_socket(&token).await
    }

    /// Connects a user whose token grants the business, so that the database is not asked.
    async fn connect_granted(&self) -> TestSocket {
        let claims = json!({"id": OTHER_USER, "negocio_id": B1, "exp": claims::now() + 600});
        self.app.connect_socket(&self.app.sign(&claims)).await
    }
}

fn channel() -> String {
    format!("estadisticas:{B1}")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missed_by_the_viewers_before_and_after_the_sleep() {
    let sleepy = SleepyApp::start().await;
    sleepy.assert_stays_asleep().await;
    for round in 1..=2 {
        sleepy.book().await;
        let mut socket = sleepy.connect_owner().await;
        let first = socket.subscribe(&channel()).await;
        assert_eq!(first["data"]["total_citas"], 2 * round - 1);
        // Read when LISTEN and locks were there: it is not read again, and the next change is live.
        sleepy.app.wait_until_settled().await;
        assert_eq!(sleepy.app.metric("latido_listener_up").await, 1.0);
        assert!(sleepy.app.metric("latido_interest_held").await >= 1.0);
        socket.assert_quiet().await;
        sleepy.book().await;
        let second = socket.next_stats(&channel()).await;
        assert_eq!(second["data"]["total_citas"], 2 * round);
        assert_eq!(sleepy.wakes().await, f64::from(round));
        socket.close().await;
        sleepy.wait_until_asleep().await;
    }
    assert_eq!(
        sleepy.app.metric("latido_listener_reconnects_total").await,
        0.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_reads_and_event_streams_wake() {
    let sleepy = SleepyApp::start().await;
    let sessions = sleepy.sessions().await;
    let hook = sleepy.app.notify(&json!({"negocio_id": B1})).await;
    assert_eq!(hook.0, 200, "{}", hook.1);
    sleepy
        .app
        .assert_metric_settles("latido_wakes_total", 1.0)
        .await;
    sleepy.wait_until_asleep().await;
    wait_until("connections were opened meanwhile", async || {
        sleepy.sessions().await > sessions
    })
    .await;

    sleepy.book().await;
    let answer = sleepy.get_as_owner(&format!("/estadisticas/{B1}")).await;
    let row: Value = answer.json().await.expect("JSON");
    assert_eq!(row["total_citas"], 1);
    sleepy.wait_until_asleep().await;
    assert_eq!(sleepy.wakes().await, 2.0);

    let path = format!("/estadisticas/{B1}/events");
    let mut events = sleepy.get_as_owner(&path).await;
    read_until(&mut events, r#""total_citas":1"#).await;
    // It watches, so the connections stay open for longer than they would without it.
    let since = Instant::now();
    while since.elapsed() < 4 * SLEEP_AFTER {
        assert_eq!(sleepy.app.metric("latido_asleep").await, 0.0);
    }
    sleepy.book().await;
    read_until(&mut events, r#""total_citas":2"#).await;
    drop(events);
    sleepy.wait_until_asleep().await;
    assert_eq!(sleepy.wakes().await, 3.0);
}

async fn read_until(events: &mut Response, expected: &str) {
    let mut text = String::new();
    while !text.contains(expected) {
        let chunk = within(events.chunk()).await.expect("it goes on");
        text.push_str(&String::from_utf8_lossy(&chunk.expect("an event")));
    }
}

/// The page of operators, the operators' topic and a client without a subscription.
#[tokio::test(flavor = "multi_thread")]
async fn operators_do_not_wake() {
    let sleepy = SleepyApp::start().await;
    let claims = json!({"id": OTHER_USER, "rol": "admin_sistema", "exp": claims::now() + 600});
    let token = sleepy.app.sign(&claims);
    let mut socket = sleepy.app.connect_socket(&token).await;
    socket
        .send(&json!({"type": "subscribe", "data": {"channel": "latido:servidor"}}))
        .await;
    let is_shown = |frame: &Value| frame["data"]["outlook"]["listener"] == "asleep";
    while !is_shown(&socket.next_of_type("server").await) {}
    let request = sleepy.app.request(Method::GET, "/dashboard/api-status");
    let answer = request.bearer_auth(token).send().await.expect("a response");
    let status: Value = answer.json().await.expect("JSON");
    assert_eq!(
        (&status["status"], &status["listener"]),
        (&json!("asleep"), &json!("asleep"))
    );
    sleepy.assert_stays_asleep().await;
}

/// Viewers come and go around the moment at which the sleep begins.
#[tokio::test(flavor = "multi_thread")]
async fn viewers_who_come_as_the_sleep_begins_miss_nothing() {
    let sleepy = SleepyApp::start().await;
    let mut random = fastrand::Rng::with_seed(crate::harness::replayable_seed());
    let mut total = 0;
    for _ in 0..20 {
        let mut socket = sleepy.connect_granted().await;
        let first = socket.subscribe(&channel()).await;
        assert_eq!(first["data"]["total_citas"], total);
        sleepy.book().await;
        total += 1;
        let live = socket
            .stats_until(&channel(), |data| data["total_citas"] == total)
            .await;
        assert_eq!(live["data"]["total_citas"], total);
        socket.close().await;
        let (left, pause) = (Instant::now(), SLEEP_AFTER.mul_f64(random.f64() * 2.0));
        wait_until("a part of the time has passed", async || {
            left.elapsed() >= pause
        })
        .await;
    }
    assert!(sleepy.wakes().await > 1.0, "some came after it began");
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_during_the_sleep_is_not_noticed_and_a_failed_wake_is_retried() {
    let mut sleepy = SleepyApp::on(TestApp::on_own_cluster().await, &[]).await;
    sleepy.owner.cluster().restart().await;
    sleepy.db = sleepy.owner.connect_database().await;
    sleepy.assert_stays_asleep().await;
    sleepy.book().await;
    let mut socket = sleepy.connect_granted().await;
    assert_eq!(socket.subscribe(&channel()).await["data"]["total_citas"], 1);
    socket.close().await;
    let reconnects = sleepy.app.metric("latido_listener_reconnects_total").await;
    assert_eq!(reconnects, 0.0);

    sleepy.wait_until_asleep().await;
    sleepy.owner.cluster().kill().await;
    let mut socket = sleepy.connect_granted().await;
    socket
        .send(&json!({"type": "subscribe", "data": {"channel": channel()}}))
        .await;
    // As without sleep: the viewer is told that the database is away, and served when it is back.
    assert_eq!(socket.next_of_type("status").await["data"]["stale"], true);
    sleepy.owner.cluster().restart().await;
    assert_eq!(
        socket.next_stats(&channel()).await["data"]["total_citas"],
        1
    );
    sleepy.db = sleepy.owner.connect_database().await;
    sleepy.app.wait_until_ready().await;
    sleepy.book().await;
    let live = socket.next_stats(&channel()).await;
    assert_eq!(live["data"]["total_citas"], 2);
}

/// A subscription to a stream that was never prepared is not a viewer yet.
#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_that_wait_for_a_broken_stream_keep_the_database_awake() {
    const STREAM: &str = r#"
        [streams.views]
        query = "SELECT u.k, (SELECT count(*) FROM seen v WHERE v.k = u.k) AS n FROM unnest($1::text[]) AS u (k)"
        event = "views"
        key_field = "k"
        [[streams.views.tables]]
        table = "rows"
        key = "k"
    "#;
    let tables = "CREATE TABLE rows (k text, n int); CREATE VIEW seen AS SELECT * FROM rows";
    let owner = TestApp::with_streams(STREAM, tables).await;
    let db = owner.connect_database().await;
    let rename = "ALTER VIEW seen RENAME TO unseen";
    db.batch_execute(rename).await.expect("renamed");
    let folder = TempFolder::new();
    let file = folder.write("latido.toml", STREAM);
    let variables = [("LATIDO_CONFIG", file.to_str().expect("UTF-8"))];
    let sleepy = SleepyApp::on(owner, &variables).await;
    let claims = json!({"id": 7, "rol": "admin_sistema", "exp": claims::now() + 600});
    let mut socket = sleepy.app.connect_socket(&sleepy.app.sign(&claims)).await;
    let refused = socket.subscribe_as("views:a", "error").await;
    assert_eq!(refused["data"]["code"], "unavailable");
    let repair = "ALTER VIEW unseen RENAME TO seen; INSERT INTO rows VALUES ('a', 1)";
    db.batch_execute(repair).await.expect("repaired");
    assert_eq!(socket.next_of_type("views").await["data"]["n"], 1);
}

#[test]
fn apps_that_use_the_database_refuse_the_setting() {
    let names = APPS.iter().filter(|app| app.uses_database());
    let names: Vec<_> = names.map(|app| app.name()).collect();
    assert_eq!(names, ["messaging", "modules"]);
    let variables = [
        ("DATABASE_URL", "postgresql://a@localhost/a"),
        ("JWT_SECRET", SECRET),
        ("LATIDO_APPS", "messaging,modules"),
        ("SLEEP_AFTER_SECONDS", "60"),
    ];
    let sources = ConfigSources::from_variables(&variables);
    let mistakes = Settings::read(&sources, Purpose::Serve)
        .unwrap_err()
        .to_string();
    for name in names {
        let expected = format!("SLEEP_AFTER_SECONDS: the app {name} uses the database by itself");
        assert!(mistakes.contains(&expected), "{mistakes}");
    }
    let sources = ConfigSources::from_variables(&[variables[0], variables[1], variables[3]]);
    let settings = Settings::read(&sources, Purpose::Serve).expect("no mistake");
    assert_eq!(settings.postgres.sleep_after, Some(Duration::from_secs(60)));
}
