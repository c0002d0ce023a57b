//! Streams over joined tables, with keys of several parts, without a key, with two keys in one row,
//! and with parameters: from a commit to the clients' frames.

mod absent;
mod convergence;
mod corrections;
mod extras;
mod follower;
mod history;
mod inferred;
mod shop;
mod wire;

use serde_json::json;

use crate::harness::{TestApp, disable_sweep};
use shop::{SCHEMA, admin_token, shop_toml};

async fn shop() -> TestApp {
    TestApp::with_streams_and(&shop_toml(), SCHEMA, disable_sweep).await
}

#[tokio::test(flavor = "multi_thread")]
async fn key_of_two_parts_has_a_field_for_each() {
    let app = shop().await;
    let db = app.connect_database().await;
    let mut socket = app.connect_socket(&admin_token(&app)).await;
    let channel = "cajas:tienda_007/c%2F1";
    let frame = socket.subscribe_as(channel, "cajas").await;
    assert_eq!(frame["channel"], channel);
    assert_eq!(frame["data"]["tienda_id"], "tienda_007");
    assert_eq!(frame["data"]["caja"], "c/1");
    assert_eq!(frame["data"]["total"], 0);
    db.batch_execute(
        "INSERT INTO pedidos (tienda_id, caja, dia, total) VALUES
         (7, 'c/1', '2026-11-01', 5), (7, 'c', '2026-11-01', 3), (8, 'c/1', '2026-11-01', 9)",
    )
    .await
    .unwrap();
    let frame = socket.next_of_type("cajas").await;
    assert_eq!(frame["data"]["total"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_without_a_key_has_one_channel() {
    let app = shop().await;
    let db = app.connect_database().await;
    let mut socket = app.connect_socket(&admin_token(&app)).await;
    let frame = socket.subscribe_as("totales", "totales").await;
    assert_eq!(frame["channel"], "totales");
    assert_eq!(frame["data"]["pedidos"], 0);
    db.batch_execute(
        "INSERT INTO pedidos (tienda_id, caja, dia, total) VALUES (7, 'a', '2026-11-01', 5)",
    )
    .await
    .unwrap();
    let frame = socket.next_of_type("totales").await;
    assert_eq!(frame["data"]["pedidos"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_with_two_keys_concerns_both() {
    let app = shop().await;
    let db = app.connect_database().await;
    let mut socket = app.connect_socket(&admin_token(&app)).await;
    for channel in ["traspasos:1", "traspasos:2"] {
        socket.subscribe_as(channel, "traspasos").await;
    }
    db.batch_execute("INSERT INTO traspasos (origen_id, destino_id, importe) VALUES (1, 2, 50)")
        .await
        .unwrap();
    let mut saldos = Vec::new();
    for _ in 0..2 {
        let frame = socket.next_of_type("traspasos").await;
        saldos.push((frame["channel"].to_string(), frame["data"]["saldo"].clone()));
    }
    saldos.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        saldos,
        [
            ("\"traspasos:1\"".to_owned(), json!(-50)),
            ("\"traspasos:2\"".to_owned(), json!(50))
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn change_reaches_every_choice_of_parameters() {
    let app = shop().await;
    let db = app.connect_database().await;
    let mut socket = app.connect_socket(&admin_token(&app)).await;
    let november = "rangos:7?desde=2026-11-01&hasta=2026-11-30";
    let all = "rangos:7?desde=2000-01-01";
    let same = "rangos:7?hasta=2099-12-31&desde=2000-01-01";
    for channel in [november, all, same] {
        let frame = socket.subscribe_as(channel, "rangos").await;
        assert_eq!(
            (&frame["channel"], &frame["data"]["total"]),
            (&json!(channel), &json!(0))
        );
        assert!(frame["data"].get("desde").is_none());
    }
    db.batch_execute(
        "INSERT INTO pedidos (tienda_id, caja, dia, total) VALUES (7, 'a', '2026-11-05', 5), (7, 'a', '2025-01-01', 2)",
    )
    .await
    .unwrap();
    let mut totals = Vec::new();
    for _ in 0..3 {
        let frame = socket.next_of_type("rangos").await;
        totals.push((
            frame["channel"].as_str().unwrap().to_owned(),
            frame["data"]["total"].as_i64().unwrap(),
        ));
    }
    totals.sort();
    let mut expected =
        [(november, 5), (all, 7), (same, 7)].map(|(name, total)| (name.to_owned(), total));
    expected.sort();
    assert_eq!(totals, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_parameters_are_named() {
    let app = shop().await;
    let mut socket = app.connect_socket(&admin_token(&app)).await;
    for (channel, named) in [
        ("rangos:7", "desde is missing"),
        ("rangos:7?desde=ayer", "desde: expected a date"),
        ("rangos:7?desde=2026-11-01&otro=1", "no parameter \"otro\""),
        ("cajas:7", "expected cajas:<tienda_id>/<caja>"),
    ] {
        let error = socket.subscribe_as(channel, "error").await;
        assert_eq!(error["data"]["code"], "invalid_key", "{channel}");
        let message = error["data"]["message"].as_str().unwrap();
        assert!(message.contains(named), "{channel}: {message}");
        assert_eq!(error["data"]["channel"], channel);
    }
}
