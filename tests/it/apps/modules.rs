//! The modules app: devices on `/esp32`, the emit API, and rows changed with plain SQL.

mod commands;
mod older_firmware;
mod passwords;

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::harness::{TestApp, TestSocket, claims, wait_until};

pub(super) const KEY: &str = "a key of this test";
pub(super) const VARIABLES: [(&str, &str); 3] = [
    ("LATIDO_APPS", "modules"),
    ("MODULES_API_KEY", KEY),
    ("MODULES_GROUP_MS", "20"),
];

/// A bcrypt hash of `s3cret`. Its cost is far too low for production.
pub(super) const PASSWORD_HASH: &str =
    "$2b$04$abcdefghijklmnopqrstuuLZYjhNQAOdpbzt4WxWlUHjv1wsyH5DG";

pub(super) async fn start_app() -> (TestApp, Client) {
    start_app_with(&VARIABLES).await
}

async fn start_app_with(variables: &[(&str, &str)]) -> (TestApp, Client) {
    let app = TestApp::with_settings(variables, |_| {}).await;
    let client = app.connect_database().await;
    let sql = format!(
        "INSERT INTO users (id, name) VALUES (7, 'Ana'), (8, 'Eva');
         INSERT INTO modules (module_id, name, type, module_code, module_password_hash, user_id, claimed) VALUES
           ('M1', 'Loop', 'Coaster', 'c1', '{PASSWORD_HASH}', 7, true),
           ('M2', NULL, NULL, 'c2', '{PASSWORD_HASH}', 8, true),
           ('M3', NULL, NULL, 'c3', '{PASSWORD_HASH}', NULL, false)"
    );
    client.batch_execute(&sql).await.unwrap();
    wait_until("the rows are known", async || {
        get_summary(&app, 1, "admin").await["totalModules"] == 3
    })
    .await;
    (app, client)
}

fn token(app: &TestApp, user: i64, role: &str) -> String {
    app.sign(&json!({"id": user, "rol": role, "exp": claims::now() + 600}))
}

pub(super) async fn get_summary(app: &TestApp, user: i64, role: &str) -> Value {
    let (status, body) = app
        .get(&format!(
            "/api/modules/stats?token={}",
            token(app, user, role)
        ))
        .await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

pub(super) async fn emit(app: &TestApp, key: &str, method: &str, body: &Value) -> u16 {
    let request = app.request(
        reqwest::Method::POST,
        &format!("/api/modules/emit/{method}"),
    );
    request
        .header("x-api-key", key)
        .body(body.to_string())
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
}

async fn connect_device(app: &TestApp) -> TestSocket {
    TestSocket::try_connect(&format!("ws://{}/esp32", app.address()), &[])
        .await
        .unwrap()
}

pub(super) async fn connect_module(app: &TestApp, id: &str) -> TestSocket {
    let mut socket = connect_device(app).await;
    socket
        .send(
            &json!({"type": "module_identify", "moduleId": id, "password": "s3cret", "uptime": 5}),
        )
        .await;
    let connected = socket.next_of_type("connected").await;
    assert_eq!(connected["initialState"]["uptime"], 5);
    assert_eq!(
        socket.next_of_type("auth_success").await["status"],
        "authenticated"
    );
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn module_connects_reports_and_disconnects_and_the_table_follows() {
    let (app, client) = start_app().await;
    let mut socket = connect_module(&app, "M1").await;
    wait_until("the module is online", async || {
        get_summary(&app, 7, "user").await["onlineModules"] == 1
    })
    .await;
    assert_eq!(
        get_summary(&app, 8, "user").await,
        json!({"totalModules": 1, "onlineModules": 0, "offlineModules": 1, "moduleTypes": {"unknown": 1}})
    );
    socket.send(&json!({"type": "telemetry", "moduleId": "M1", "password": "s3cret", "uptime": 9, "position": "left"})).await;
    let stored_state_sql = "SELECT s.online AND m.status = 'online' AND s.telemetry = '{\"uptime\": 9, \"position\": \"left\"}' AND s.last_seen IS NOT NULL
                FROM module_state s JOIN modules m USING (module_id) WHERE module_id = 'M1'";
    wait_until("the module's state is stored", async || {
        client
            .query(stored_state_sql, &[])
            .await
            .unwrap()
            .first()
            .is_some_and(|row| row.get(0))
    })
    .await;
    let kept: String = client
        .query_one("SELECT telemetry::text FROM module_state", &[])
        .await
        .unwrap()
        .get(0);
    assert!(!kept.contains("s3cret"), "a password is not stored");
    drop(socket);
    let gone = "SELECT NOT s.online AND m.status = 'offline' FROM module_state s JOIN modules m USING (module_id) WHERE module_id = 'M1'";
    wait_until("the module is offline", async || {
        client
            .query(gone, &[])
            .await
            .unwrap()
            .first()
            .is_some_and(|row| row.get(0))
    })
    .await;
    assert_eq!(get_summary(&app, 7, "user").await["onlineModules"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_devices_get_close_frames_known_to_the_firmware() {
    let (app, _client) = start_app().await;
    let identify = |id: &str, password: Value| {
        json!({"type": "module_identify", "moduleId": id, "password": password}).to_string()
    };
    for (text, code, reason) in [
        ("what".to_owned(), 1003, "Invalid JSON"),
        (
            r#"{"type":"telemetry","moduleId":"M1","password":"s3cret"}"#.to_owned(),
            1008,
            "Not authenticated",
        ),
        (identify("M1", Value::Null), 1008, "Missing credentials"),
        (
            identify("M1", json!("wrong")),
            1008,
            "Authentication failed",
        ),
        (
            identify("M9", json!("s3cret")),
            1008,
            "Authentication failed",
        ),
        (
            identify("M3", json!("s3cret")),
            1008,
            "Authentication failed",
        ),
    ] {
        let mut socket = connect_device(&app).await;
        socket
            .send_raw(tokio_tungstenite::tungstenite::Message::text(text.clone()))
            .await;
        assert_eq!(
            socket.wait_for_close().await,
            (code, reason.to_owned()),
            "{text}"
        );
    }
    let mut old = connect_module(&app, "M1").await;
    let _new = connect_module(&app, "M1").await;
    assert_eq!(old.wait_for_close().await, (1000, "New session".to_owned()));
    assert_eq!(
        get_summary(&app, 7, "user").await["onlineModules"],
        1,
        "a replaced device never counts as offline"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn row_changes_by_any_client_are_seen_at_once() {
    let (app, client) = start_app().await;
    let totals = async |total: i64, anas: i64| {
        let all = get_summary(&app, 1, "admin").await["totalModules"].as_i64();
        (
            all,
            get_summary(&app, 7, "user").await["totalModules"].as_i64(),
        ) == (Some(total), Some(anas))
    };
    client
        .batch_execute(
            "INSERT INTO modules (module_id) SELECT 'B' || n FROM generate_series(1, 500) n",
        )
        .await
        .unwrap();
    wait_until("500 modules are added", async || totals(503, 1).await).await;
    client
        .batch_execute(
            "UPDATE modules SET user_id = 7, claimed = true WHERE module_id IN ('B1', 'M2')",
        )
        .await
        .unwrap();
    wait_until("two modules are assigned to Ana", async || {
        totals(503, 3).await
    })
    .await;
    client
        .batch_execute("BEGIN; DELETE FROM modules WHERE module_id LIKE 'B%'; ROLLBACK")
        .await
        .unwrap();
    client
        .batch_execute("UPDATE modules SET module_id = 'M4' WHERE module_id = 'M2'")
        .await
        .unwrap();
    client
        .batch_execute("DELETE FROM modules WHERE module_id LIKE 'B%'")
        .await
        .unwrap();
    wait_until("the deleted modules are removed", async || {
        totals(3, 2).await
    })
    .await;
    client.batch_execute("TRUNCATE modules").await.unwrap();
    wait_until("all modules are removed", async || totals(0, 0).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unclaimed_module_is_disconnected() {
    let (app, client) = start_app().await;
    let mut socket = connect_module(&app, "M1").await;
    client
        .batch_execute("UPDATE modules SET claimed = false, user_id = NULL WHERE module_id = 'M1'")
        .await
        .unwrap();
    assert_eq!(
        socket.wait_for_close().await,
        (1008, "Authentication failed".to_owned())
    );
    let mut socket = connect_module(&app, "M2").await;
    client
        .batch_execute("DELETE FROM modules WHERE module_id = 'M2'")
        .await
        .unwrap();
    assert_eq!(
        socket.wait_for_close().await,
        (1008, "Authentication failed".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn emit_api_requires_a_key_and_known_methods() {
    let (app, _client) = start_app().await;
    assert_eq!(
        emit(&app, "wrong", "emitModuleOnline", &json!("M1")).await,
        401
    );
    assert_eq!(emit(&app, KEY, "emitModuleOnline", &json!("M9")).await, 404);
    assert_eq!(emit(&app, KEY, "emitEverything", &json!({})).await, 404);
    assert_eq!(emit(&app, KEY, "emitModuleOnline", &json!({})).await, 400);
    assert_eq!(
        emit(&app, KEY, "emitModuleOnline", &json!({"moduleId": "M1"})).await,
        200
    );
    assert_eq!(get_summary(&app, 7, "user").await["onlineModules"], 1);
    assert_eq!(
        emit(&app, KEY, "emitModuleOffline", &json!(["M1"])).await,
        200
    );
    assert_eq!(get_summary(&app, 7, "user").await["onlineModules"], 0);
    let (status, _) = app.get("/api/modules/emit/emitModuleOnline").await;
    assert_eq!(status, 405);
    let (status, _) = app.get("/api/modules/stats").await;
    assert_eq!(status, 401);
    let (status, script) = app.get("/socket.io/socket.io.js").await;
    assert!(status == 200 && script.starts_with("/*!\n * Socket.IO v4"));
}

#[tokio::test(flavor = "multi_thread")]
async fn reinstalling_changes_nothing_and_uninstalling_keeps_the_data() {
    let (app, client) = start_app().await;
    let variables = [("DATABASE_URL", app.database_url())];
    let all: Vec<_> = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .chain(VARIABLES)
        .collect();
    let settings = || {
        latido::config::Settings::read(
            &latido::config::ConfigSources::from_variables(&all),
            latido::config::Purpose::Install,
        )
        .unwrap()
    };
    latido::app::install(settings()).await.unwrap();
    let count = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'latido\\_app\\_modules\\_%'";
    let triggers = async || client.query_one(count, &[]).await.unwrap().get::<_, i64>(0);
    assert_eq!(triggers().await, 4);
    latido::app::uninstall(settings()).await.unwrap();
    assert_eq!(triggers().await, 0);
    let modules: i64 = client
        .query_one("SELECT count(*) FROM modules", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(modules, 3);
}
