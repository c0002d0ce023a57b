//! Limits, settings that need a restart, and the signal.

use rustix::process::Signal;
use serde_json::json;

use super::{COUNT, Reloadable, SUM, TABLES, file};
use crate::harness::claims::SECRET;
use crate::harness::cluster::TestDatabase;
use crate::harness::{CommandHome, TestApp, TestSocket, claims};

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_taken_and_others_are_named() {
    let server = Reloadable::start(&file(&[("one", COUNT)])).await;
    let mut socket = server.connect().await;
    socket.subscribe_as("one:a", "one").await;
    server.set("MAX_CHANNELS", "2");
    server.set("DATABASE_POOL_SIZE", "7");
    server.set("RUST_LOG", "warn");
    server.write(&format!(
        "admin_roles = [\"boss\"]\n{}",
        file(&[("one", COUNT)])
    ));
    let report = server.try_reload().await.unwrap();
    assert_eq!(report.limits, ["MAX_CHANNELS"]);
    assert_eq!(
        report.needs_restart,
        ["DATABASE_POOL_SIZE", "RUST_LOG", "admin_roles"]
    );
    assert_eq!(report.unchanged, ["one"]);
    socket.subscribe_as("one:b", "one").await;
    let error = socket.subscribe_as("one:c", "error").await;
    assert_eq!(error["data"]["code"], "too_many_channels");
    let path = "/events?channel=one:a&channel=one:b&channel=one:c";
    let request = server.app.request(reqwest::Method::GET, path);
    let response = request.bearer_auth(server.admin()).send().await.unwrap();
    assert_eq!(response.status(), 400);
    server.set("MAX_CHANNELS", "3");
    let report = server.try_reload().await.unwrap();
    assert_eq!(report.limits, ["MAX_CHANNELS"]);
    assert_eq!(report.needs_restart.len(), 3, "until the restart");
    socket.subscribe_as("one:c", "one").await;
    server.set("MAX_MESSAGES_PER_SECOND", "1");
    server.set("MESSAGE_BURST", "1");
    server.try_reload().await.unwrap();
    for _ in 0..4 {
        socket.send(&json!({"type": "ping"})).await;
    }
    let error = socket.next_of_type("error").await;
    assert_eq!(error["data"]["code"], "rate_limited");
}

/// What counts after a restart is named, and nothing of it is taken up before.
#[tokio::test(flavor = "multi_thread")]
async fn apps_roles_pools_and_ports_wait_for_a_restart() {
    let app = [
        ("LATIDO_APPS", "workspace"),
        ("WORKSPACE_API_KEY", "0123456789abcdef"),
    ];
    let one = file(&[("one", COUNT)]);
    let server = Reloadable::start_with(&one, &app).await;
    // An app that is switched on needs its settings.
    server.set("LATIDO_APPS", "gateway");
    let refused = server.try_reload().await.unwrap_err().to_string();
    assert!(refused.contains("GATEWAY_API_URL"), "{refused}");
    for (name, value) in [
        ("GATEWAY_TRUST_CLIENTS", "true"),
        ("GATEWAY_TRUSTED_CIDRS", "127.0.0.1/32"),
        ("HOST", "127.0.0.2"),
        ("PORT", "1"),
        ("DATABASE_POOL_SIZE", "7"),
        ("SLEEP_AFTER_SECONDS", "1"),
        ("READ_INTERVAL_MS", "60000"),
        ("JWT_SECRET", "another secret of thirty-two bytes"),
    ] {
        server.set(name, value);
    }
    let two = file(&[("one", COUNT), ("two", SUM)]);
    let head = "admin_roles = [\"boss\"]\nbuiltin_streams = false\n[apps.gateway]\nport = 1\n";
    let streams = two.replacen("builtin_streams = false", head, 1);
    server.write(&streams);
    let report = server.try_reload().await.unwrap();
    assert_eq!(report.added, ["two"]);
    let expected = [
        "DATABASE_POOL_SIZE",
        "SLEEP_AFTER_SECONDS",
        "JWT_SECRET",
        "HOST",
        "PORT",
        "READ_INTERVAL_MS",
        "LATIDO_APPS",
        "GATEWAY_TRUSTED_CIDRS",
        "GATEWAY_TRUST_CLIENTS",
        "admin_roles",
        "apps",
    ];
    assert_eq!(report.needs_restart, expected);
    // Everything is as before: the key of tokens, the roles and the apps.
    let mut socket = server.connect().await;
    assert_eq!(socket.subscribe_as("two:a", "two").await["data"]["n"], 3);
    let boss = json!({"id": 7, "rol": "boss", "exp": claims::now() + 600});
    let mut other = server.app.connect_socket(&server.app.sign(&boss)).await;
    let error = other.subscribe_as("two:a", "error").await;
    assert_eq!(error["data"]["code"], "forbidden");
    assert_eq!(server.app.get("/api/health").await.0, 200, "the app runs");
}

/// A claim that names the keys of a new stream grants them.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_grant_the_keys_of_new_streams() {
    let server = Reloadable::start(&file(&[("one", COUNT)])).await;
    let two = file(&[("two", SUM)]).replace("key_field = \"k\"", "key_field = \"caja\"");
    let two = two.replace("SELECT u.k,", "SELECT u.k AS caja,");
    assert_eq!(server.reload(&two).await, "+two -one");
    let token = json!({"id": 1, "caja": "a", "exp": claims::now() + 600});
    let token = server.app.sign(&token);
    let mut socket = server.app.connect_socket(&token).await;
    assert_eq!(socket.subscribe_as("two:a", "two").await["data"]["n"], 3);
    let error = socket.subscribe_as("two:b", "error").await;
    assert_eq!(error["data"]["code"], "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn signal_reads_the_files_again() {
    let database = TestDatabase::create(&[]).await;
    database.client().await.batch_execute(TABLES).await.unwrap();
    let home = CommandHome::new();
    let path = home.folder().write("latido.toml", &file(&[("one", COUNT)]));
    let variables = [
        ("DATABASE_URL", database.url()),
        ("JWT_SECRET", SECRET),
        ("LATIDO_CONFIG", path.to_str().unwrap()),
        ("PORT", "0"),
        ("HOST", "127.0.0.1"),
    ];
    TestApp::try_install_on(database.url(), &variables[2..3])
        .await
        .unwrap();
    let server = home.start(&["serve"], &variables);
    let address = server.ready_address().await;
    let token = json!({"id": 7, "rol": "admin_sistema", "exp": claims::now() + 600});
    let token = claims::sign_with(SECRET, &token);
    let mut socket = TestSocket::connect(&format!("ws://{address}/ws"), &token).await;
    assert_eq!(socket.subscribe_as("one:a", "one").await["data"]["n"], 2);
    home.folder()
        .write("latido.toml", &file(&[("one", SUM), ("two", SUM)]));
    home.folder()
        .write(".env", "MAX_CHANNELS=2\nDATABASE_POOL_SIZE=3\n");
    server.signal(Signal::HUP);
    assert_eq!(socket.next_of_type("one").await["data"]["n"], 3);
    assert_eq!(socket.subscribe_as("two:b", "two").await["data"]["n"], 5);
    let error = socket.subscribe_as("two:a", "error").await;
    assert_eq!(error["data"]["code"], "too_many_channels");
    let is_report = |line: &str| line.contains("the configuration was read again");
    let line = server.wait_for_stderr("the report", is_report).await;
    assert!(
        line.contains(r#""changed":"one""#) && line.contains(r#""added":"two""#),
        "{line}"
    );
    let is_late = |line: &str| line.contains("restart the server to apply them");
    let line = server.wait_for_stderr("the restart", is_late).await;
    assert!(
        line.contains("DATABASE_POOL_SIZE") && !line.contains("MAX_CHANNELS"),
        "{line}"
    );
    home.folder()
        .write("latido.toml", "[streams.one]\nfoo = 1\nbar = 2");
    server.signal(Signal::HUP);
    for mistake in ["foo", "bar"] {
        let is_it = |line: &str| line.contains("nothing changed") && line.contains(mistake);
        server.wait_for_stderr(mistake, is_it).await;
    }
    socket.assert_quiet().await;
    server.signal(Signal::TERM);
    assert_eq!(socket.wait_for_close_code().await, Some(1012));
    assert_eq!(server.wait_for_exit().await.code, Some(0));
}
