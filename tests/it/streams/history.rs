//! The history of a channel: which rows it has, when it comes, and what happens where it cannot be
//! read.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::shop::{SCHEMA, admin_token, shop_toml};
use crate::harness::{OTHER_USER, TestApp, TestSocket, claims, disable_sweep, wait_until, within};

/// The history query of each stream that has one.
const HISTORIES: [(&str, &str); 5] = [
    (
        "cajas",
        "SELECT u.tienda, u.caja, p.dia, p.total
         FROM unnest($1::bigint[], $2::text[], $3::date[]) AS u (tienda, caja, hoy)
         JOIN pedidos p ON p.tienda_id = u.tienda AND p.caja = u.caja ORDER BY p.dia DESC, p.id DESC",
    ),
    (
        "totales",
        "SELECT p.dia, p.total FROM unnest($1::date[]) AS u (hoy) CROSS JOIN pedidos p ORDER BY p.id",
    ),
    // Without a condition on the key, and with an error for one key.
    (
        "unidades",
        "SELECT t.id, t.nombre, 1 / (u.id - 5) AS n FROM unnest($1::bigint[]) AS u (id) CROSS JOIN tiendas t
         ORDER BY t.id",
    ),
    (
        "rangos",
        "SELECT u.id, u.desde, u.hasta, p.dia, p.total
         FROM unnest($1::bigint[], $2::date[], $3::date[], $4::date[]) AS u (id, hoy, desde, hasta)
         JOIN pedidos p ON p.tienda_id = u.id AND p.dia BETWEEN u.desde AND u.hasta ORDER BY p.id -- end",
    ),
    (
        "traspasos",
        "SELECT u.id, candado.n FROM unnest($1::bigint[]) AS u (id), candado",
    ),
];

fn history_toml() -> String {
    HISTORIES.iter().fold(shop_toml(), |toml, (name, history)| {
        let head = format!("[streams.{name}]\n");
        toml.replace(&head, &format!("{head}history = '''{history}'''\n"))
    })
}

async fn shop() -> TestApp {
    let schema = format!(
        "{SCHEMA};
         CREATE TABLE candado (n int); INSERT INTO candado VALUES (1);
         INSERT INTO pedidos (tienda_id, caja, dia, total) VALUES
         (7, 'a', '2026-11-02', 2), (7, 'a', '2026-11-01', 1), (7, 'b', '2026-11-03', 3), (8, 'a', '2026-11-04', 4),
         (7, 'a', '2026-11-02', 5)"
    );
    TestApp::with_streams_and(&history_toml(), &schema, |config| {
        disable_sweep(config);
        config.engine.history.rows = 4;
        config.postgres.statement_timeout = Duration::from_secs(60);
    })
    .await
}

async fn ask(socket: &mut TestSocket, channel: &str) {
    let data = json!({"channel": channel, "history": true});
    socket
        .send(&json!({"type": "subscribe", "data": data}))
        .await;
    assert_eq!(socket.next().await["type"], "subscribed");
}

/// Returns the history, which must come before any other frame of the channel, and then the first
/// snapshot.
async fn history_of(socket: &mut TestSocket, channel: &str) -> Value {
    ask(socket, channel).await;
    let history = socket.next().await;
    assert_eq!(
        (&history["type"], &history["channel"]),
        (&json!("history"), &json!(channel)),
        "{history}"
    );
    let snapshot = socket.next().await;
    assert!(snapshot["v"].is_u64(), "{snapshot}");
    assert_eq!(snapshot["channel"], channel);
    history
}

#[tokio::test(flavor = "multi_thread")]
async fn history_has_the_rows_of_its_topic_in_the_order_of_the_query() {
    let app = shop().await;
    let mut socket = app.connect_socket(&admin_token(&app)).await;
    for (channel, rows) in [
        (
            "cajas:7/a",
            json!([{"dia": "2026-11-02", "total": 5}, {"dia": "2026-11-02", "total": 2}, {"dia": "2026-11-01", "total": 1}]),
        ),
        ("cajas:7/zz", json!([])),
        (
            "rangos:7?desde=2026-11-02&hasta=2026-11-02",
            json!([{"dia": "2026-11-02", "total": 2}, {"dia": "2026-11-02", "total": 5}]),
        ),
        ("unidades:4", json!([{"nombre": "tienda 4", "n": -1}])),
    ] {
        let history = history_of(&mut socket, channel).await;
        assert_eq!(history["data"], rows, "{channel}");
        assert!(history.get("truncated").is_none(), "{history}");
    }
    // More rows than the limit: the first ones.
    let history = history_of(&mut socket, "totales").await;
    assert_eq!(history["truncated"], true);
    let totals = history["data"].as_array().unwrap().iter();
    let totals: Vec<_> = totals.map(|row| row["total"].as_i64()).collect();
    assert_eq!(totals, [2, 1, 3, 4].map(Some));
    // A repeated request gets the rows of now.
    let db = app.connect_database().await;
    let sql = "INSERT INTO pedidos (tienda_id, caja, dia, total) VALUES (7, 'zz', '2026-11-09', 9)";
    db.batch_execute(sql).await.unwrap();
    loop {
        let row = socket.next_of_type("cajas").await;
        if row["channel"] == "cajas:7/zz" {
            assert_eq!(row["data"]["total"], 9);
            break;
        }
    }
    ask_until_history(
        &mut socket,
        "cajas:7/zz",
        json!([{"dia": "2026-11-09", "total": 9}]),
    )
    .await;
    assert_eq!(app.metric("latido_history_rows_total").await, 11.0);
    let complete = r#"latido_histories_total{result="complete"}"#;
    assert_eq!(app.metric(complete).await, 5.0);
}

/// Subscribes again, and skips the rows of other channels that come meanwhile.
async fn ask_until_history(socket: &mut TestSocket, channel: &str, rows: Value) {
    let data = json!({"channel": channel, "history": true});
    socket
        .send(&json!({"type": "subscribe", "data": data}))
        .await;
    assert_eq!(socket.next_of_type("history").await["data"], rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_statement_serves_many_topics_and_a_failing_key_spoils_no_other() {
    let app = shop().await;
    let token = admin_token(&app);
    let channels: Vec<String> = (1..=9).map(|n| format!("unidades:{n}")).collect();
    let watch = async |channel: &String| {
        let mut socket = app.connect_socket(&token).await;
        ask(&mut socket, channel).await;
        let frame = socket.next().await;
        let first = socket.next().await;
        assert!(first["v"].is_u64(), "{first}");
        (channel.clone(), frame)
    };
    let twice = channels.iter().chain(&channels);
    let answers = join_all(twice.map(watch)).await;
    assert_eq!(answers.len(), 18);
    for (channel, frame) in answers {
        if channel == "unidades:5" {
            assert_eq!(frame["error"]["code"], "history_unavailable", "{frame}");
            assert_eq!(
                (&frame["data"], &frame["channel"]),
                (&Value::Null, &json!(channel))
            );
        } else {
            let number = channel.rsplit(':').next().unwrap();
            let name = format!("tienda {number}");
            assert_eq!(frame["data"][0]["nombre"], json!(name), "{frame}");
            assert_eq!(frame["data"].as_array().unwrap().len(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_history_is_shared_and_delays_nobody_else() {
    let app = shop().await;
    let token = admin_token(&app);
    let mut locker = app.connect_database().await;
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("LOCK candado").await.unwrap();
    let mut askers = Vec::new();
    for _ in 0..20 {
        let mut socket = app.connect_socket(&token).await;
        ask(&mut socket, "traspasos:1").await;
        askers.push(socket);
    }
    let db = app.connect_database().await;
    let waiting = async || {
        let sql = "SELECT count(*) FROM pg_stat_activity
            WHERE wait_event_type = 'Lock' AND datname = current_database()";
        db.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
    };
    wait_until("a statement waits", async || waiting().await == 1).await;
    // Others of the same stream and of other streams are served, and changes reach them.
    let mut other = app.connect_socket(&token).await;
    other.subscribe_as("traspasos:1", "traspasos").await;
    let history = history_of(&mut other, "cajas:8/a").await;
    assert_eq!(history["data"][0]["total"], 4);
    db.batch_execute("INSERT INTO traspasos (origen_id, destino_id, importe) VALUES (2, 1, 50)")
        .await
        .unwrap();
    assert_eq!(other.next_of_type("traspasos").await["data"]["saldo"], 50);
    // A client that leaves gets nothing, and may ask again.
    let mut leaver = askers.pop().unwrap();
    leaver
        .send(&json!({"type": "unsubscribe", "channel": "traspasos:1"}))
        .await;
    assert_eq!(leaver.next().await["type"], "unsubscribed");
    assert_eq!(waiting().await, 1, "one statement for the topic");
    lock.commit().await.unwrap();
    for socket in &mut askers {
        let history = socket.next().await;
        assert_eq!(history["type"], "history");
        assert_eq!(history["data"], json!([{"n": 1}]));
        // It was held back, and is the newest.
        assert_eq!(socket.next().await["data"]["saldo"], 50);
        socket.send(&json!({"type": "ping"})).await;
        assert_eq!(socket.next().await["type"], "pong");
    }
    let history = history_of(&mut leaver, "traspasos:1").await;
    assert_eq!(history["data"], json!([{"n": 1}]));
    let statements = app.metric("latido_history_seconds_count").await;
    assert!(statements <= 5.0, "{statements} statements");
}

/// Clients leave at once. A request for the rows alone is answered first, as any other.
#[tokio::test(flavor = "multi_thread")]
async fn history_under_way_does_not_keep_clients_during_a_shutdown() {
    let mut app = shop().await;
    let token = admin_token(&app);
    let mut locker = app.connect_database().await;
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("LOCK candado").await.unwrap();
    let mut sockets = Vec::new();
    for channel in ["traspasos:1", "traspasos:1", "traspasos:2"] {
        let mut socket = app.connect_socket(&token).await;
        ask(&mut socket, channel).await;
        sockets.push(socket);
    }
    let get = |path: &str| {
        let request = app.request(reqwest::Method::GET, path);
        request.bearer_auth(&token).send()
    };
    let events = get("/traspasos/1/events?history=true").await.unwrap();
    let rows = tokio::spawn(get("/traspasos/1?history=true"));
    let db = app.connect_database().await;
    let sql = "SELECT count(*) FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND datname = current_database()";
    wait_until("a statement waits", async || {
        db.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    wait_until("the request is there", async || {
        app.metric("latido_subscribers").await >= 5.0
    })
    .await;
    let stopping = tokio::spawn(async move { app.stop().await });
    for mut socket in sockets {
        assert_eq!(within(socket.wait_for_close_code()).await, Some(1012));
    }
    let text = within(events.text()).await.unwrap();
    assert!(!text.contains("event:history"), "{text}");
    lock.commit().await.unwrap();
    let answer = within(rows).await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<Value>().await.unwrap(), json!([{"n": 1}]));
    assert!(within(stopping).await.unwrap(), "nothing is left running");
}

#[tokio::test(flavor = "multi_thread")]
async fn history_needs_the_right_to_the_channel_and_a_query_that_works() {
    let toml = history_toml().replace("u.caja, p.dia", "u.caja, u.nada");
    let app = TestApp::with_streams_and(&toml, SCHEMA, disable_sweep).await;
    let stranger = app.sign(&json!({"id": OTHER_USER, "exp": claims::now() + 3600}));
    let mut socket = app.connect_socket(&stranger).await;
    let data = json!({"channel": "rangos:7?desde=2026-11-02", "history": true});
    socket
        .send(&json!({"type": "subscribe", "data": data}))
        .await;
    assert_eq!(socket.next().await["data"]["code"], "forbidden");
    // A stream without a history, and those whose history the database refuses, still have numbers.
    let mut socket = app.connect_socket(&admin_token(&app)).await;
    let mut codes = BTreeSet::new();
    // The server's own channel comes last, because its frames come by themselves.
    for (channel, event) in [
        ("cajas:7/a", "cajas"),
        ("traspasos:1", "traspasos"),
        ("latido:servidor", "server"),
    ] {
        ask(&mut socket, channel).await;
        let error = socket.next_of_type("history").await;
        assert_eq!(
            (&error["channel"], &error["data"]),
            (&json!(channel), &Value::Null)
        );
        codes.insert((channel, error["error"]["code"].as_str().unwrap().to_owned()));
        socket.next_of_type(event).await;
    }
    let expected = [
        ("latido:servidor", "no_history"),
        ("cajas:7/a", "history_unavailable"),
        ("traspasos:1", "history_unavailable"),
    ];
    let expected = expected.map(|(channel, code)| (channel, code.to_owned()));
    assert_eq!(codes, BTreeSet::from(expected));
    // Once the table exists, the history is read.
    let db = app.connect_database().await;
    let sql = "CREATE TABLE candado (n int); INSERT INTO candado VALUES (1)";
    db.batch_execute(sql).await.unwrap();
    wait_until("the history works", async || {
        let data = json!({"channel": "traspasos:1", "history": true});
        socket
            .send(&json!({"type": "subscribe", "data": data}))
            .await;
        socket.next_of_type("history").await["data"].is_array()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_comes_by_http_too() {
    let app = shop().await;
    let token = admin_token(&app);
    let get = async |path: &str| {
        let request = app.request(reqwest::Method::GET, path);
        request.bearer_auth(&token).send().await.unwrap()
    };
    for (path, status, expected) in [
        (
            "/cajas/7/a?history=true",
            200,
            json!([{"dia": "2026-11-02", "total": 5}, {"dia": "2026-11-02", "total": 2}, {"dia": "2026-11-01", "total": 1}]),
        ),
        (
            "/totales?history=true",
            200,
            json!([{"dia": "2026-11-02", "total": 2}, {"dia": "2026-11-01", "total": 1}, {"dia": "2026-11-03", "total": 3}, {"dia": "2026-11-04", "total": 4}]),
        ),
        ("/rangos/9?history=true&desde=2026-11-02", 200, json!([])),
        (
            "/unidades/5?history=true",
            503,
            json!("history_unavailable"),
        ),
        ("/cajas/7/a?history=si", 400, json!("bad_request")),
    ] {
        let answer = get(path).await;
        assert_eq!(answer.status(), status, "{path}");
        let is_truncated = answer
            .headers()
            .get("x-truncated")
            .is_some_and(|v| v == "true");
        assert_eq!(is_truncated, path == "/totales?history=true", "{path}");
        let mut body: Value = answer.json().await.unwrap();
        if status != 200 {
            body = body["error"]["code"].take();
        }
        assert_eq!(body, expected, "{path}");
    }
    // An event stream has the history first.
    let path = "/events?channel=totales&history=cajas:7/b&history=rangos:7%3Fdesde%3D2026-11-03";
    let several = until(get(path).await, 5).await;
    let events = names_of(&several);
    for (history, row) in [("cajas:7/b", "cajas"), ("rangos:7", "rangos")] {
        let first = several.iter().position(|event| event.contains(history));
        let event = &several[first.unwrap()];
        assert!(event.contains("event:history\n"), "{event}");
        assert!(event.contains("\"total\":3"), "{event}");
        assert!(events.contains(&row.to_owned()), "{events:?}");
    }
    assert_eq!(events.iter().filter(|name| *name == "history").count(), 2);
    let one = until(get("/cajas/8/a/events?history=true").await, 2).await;
    assert_eq!(names_of(&one), ["history", "cajas"]);
    assert!(
        one[0].contains("data:[{\"dia\":\"2026-11-04\",\"total\":4}]"),
        "{one:?}"
    );
    let failed = until(get("/unidades/5/events?history=true").await, 2).await;
    assert_eq!(names_of(&failed), ["error", "unidades"]);
}

/// Reads this number of events.
async fn until(answer: reqwest::Response, count: usize) -> Vec<String> {
    assert_eq!(answer.status(), 200);
    let mut bytes = answer.bytes_stream();
    let mut text = String::new();
    while text.matches("\n\n").count() < count {
        let piece = within(bytes.next()).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&piece).unwrap());
    }
    let events = text.split("\n\n").filter(|event| !event.is_empty());
    events.map(|event| format!("{event}\n")).collect()
}

fn names_of(events: &[String]) -> Vec<String> {
    let name = |event: &String| {
        let line = event.lines().find(|line| line.starts_with("event:"));
        line.map(|line| line.trim_start_matches("event:").to_owned())
    };
    events.iter().filter_map(name).collect()
}
