//! The addresses and messages of streams with several key parts, without a key and with parameters.

use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

use super::shop;
use super::shop::{SCHEMA, admin_token, shop_toml};
use crate::harness::{OTHER_USER, TestApp, claims, disable_sweep};

async fn get(app: &TestApp, path: &str) -> (u16, Value) {
    let request = app.request(Method::GET, path);
    let answer = request.bearer_auth(admin_token(app)).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_show_the_numbers_of_every_kind_of_channel() {
    let app = shop().await;
    let db = app.connect_database().await;
    db.batch_execute(
        "INSERT INTO pedidos (tienda_id, caja, dia, total) VALUES
         (7, 'c/1', '2026-11-05', 5), (7, 'c/1', '2025-01-01', 2)",
    )
    .await
    .unwrap();
    for (path, field, value) in [
        ("/cajas/7/c%2F1", "total", json!(7)),
        ("/cajas/7/c%2F1?x=1", "caja", json!("c/1")),
        ("/totales", "pedidos", json!(2)),
        ("/rangos/7?desde=2026-11-01", "total", json!(5)),
        (
            "/rangos/7?hasta=2025-12-31&desde=2000-01-01",
            "total",
            json!(2),
        ),
    ] {
        let (status, data) = get(&app, path).await;
        assert_eq!((status, &data[field]), (200, &value), "{path}: {data}");
    }
    let (status, refused) = get(&app, "/rangos/7?desde=2026-11-01&tienda=7").await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (400, &json!("invalid_key"))
    );
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("\"tienda\""), "{message}");
    for (path, form) in [
        ("/cajas/7", "/cajas/<tienda_id>/<caja>"),
        ("/cajas/7/c/1", "/cajas/<tienda_id>/<caja>/events"),
        ("/totales/7", "/totales or /totales/events"),
        ("/rangos", "/rangos/<tienda_id>"),
    ] {
        let (status, refused) = get(&app, path).await;
        let error = &refused["error"];
        assert_eq!((status, &error["code"]), (404, &json!("not_found")));
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(form), "{path}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hook_names_keys_of_several_parts_and_none() {
    let app = shop().await;
    for (path, body, status) in [
        ("/notify/cajas", json!({"tienda_id": 7, "caja": "a"}), 200),
        ("/notify/cajas", json!({"key": "7/a"}), 200),
        ("/notify/cajas", json!({"tienda_id": 7}), 400),
        ("/notify/totales", json!({}), 200),
        ("/notify/totales", json!({"key": "7"}), 400),
        ("/notify/rangos", json!({"tienda_id": 7}), 200),
    ] {
        let request = app.request(Method::POST, path).json(&body);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{path} {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_stream_carries_channels_of_every_kind() {
    let app = shop().await;
    let db = app.connect_database().await;
    let path = "/events?channel=totales&channel=cajas:7/a&channel=rangos:7%3Fdesde%3D2026-11-01";
    let request = app.request(Method::GET, path);
    let answer = request.bearer_auth(admin_token(&app)).send().await.unwrap();
    let mut events = answer.bytes_stream();
    let mut text = String::new();
    let mut until = async |texts: &[&str]| {
        while !texts.iter().all(|expected| text.contains(expected)) {
            let bytes = events.next().await.expect("an event").expect("bytes");
            text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
        std::mem::take(&mut text)
    };
    until(&[
        "\"channel\":\"totales\"",
        "\"channel\":\"cajas:7/a\"",
        "\"channel\":\"rangos:7?desde=2026-11-01\"",
    ])
    .await;
    db.batch_execute(
        "INSERT INTO pedidos (tienda_id, caja, dia, total) VALUES (7, 'a', '2026-11-05', 5)",
    )
    .await
    .unwrap();
    // The hook finds the change too, if a trigger does not.
    for (stream, body) in [
        ("totales", json!({})),
        ("cajas", json!({"tienda_id": 7, "caja": "a"})),
        ("rangos", json!({"tienda_id": 7})),
    ] {
        let request = app.request(Method::POST, &format!("/notify/{stream}"));
        assert_eq!(request.json(&body).send().await.unwrap().status(), 200);
    }
    let seen = until(&["event:totales", "event:cajas", "event:rangos"]).await;
    assert_eq!(seen.matches("\"total\":5").count(), 3, "{seen}");
}

/// Two streams whose rights are rows, so that a test can withdraw them.
const RIGHTS: &str = "
    CREATE TABLE numeros (k text PRIMARY KEY, n int NOT NULL);
    CREATE TABLE derechos (usuario text, k text);";

#[tokio::test(flavor = "multi_thread")]
async fn withdrawn_right_ends_one_channel_of_an_event_stream() {
    let toml = r#"
        [streams.numeros]
        query = "SELECT u.k, n.n FROM unnest($1::text[]) AS u (k) LEFT JOIN numeros n ON n.k = u.k"
        key_field = "k"
        authorize = "SELECT d.k FROM derechos d WHERE d.usuario = $1 AND d.k = ANY ($2)"
        [[streams.numeros.tables]]
        table = "numeros"
        key = "k"
    "#;
    let rights = format!(
        "{RIGHTS} INSERT INTO derechos VALUES ('{OTHER_USER}', 'a'), ('{OTHER_USER}', 'b');
         INSERT INTO numeros VALUES ('a', 1), ('b', 1)"
    );
    let app = TestApp::with_streams_and(toml, &rights, |config| {
        config.policy.recheck = std::time::Duration::from_secs(2);
    })
    .await;
    let db = app.connect_database().await;
    let token = app.sign(&json!({"id": OTHER_USER, "exp": claims::now() + 600}));
    let path = "/events?channel=numeros:a&channel=numeros:b&channel=numeros:c";
    let request = app.request(Method::GET, path).bearer_auth(token);
    let mut events = request.send().await.unwrap().bytes_stream();
    let mut text = String::new();
    let mut until = async |expected: &str| {
        while !text.contains(expected) {
            let bytes = events.next().await.expect("an event").expect("bytes");
            text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
        std::mem::take(&mut text)
    };
    let refused = until("\"channel\":\"numeros:c\"}}").await;
    assert!(refused.contains("\"code\":\"forbidden\""), "{refused}");
    db.batch_execute("DELETE FROM derechos WHERE k = 'a'")
        .await
        .unwrap();
    let withdrawn = until("\"channel\":\"numeros:a\"}}").await;
    assert!(withdrawn.contains("\"code\":\"forbidden\""), "{withdrawn}");
    db.batch_execute("UPDATE numeros SET n = 2").await.unwrap();
    let seen = until("\"n\":2").await;
    assert!(seen.contains("\"channel\":\"numeros:b\",\"v\":"), "{seen}");
    assert!(!seen.contains("\"channel\":\"numeros:a\",\"v\":"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_invents_parameters_meets_a_limit() {
    let app = TestApp::with_streams_and(&shop_toml(), SCHEMA, |config| {
        disable_sweep(config);
        config.limits.param_sets_per_key = 2;
    })
    .await;
    let mut socket = app.connect_socket(&admin_token(&app)).await;
    let channel = |key: u32, day: u32| format!("rangos:{key}?desde=2026-11-{day:02}");
    for day in [1, 2] {
        socket.subscribe_as(&channel(7, day), "rangos").await;
    }
    // The same choice in another spelling, and another key.
    let same = "rangos:7?hasta=2099-12-31&desde=2026-11-01";
    for allowed in [same.to_owned(), channel(8, 3)] {
        socket.subscribe_as(&allowed, "rangos").await;
    }
    for refused in [channel(7, 3), channel(7, 4)] {
        let error = socket.subscribe_as(&refused, "error").await;
        let told = (&error["data"]["code"], &error["data"]["channel"]);
        assert_eq!(told, (&json!("too_many_channels"), &json!(refused)));
        assert!(
            error["data"]["message"].to_string().contains("at most 2"),
            "{error}"
        );
    }
    let (status, _) = get(&app, "/rangos/7?desde=2026-11-05").await;
    assert_eq!(status, 429);
    assert_eq!(app.metric("latido_param_sets").await, 3.0);
    assert_eq!(app.metric("latido_param_sets_refused_total").await, 3.0);
    let leave = json!({"type": "unsubscribe", "channel": channel(7, 2)});
    socket.send(&leave).await;
    socket.next_of_type("unsubscribed").await;
    socket.subscribe_as(&channel(7, 3), "rangos").await;
    drop(socket);
    app.assert_metric_settles("latido_param_sets", 0.0).await;
}
