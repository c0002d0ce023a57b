//! Streams are independent: one whose query is refused neither stops nor disturbs the others, and
//! heals without a restart.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::cluster::{OwnCluster, TestDatabase};
use crate::harness::{B1, TempFolder, TestApp, TestSocket, claims, wait_until};

/// Two streams over one table. The query of `views` reads a view, which a test can drop.
const STREAMS: &str = r#"
    [streams.views]
    query = "SELECT u.k, (SELECT count(*) FROM seen v WHERE v.k = u.k) AS n FROM unnest($1::text[]) AS u (k)"
    event = "views"
    key_field = "k"
    authorize = "SELECT o.k FROM owners o WHERE o.id = $1::uuid AND o.k = ANY ($2)"
    [[streams.views.tables]]
    table = "rows"
    key = "k"

    [streams.rows]
    query = "SELECT u.k, (SELECT count(*) FROM rows v WHERE v.k = u.k) AS n FROM unnest($1::text[]) AS u (k); /* note */ ; -- end"
    event = "rows"
    key_field = "k"
    [[streams.rows.tables]]
    table = "rows"
    key = "k"
"#;

const TABLES: &str = "
    CREATE TABLE rows (k text, n int);
    CREATE TABLE owners (id uuid, k text);
    CREATE VIEW seen AS SELECT * FROM rows";

fn admin(app: &TestApp) -> String {
    app.sign(&json!({"id": 7, "rol": "admin_sistema", "exp": claims::now() + 600}))
}

async fn execute(app: &TestApp, sql: &str) {
    let db = app.connect_database().await;
    db.batch_execute(sql).await.expect("a change");
}

async fn readiness(app: &TestApp) -> (u16, Value) {
    let (status, body) = app.get("/ready").await;
    (status, serde_json::from_str(&body).expect("JSON"))
}

async fn wait_for_report(app: &TestApp, stream: &str, is_ok: bool) -> Value {
    wait_until(&format!("{stream} ok: {is_ok}"), async || {
        readiness(app).await.1["streams"][stream]["ok"] == is_ok
    })
    .await;
    let (status, report) = readiness(app).await;
    assert_eq!((status, &report["ready"]), (200, &json!(true)), "{report}");
    report
}

async fn subscribe(socket: &mut TestSocket, channel: &str) {
    socket
        .send(&json!({"type": "subscribe", "channel": channel}))
        .await;
}

fn assert_unavailable(frame: &Value, channel: &str) {
    assert_eq!(frame["data"]["code"], "unavailable", "{frame}");
    assert_eq!(frame["data"]["channel"], channel, "{frame}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_broken_at_the_start_stops_no_other_and_heals() {
    let first = TestApp::with_streams(STREAMS, TABLES).await;
    execute(&first, "ALTER VIEW seen RENAME TO unseen").await;
    // A restart while the view is missing.
    let folder = TempFolder::new();
    let file = folder.write("latido.toml", STREAMS);
    let variables = [("LATIDO_CONFIG", file.to_str().expect("UTF-8"))];
    let app = TestApp::on_database_with(&first.database_url(), &variables, |_| {}).await;
    let report = wait_for_report(&app, "views", false).await;
    assert!(
        report["streams"]["views"]["problem"]
            .as_str()
            .expect("a text")
            .contains("42P01")
    );
    assert_eq!(report["streams"]["rows"], json!({"ok": true}));
    let mut socket = app.connect_socket(&admin(&app)).await;
    for _ in 0..2 {
        subscribe(&mut socket, "views:a").await;
        assert_unavailable(&socket.next().await, "views:a");
    }
    let frame = socket.subscribe_as("rows:a", "rows").await;
    assert_eq!(frame["data"]["n"], 0);
    let get = |path: &str| {
        app.request(Method::GET, path)
            .bearer_auth(admin(&app))
            .send()
    };
    // An event stream is held: an EventSource gives up for ever after a 503.
    for (path, status) in [("/views/a", 503), ("/views/a/events", 200)] {
        let response = get(path).await.expect("a response");
        assert_eq!(response.status(), status, "{path}");
    }
    execute(
        &app,
        "INSERT INTO rows VALUES ('a', 1); ALTER VIEW unseen RENAME TO seen",
    )
    .await;
    // The subscription that was refused gets its numbers.
    assert_eq!(socket.next_of_type("views").await["data"]["n"], 1);
    wait_for_report(&app, "views", true).await;
    assert_eq!(get("/views/a").await.expect("a response").status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_that_breaks_while_watched_is_named_and_its_viewers_alone_are_told() {
    let app = TestApp::with_streams(STREAMS, TABLES).await;
    let mut healthy = app.connect_socket(&admin(&app)).await;
    healthy.subscribe(&format!("estadisticas:{B1}")).await;
    healthy.subscribe_as("rows:a", "rows").await;
    let mut viewer = app.connect_socket(&admin(&app)).await;
    for key in ["a", "b"] {
        viewer.subscribe_as(&format!("views:{key}"), "views").await;
    }
    execute(
        &app,
        "ALTER VIEW seen RENAME TO unseen; INSERT INTO rows VALUES ('a', 1)",
    )
    .await;
    let mut told = [viewer.next().await, viewer.next().await];
    told.sort_by_key(|frame| frame["data"]["channel"].to_string());
    assert_unavailable(&told[0], "views:a");
    assert_unavailable(&told[1], "views:b");
    assert_eq!(healthy.next().await["type"], "rows");
    wait_for_report(&app, "views", false).await;
    let mut late = app.connect_socket(&admin(&app)).await;
    let error = late.subscribe_as("views:c", "error").await;
    assert_unavailable(&error, "views:c");
    let get = app
        .request(Method::GET, "/views/d")
        .bearer_auth(admin(&app));
    assert_eq!(get.send().await.expect("a response").status(), 503);
    execute(&app, "ALTER VIEW unseen RENAME TO seen").await;
    let mut again = [viewer.next().await, viewer.next().await];
    again.sort_by_key(|frame| frame["channel"].to_string());
    let numbers = again.map(|frame| frame["data"]["n"].clone());
    assert_eq!(numbers, [json!(1), json!(0)]);
    assert_eq!(late.next().await["channel"], "views:c");
    wait_for_report(&app, "views", true).await;
    for socket in [&mut viewer, &mut healthy, &mut late] {
        socket.assert_quiet().await;
    }
    assert_eq!(app.metric("latido_stale").await, 0.0);
}

/// The role that serves loses a right, which the server notices only when it runs the query.
#[tokio::test(flavor = "multi_thread")]
async fn right_withdrawn_while_watched_breaks_one_stream() {
    let cluster = OwnCluster::start(&[]).await;
    let db = cluster.client().await;
    let roles = "CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader";
    db.batch_execute(&format!("{TABLES}; {roles}"))
        .await
        .expect("a schema");
    let folder = TempFolder::new();
    let file = folder.write(
        "latido.toml",
        &format!("builtin_streams = false\n{STREAMS}"),
    );
    let variables = [("LATIDO_CONFIG", file.to_str().expect("UTF-8"))];
    TestApp::try_install_on(&cluster.url(), &variables)
        .await
        .expect("installed");
    let url = cluster.url().replacen("postgres@", "reader@", 1);
    let app = TestApp::on_database_with(&url, &variables, |_| {}).await;
    let mut socket = app.connect_socket(&admin(&app)).await;
    socket.subscribe_as("views:a", "views").await;
    socket.subscribe_as("rows:a", "rows").await;
    let revoke = "REVOKE SELECT ON seen FROM reader; INSERT INTO rows VALUES ('a', 1)";
    db.batch_execute(revoke).await.expect("revoked");
    let (mut is_told, mut is_served) = (false, false);
    while !(is_told && is_served) {
        let frame = socket.next_frame().await;
        is_served |= frame["type"] == "rows";
        is_told |= frame["type"] == "error";
        // The database as a whole is not away.
        assert!(
            frame["type"] != "status" || frame["channel"] == "views:a",
            "{frame}"
        );
    }
    let report = wait_for_report(&app, "views", false).await;
    assert!(
        report["streams"]["views"]["problem"]
            .to_string()
            .contains("42501")
    );
    db.batch_execute("GRANT SELECT ON seen TO reader")
        .await
        .expect("granted");
    assert_eq!(socket.next_of_type("views").await["data"]["n"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn built_in_stream_without_its_table_is_off_unless_it_is_demanded() {
    let rows = STREAMS
        .split_once("[streams.rows]")
        .expect("the second stream")
        .1;
    let (demanded, both) = (
        format!("builtin_streams = true\n[streams.rows]{rows}"),
        format!("[streams.rows]{rows}"),
    );
    let database = TestDatabase::create(&[]).await;
    database
        .client()
        .await
        .batch_execute(TABLES)
        .await
        .expect("a schema");
    let folder = TempFolder::new();
    let (demanded, both) = (
        folder.write("demanded.toml", &demanded),
        folder.write("both.toml", &both),
    );
    let config = |file: &std::path::Path| file.to_str().expect("UTF-8").to_owned();
    let (demanded, both) = (config(&demanded), config(&both));
    let installed = TestApp::try_install_on(database.url(), &[("LATIDO_CONFIG", &both)]).await;
    assert_eq!(installed.err().map(|error| error.to_string()), None);
    let refused = TestApp::try_install_on(database.url(), &[("LATIDO_CONFIG", &demanded)]).await;
    let refused = format!("{:#}", refused.expect_err("there is no table citas"));
    assert!(refused.contains("builtin_streams = false"), "{refused}");
    {
        let variables = [("LATIDO_CONFIG", &*demanded)];
        let app = TestApp::on_database_with(database.url(), &variables, |_| {}).await;
        wait_for_report(&app, "estadisticas", false).await;
    }
    let app = TestApp::on_database_with(database.url(), &[("LATIDO_CONFIG", &both)], |_| {}).await;
    let (status, report) = readiness(&app).await;
    assert!(
        status == 200 && report["streams"]["estadisticas"].is_null(),
        "{report}"
    );
    assert_eq!(app.metric("latido_broken_streams").await, 0.0);
    let mut socket = app.connect_socket(&admin(&app)).await;
    assert_eq!(socket.subscribe_as("rows:a", "rows").await["data"]["n"], 0);
    subscribe(&mut socket, "estadisticas:7").await;
    assert_unavailable(&socket.next().await, "estadisticas:7");
    // A migration that comes later brings it to life.
    let citas = "CREATE TABLE negocios (id bigint, admin_negocio_id text); CREATE TABLE usuarios (id text, rol text);
        CREATE TABLE citas (id serial, negocio_id bigint, fecha date, estado text)";
    execute(&app, citas).await;
    wait_for_report(&app, "estadisticas", true).await;
}

/// The server has nothing to serve, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn server_whose_only_stream_is_broken_is_not_ready() {
    let app = TestApp::without_triggers().await;
    execute(&app, "ALTER TABLE citas RENAME TO citas_de_antes").await;
    let get = app.request(Method::GET, &format!("/estadisticas/{B1}"));
    let answer = get
        .bearer_auth(admin(&app))
        .send()
        .await
        .expect("a response");
    assert_eq!(answer.status(), 503);
    let (status, report) = readiness(&app).await;
    assert_eq!(
        (status, &report["database"]),
        (503, &json!({"ok": true})),
        "{report}"
    );
    execute(&app, "ALTER TABLE citas_de_antes RENAME TO citas").await;
    wait_for_report(&app, "estadisticas", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn authorize_errors_are_forbidden_or_a_broken_stream() {
    let app = TestApp::with_streams(STREAMS, TABLES).await;
    let user = "aaaaaaaa-0000-4000-8000-00000000000a";
    execute(&app, &format!("INSERT INTO owners VALUES ('{user}', 'a')")).await;
    // No user has an id that is not a UUID (SQLSTATE 22P02).
    let stranger = app.token("no uuid");
    let mut socket = app.connect_socket(&stranger).await;
    let error = socket.subscribe_as("views:a", "error").await;
    assert_eq!(error["data"]["code"], "forbidden", "{error}");
    let get = app.request(Method::GET, "/views/a").bearer_auth(&stranger);
    assert_eq!(get.send().await.expect("a response").status(), 403);
    wait_for_report(&app, "views", true).await;
    // The table is missing (SQLSTATE 42P01).
    execute(&app, "ALTER TABLE owners RENAME TO people").await;
    let mut owner = app.connect_socket(&app.token(user)).await;
    let error = owner.subscribe_as("views:a", "error").await;
    assert_unavailable(&error, "views:a");
    let message = error["data"]["message"].as_str().expect("a text");
    assert!(!message.contains("subscribe again"), "{message}");
    let report = wait_for_report(&app, "views", false).await;
    assert!(
        report["streams"]["views"]["problem"]
            .to_string()
            .contains("42P01")
    );
    let mut admin = app.connect_socket(&admin(&app)).await;
    assert_eq!(admin.subscribe_as("views:a", "views").await["data"]["n"], 0);
    execute(&app, "ALTER TABLE people RENAME TO owners").await;
    assert_eq!(owner.next_of_type("views").await["data"]["n"], 0);
    wait_for_report(&app, "views", true).await;
}

/// A stream over a table of its own, which a test can lock.
const LOCKED: &str = r#"
    [streams.locked]
    query = "SELECT u.k, (SELECT count(*) FROM slow v WHERE v.k = u.k) AS n FROM unnest($1::text[]) AS u (k)"
    event = "locked"
    key_field = "k"
    [[streams.locked.tables]]
    table = "slow"
    key = "k"
"#;

/// With a time-out for locks the database gives no answer about the query for as long as the table
/// is locked.
#[tokio::test(flavor = "multi_thread")]
async fn stream_of_a_locked_table_delays_no_other_at_the_start() {
    let streams = format!("{STREAMS}{LOCKED}");
    let tables = format!("{TABLES}; CREATE TABLE slow (k text)");
    let first = TestApp::with_streams(&streams, &tables).await;
    let locker = first.connect_database().await;
    locker
        .batch_execute(
            "DO $$ BEGIN
               EXECUTE format('ALTER DATABASE %I SET lock_timeout = 100', current_database());
             END $$",
        )
        .await
        .expect("a time-out");
    locker
        .batch_execute("BEGIN; LOCK TABLE slow")
        .await
        .expect("locked");
    let folder = TempFolder::new();
    let file = folder.write("latido.toml", &streams);
    let variables = [("LATIDO_CONFIG", file.to_str().expect("UTF-8"))];
    let app = TestApp::on_database_with(&first.database_url(), &variables, |_| {}).await;
    let mut socket = app.connect_socket(&admin(&app)).await;
    assert_eq!(socket.subscribe_as("rows:a", "rows").await["data"]["n"], 0);
    subscribe(&mut socket, "locked:a").await;
    assert_unavailable(&socket.next().await, "locked:a");
    wait_for_report(&app, "locked", false).await;
    locker.batch_execute("COMMIT").await.expect("unlocked");
    assert_eq!(socket.next_of_type("locked").await["data"]["n"], 0);
    wait_for_report(&app, "locked", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_that_are_sent_to_all_viewers_are_counted() {
    let app = TestApp::with_streams(STREAMS, TABLES).await;
    let mut viewers = Vec::new();
    for _ in 0..3 {
        let mut viewer = app.connect_socket(&admin(&app)).await;
        viewer.subscribe_as("views:a", "views").await;
        viewers.push(viewer);
    }
    // One of them watches another channel too, and gets its frames in another way.
    viewers[0].subscribe_as("rows:a", "rows").await;
    let events = app
        .request(Method::GET, "/views/a/events")
        .bearer_auth(admin(&app))
        .send()
        .await
        .expect("a response");
    assert_eq!(events.status(), 200);
    execute(
        &app,
        "ALTER VIEW seen RENAME TO unseen; INSERT INTO rows VALUES ('a', 1)",
    )
    .await;
    for viewer in &mut viewers {
        assert_unavailable(&viewer.next_of_type("error").await, "views:a");
    }
    let counted = r#"latido_errors_sent_total{code="unavailable"}"#;
    app.assert_metric_settles(counted, 4.0).await;
}
