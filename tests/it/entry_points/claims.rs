//! Rights that depend on the claims of a token: they are those of that token alone, and end with
//! their reason.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{TempFolder, TestApp, TestSocket, claims, within};

/// Shops that an organisation may see, for users whose token names it.
const STREAMS: &str = r#"
    [streams.ventas]
    query = """
    SELECT u.tienda_id, u.desde, (SELECT count(*) FROM pedidos p WHERE p.tienda_id = u.tienda_id) AS n
    FROM unnest($1::bigint[], $2::date[], $3::date[]) AS u (tienda_id, hoy, desde)"""
    keys = ["tienda_id"]
    authorize = """
    SELECT a.tienda_id::text FROM accesos a
    WHERE a.usuario = $1 AND a.tienda_id::text = ANY ($2) AND a.organizacion = $3 ->> 'organizacion'"""
    [streams.ventas.params]
    desde = { type = "date", default = "2026-01-01" }
    [[streams.ventas.tables]]
    table = "pedidos"
    key = "tienda_id"
"#;

const TABLES: &str = "
    CREATE TABLE pedidos (tienda_id bigint);
    CREATE TABLE accesos (usuario text, organizacion text, tienda_id bigint);
    INSERT INTO accesos VALUES ('ana', 'norte', 1), ('ana', 'sur', 1), ('ana', 'sur', 2), ('eva', 'norte', 2)";

/// A server that looks up rights in use every second, with the database's owner.
struct Servers {
    app: TestApp,
    /// It keeps the database, and has installed the triggers.
    first: TestApp,
    _folder: TempFolder,
}

impl Servers {
    async fn start() -> Self {
        let first = TestApp::with_streams(STREAMS, TABLES).await;
        let folder = TempFolder::new();
        let file = folder.write("latido.toml", STREAMS);
        let variables = [
            ("LATIDO_CONFIG", file.to_str().unwrap()),
            ("AUTHORIZE_RECHECK_SECONDS", "2"),
        ];
        let app = TestApp::on_database_with(&first.database_url(), &variables, |_| {}).await;
        Self {
            app,
            first,
            _folder: folder,
        }
    }

    async fn execute(&self, sql: &str) {
        let db = self.first.connect_database().await;
        db.batch_execute(sql).await.unwrap();
    }

    fn token(&self, user: &str, organisation: &str) -> String {
        let exp = claims::now() + 600;
        self.app
            .sign(&json!({"sub": user, "organizacion": organisation, "exp": exp}))
    }

    async fn status(&self, key: u8, token: &str) -> u16 {
        let path = format!("/ventas/{key}");
        let request = self.app.request(Method::GET, &path).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    }
}

async fn subscribe(socket: &mut TestSocket, channel: &str) {
    let frame = socket.subscribe_as(channel, "ventas").await;
    assert_eq!(frame["channel"], channel, "{frame}");
}

/// Waits until these channels are refused and have ended, in any order.
async fn wait_for_end(socket: &mut TestSocket, channels: &[&str]) {
    let (mut refused, mut ended) = (Vec::new(), Vec::new());
    while refused.len() < channels.len() || ended.len() < channels.len() {
        let frame: Value = socket.next_frame().await;
        match frame["type"].as_str().unwrap() {
            "error" => {
                assert_eq!(frame["data"]["code"], "forbidden", "{frame}");
                refused.push(frame["data"]["channel"].as_str().unwrap().to_owned());
            }
            "unsubscribed" => ended.push(frame["channel"].as_str().unwrap_or_default().to_owned()),
            _ => {}
        }
    }
    refused.sort();
    assert_eq!(refused, channels);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_one_user_with_other_claims_share_no_answer() {
    let servers = Servers::start().await;
    // Each answer is remembered while the next ones are given.
    for _ in 0..2 {
        for (user, organisation, allowed) in [
            ("ana", "norte", [200, 403]),
            ("ana", "sur", [200, 200]),
            ("ana", "", [403, 403]),
            ("eva", "norte", [403, 200]),
            ("eva", "sur", [403, 403]),
        ] {
            let token = servers.token(user, organisation);
            let found = [
                servers.status(1, &token).await,
                servers.status(2, &token).await,
            ];
            assert_eq!(found, allowed, "{user} {organisation}");
        }
    }
    let without = servers
        .app
        .sign(&json!({"sub": "ana", "exp": claims::now() + 600}));
    assert_eq!(servers.status(1, &without).await, 403, "no such claim");
}

#[tokio::test(flavor = "multi_thread")]
async fn right_withdrawn_from_some_claims_ends_what_they_opened() {
    let servers = Servers::start().await;
    let app = &servers.app;
    let (norte, sur) = (servers.token("ana", "norte"), servers.token("ana", "sur"));
    let mut socket = app.connect_socket(&norte).await;
    // Channels that differ in parameters share the right.
    let channels = ["ventas:1", "ventas:1?desde=2026-02-01"];
    for channel in channels {
        subscribe(&mut socket, channel).await;
    }
    let mut other = app.connect_socket(&sur).await;
    subscribe(&mut other, "ventas:1").await;
    let events = app
        .request(Method::GET, "/ventas/1/events")
        .bearer_auth(&norte);
    let events = events.send().await.unwrap();
    assert_eq!(events.status(), 200);

    servers
        .execute("DELETE FROM accesos WHERE organizacion = 'norte' AND tienda_id = 1")
        .await;
    wait_for_end(&mut socket, &channels).await;
    within(events.bytes()).await.unwrap();
    servers.execute("INSERT INTO pedidos VALUES (1)").await;
    let frame = other.next_of_type("ventas").await;
    assert_eq!(frame["data"]["n"], 1, "the other token keeps its right");
    socket.assert_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_token_on_an_open_connection_is_checked_with_its_own_claims() {
    let servers = Servers::start().await;
    let mut socket = servers
        .app
        .connect_socket(&servers.token("ana", "sur"))
        .await;
    for channel in ["ventas:1", "ventas:2", "ventas:2?desde=2026-02-01"] {
        subscribe(&mut socket, channel).await;
    }
    let renew = |organisation| json!({"type": "auth", "data": {"token": servers.token("ana", organisation)}});
    socket.send(&renew("norte")).await;
    socket.next_of_type("authenticated").await;
    wait_for_end(&mut socket, &["ventas:2", "ventas:2?desde=2026-02-01"]).await;
    servers.execute("INSERT INTO pedidos VALUES (1), (2)").await;
    let frame = socket.next_of_type("ventas").await;
    assert_eq!(frame["channel"], "ventas:1", "a right of both tokens");
    // The right is now that of the new claims.
    servers
        .execute("DELETE FROM accesos WHERE organizacion = 'norte'")
        .await;
    wait_for_end(&mut socket, &["ventas:1"]).await;
    socket.send(&renew("sur")).await;
    socket.next_of_type("authenticated").await;
    subscribe(&mut socket, "ventas:1").await;
}

/// A stream whose query for permissions takes other claims than it can get: clients whose token
/// grants the key are served.
#[tokio::test(flavor = "multi_thread")]
async fn query_with_claims_of_another_type_is_named_and_grants_nothing() {
    let first = TestApp::with_streams(STREAMS, TABLES).await;
    let folder = TempFolder::new();
    let file = folder.write(
        "latido.toml",
        &STREAMS.replace("$3 ->> 'organizacion'", "$3::uuid::text"),
    );
    let variables = [("LATIDO_CONFIG", file.to_str().unwrap())];
    let url = first.database_url();
    let refused = TestApp::try_install_on(&url, &variables).await.unwrap_err();
    assert!(refused.to_string().contains("$3::jsonb"), "{refused}");
    let app = TestApp::on_database_with(&url, &variables, |_| {}).await;
    let (_, report) = app.get("/ready").await;
    let report: Value = serde_json::from_str(&report).unwrap();
    let problem = report["streams"]["ventas"]["problem"].as_str().unwrap();
    assert!(problem.contains("authorize query"), "{problem}");
    let granted = json!({"sub": "ana", "tienda_id": 1, "exp": claims::now() + 600});
    let mut socket = app.connect_socket(&app.sign(&granted)).await;
    subscribe(&mut socket, "ventas:1").await;
    let channel = json!({"type": "subscribe", "data": {"channel": "ventas:2"}});
    socket.send(&channel).await;
    let frame = socket.next_of_type("error").await;
    assert_eq!(frame["data"]["code"], "unavailable", "{frame}");
}
