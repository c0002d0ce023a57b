//! The WebSocket side of the wire contract, line by line.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{ADMIN_OF_B1, B1, B2, OTHER_USER, SYSTEM_ADMIN, TestApp, TestSocket, claims};

fn channel(negocio: &str) -> String {
    format!("estadisticas:{negocio}")
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_token_is_refused_before_the_upgrade() {
    let app = TestApp::start().await;
    let url = app.ws_url();
    let expired = app.sign(&json!({"id": ADMIN_OF_B1, "exp": claims::now() - 60}));
    let no_exp = app.sign(&json!({"id": ADMIN_OF_B1}));
    let mistyped = app.sign(&json!({"id": ADMIN_OF_B1, "exp": "4102444800"}));
    let nobody = app.sign(&json!({"email": "a@b.c", "exp": claims::now() + 60}));
    let foreign = claims::sign_with(
        "another secret, of at least 32 bytes!",
        &json!({"id": ADMIN_OF_B1, "exp": claims::now() + 60}),
    );
    for (what, token) in [
        ("expired", &*expired),
        ("no exp", &no_exp),
        ("mistyped exp", &mistyped),
        ("no id", &nobody),
        ("foreign", &foreign),
        ("garbage", "x.y.z"),
    ] {
        assert_eq!(
            TestSocket::try_connect(&format!("{url}?token={token}"), &[])
                .await
                .err(),
            Some(401),
            "{what}"
        );
    }
    assert_eq!(
        TestSocket::try_connect(&url, &[]).await.err(),
        Some(401),
        "no token"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn token_is_accepted_in_three_places() {
    let app = TestApp::start().await;
    let token = app.token(ADMIN_OF_B1);
    let bearer = format!("Bearer {token}");
    let pair = format!("bearer, {token}");
    for header in [
        ("authorization", bearer.as_str()),
        ("sec-websocket-protocol", pair.as_str()),
    ] {
        let mut socket = TestSocket::try_connect(&app.ws_url(), &[header])
            .await
            .expect("accepted");
        assert_eq!(
            socket.subscribe(&channel(B1)).await["data"]["negocio_id"],
            B1
        );
    }
    app.connect_socket(&token).await.assert_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn user_claim_is_id_then_user_id_then_sub() {
    let app = TestApp::start().await;
    for claim in ["id", "user_id", "sub"] {
        let token = app.sign(&json!({claim: ADMIN_OF_B1, "exp": claims::now() + 60}));
        assert_eq!(
            app.connect_socket(&token)
                .await
                .subscribe(&channel(B1))
                .await["type"],
            "stats",
            "{claim}"
        );
    }
    let both = app.sign(&json!({"id": OTHER_USER, "sub": ADMIN_OF_B1, "exp": claims::now() + 60}));
    let mut socket = app.connect_socket(&both).await;
    socket
        .send(&json!({"type": "subscribe", "channel": channel(B1)}))
        .await;
    assert_eq!(socket.next().await["data"]["code"], "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn subscription_starts_with_current_numbers_and_continues_with_changes() {
    let app = TestApp::start().await;
    let db = app.connect_database().await;
    app.book(&db, B1, "pendiente", 0).await;
    app.book(&db, B1, "atendida", -1).await;
    app.book(&db, B1, "cancelada", -2).await;
    let mut socket = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    socket
        .send(&json!({"type": "subscribe", "data": {"channel": channel(B1)}}))
        .await;
    assert_eq!(
        socket.next().await,
        json!({"type": "subscribed", "data": {"channel": channel(B1)}})
    );
    let first = socket.next().await;
    let at = first["data"]["timestamp"].as_i64().expect("an integer");
    assert!((at - claims::now()).abs() < 60, "Unix seconds");
    let expected = json!({"type": "stats", "data": {
        "negocio_id": B1, "citas_hoy": 1, "total_citas": 3, "citas_completadas": 1, "citas_canceladas": 1, "timestamp": at
    }, "channel": channel(B1), "v": first["v"]});
    assert_eq!(first, expected);
    let names: Vec<_> = first["data"]
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        names,
        [
            "negocio_id",
            "citas_hoy",
            "total_citas",
            "citas_completadas",
            "citas_canceladas",
            "timestamp"
        ]
    );
    app.book(&db, B1, "pendiente", 0).await;
    let next = socket.next().await;
    assert_eq!(
        (&next["data"]["citas_hoy"], &next["data"]["total_citas"]),
        (&json!(2), &json!(4))
    );
    assert!(next["v"].as_u64() > first["v"].as_u64());
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_business_has_four_zeros() {
    let app = TestApp::start().await;
    let id = "00000000-0000-4000-8000-00000000dead";
    let token = app.sign(&json!({"id": OTHER_USER, "negocio_id": id, "exp": claims::now() + 60}));
    let frame = app
        .connect_socket(&token)
        .await
        .subscribe(&channel(id))
        .await;
    for column in [
        "citas_hoy",
        "total_citas",
        "citas_completadas",
        "citas_canceladas",
    ] {
        assert_eq!(frame["data"][column], 0, "{column}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn change_without_new_numbers_sends_no_frame() {
    let app = TestApp::start().await;
    let db = app.connect_database().await;
    app.book(&db, B1, "pendiente", 0).await;
    let mut socket = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    socket.subscribe(&channel(B1)).await;
    db.batch_execute("UPDATE citas SET hora_inicio = '11:00'")
        .await
        .expect("an update");
    db.batch_execute(&format!(
        "BEGIN; DELETE FROM citas WHERE negocio_id = '{B1}'; ROLLBACK"
    ))
    .await
    .expect("a rollback");
    app.book(&db, B2, "pendiente", 0).await;
    // The next change does count, so its frame arriving first proves that nothing was sent before.
    app.book(&db, B1, "cancelada", 0).await;
    let frame = socket.next().await;
    assert_eq!(
        (
            &frame["data"]["total_citas"],
            &frame["data"]["citas_canceladas"]
        ),
        (&json!(2), &json!(1))
    );
    socket.assert_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribing_again_repeats_the_current_frame() {
    let app = TestApp::start().await;
    let mut socket = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    let first = socket.subscribe(&channel(B1)).await;
    assert_eq!(socket.subscribe(&channel(B1)).await, first);
    socket.assert_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_carry_the_subscribed_channel_name() {
    let app = TestApp::start().await;
    let db = app.connect_database().await;
    let names = [
        channel(B1),
        format!("estadisticas:negocio_{B1}"),
        channel(&B1.to_uppercase()),
    ];
    let mut socket = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    for name in &names {
        let frame = socket.subscribe(name).await;
        assert_eq!(
            frame["data"]["negocio_id"],
            name.split_once(':').expect("a key").1
        );
    }
    app.book(&db, B1, "pendiente", 0).await;
    let mut got = Vec::new();
    for _ in &names {
        got.push(
            socket.next_of_type("stats").await["channel"]
                .as_str()
                .expect("a name")
                .to_owned(),
        );
    }
    got.sort();
    let mut names = names.to_vec();
    names.sort();
    assert_eq!(got, names);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_frame_arrives_after_unsubscribe() {
    let app = TestApp::start().await;
    let db = app.connect_database().await;
    let admin =
        app.sign(&json!({"id": OTHER_USER, "negocios": [B1, B2], "exp": claims::now() + 60}));
    let mut socket = app.connect_socket(&admin).await;
    socket.subscribe(&channel(B1)).await;
    socket.subscribe(&channel(B2)).await;
    socket
        .send(&json!({"type": "unsubscribe", "data": {"channel": channel(B1)}}))
        .await;
    assert_eq!(
        socket.next().await,
        json!({"type": "unsubscribed", "data": {"channel": channel(B1)}})
    );
    app.book(&db, B1, "pendiente", 0).await;
    app.book(&db, B2, "pendiente", 0).await;
    assert_eq!(socket.next().await["channel"], channel(B2));
    socket.assert_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn read_permission_comes_from_claim_role_or_sql() {
    let app = TestApp::start().await;
    let exp = claims::now() + 60;
    let allowed = [
        json!({"id": OTHER_USER, "negocio_id": B1, "exp": exp}),
        json!({"id": OTHER_USER, "negocios": ["x", B1.to_uppercase()], "exp": exp}),
        json!({"id": OTHER_USER, "channels": [channel(B1)], "exp": exp}),
        json!({"id": OTHER_USER, "rol": "admin_sistema", "exp": exp}),
        json!({"id": OTHER_USER, "role": "admin_sistema", "exp": exp}),
        json!({"id": ADMIN_OF_B1, "exp": exp}),
        json!({"id": SYSTEM_ADMIN, "exp": exp}),
    ];
    for claims in &allowed {
        assert_eq!(
            app.connect_socket(&app.sign(claims))
                .await
                .subscribe(&channel(B1))
                .await["type"],
            "stats",
            "{claims}"
        );
    }
    let refused = [
        json!({"id": OTHER_USER, "exp": exp}),
        json!({"id": "no uuid at all", "exp": exp}),
        json!({"id": OTHER_USER, "negocio_id": B2, "exp": exp}),
        json!({"id": OTHER_USER, "rol": "cliente", "exp": exp}),
        json!({"id": OTHER_USER, "channels": [channel(B2)], "exp": exp}),
    ];
    for claims in &refused {
        let mut socket = app.connect_socket(&app.sign(claims)).await;
        socket
            .send(&json!({"type": "subscribe", "channel": channel(B1)}))
            .await;
        let frame = socket.next().await;
        assert_eq!(
            (
                &frame["type"],
                &frame["data"]["code"],
                &frame["data"]["channel"]
            ),
            (&json!("error"), &json!("forbidden"), &json!(channel(B1)))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_messages_get_errors_and_keep_the_connection() {
    let app = TestApp::with(|config| config.limits.channels = 2).await;
    let mut socket = app
        .connect_socket(
            &app.sign(
                &json!({"id": OTHER_USER, "rol": "admin_sistema", "exp": claims::now() + 60}),
            ),
        )
        .await;
    let cases: [(Value, &str); 10] = [
        (json!({"type": "subscribe"}), "bad_message"),
        (json!({"type": 7}), "bad_message"),
        (json!([]), "bad_message"),
        (json!({"type": "publish"}), "unknown_type"),
        (
            json!({"type": "subscribe", "channel": "citas:1"}),
            "unknown_channel",
        ),
        (
            json!({"type": "subscribe", "channel": "estadisticas"}),
            "unknown_channel",
        ),
        (
            json!({"type": "subscribe", "channel": "estadisticas:not-a-uuid"}),
            "invalid_key",
        ),
        (
            json!({"type": "unsubscribe", "channel": "citas:1"}),
            "unknown_channel",
        ),
        (
            json!({"type": "unsubscribe", "channel": "estadisticas:not-a-uuid"}),
            "invalid_key",
        ),
        (json!({"type": "auth", "data": {}}), "bad_message"),
    ];
    for (message, code) in cases {
        socket.send(&message).await;
        let frame = socket.next().await;
        assert_eq!(
            (&frame["type"], &frame["data"]["code"]),
            (&json!("error"), &json!(code)),
            "{message}"
        );
    }
    for _ in 0..2 {
        // Nothing was subscribed, and nothing is afterwards.
        socket
            .send(&json!({"type": "unsubscribe", "channel": channel(B1)}))
            .await;
        assert_eq!(
            socket.next().await,
            json!({"type": "unsubscribed", "data": {"channel": channel(B1)}})
        );
    }
    socket.send_raw(Message::text("{not json")).await;
    assert_eq!(socket.next().await["data"]["code"], "bad_message");
    socket.subscribe(&channel(B1)).await;
    socket.subscribe(&channel(B2)).await;
    socket
        .send(&json!({"type": "subscribe", "channel": channel(OTHER_USER)}))
        .await;
    assert_eq!(socket.next().await["data"]["code"], "too_many_channels");
    socket.assert_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn token_is_renewed_in_band_only_for_the_same_user() {
    let app = TestApp::start().await;
    let exp = claims::now() + 600;
    let mut socket = app
        .connect_socket(&app.sign(&json!({"id": OTHER_USER, "negocios": [B1, B2], "exp": exp})))
        .await;
    socket.subscribe(&channel(B1)).await;
    socket.subscribe(&channel(B2)).await;
    for bad in [app.token(ADMIN_OF_B1), "garbage".to_owned()] {
        socket
            .send(&json!({"type": "auth", "data": {"token": bad}}))
            .await;
        assert_eq!(socket.next().await["data"]["code"], "unauthorized");
    }
    let narrower = app.sign(&json!({"id": OTHER_USER, "negocios": [B2], "exp": exp + 7}));
    socket
        .send(&json!({"type": "auth", "data": {"token": narrower}}))
        .await;
    assert_eq!(
        socket.next().await,
        json!({"type": "authenticated", "data": {"expires_at": exp + 7}})
    );
    let lost = socket.next().await;
    assert_eq!(
        (&lost["data"]["code"], &lost["data"]["channel"]),
        (&json!("forbidden"), &json!(channel(B1)))
    );
    assert_eq!(socket.next().await["type"], "unsubscribed");
    let db = app.connect_database().await;
    app.book(&db, B1, "pendiente", 0).await;
    app.book(&db, B2, "pendiente", 0).await;
    assert_eq!(
        socket.next().await["channel"],
        channel(B2),
        "what the new token does not grant is gone"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn expiring_token_is_announced_and_closes_with_4401() {
    let app = TestApp::start().await;
    let exp = claims::now() + 3;
    let mut socket = app
        .connect_socket(&app.sign(&json!({"id": ADMIN_OF_B1, "exp": exp})))
        .await;
    assert_eq!(
        socket.next().await,
        json!({"type": "token_expiring", "data": {"at": exp}})
    );
    assert_eq!(socket.wait_for_close_code().await, Some(4401));
}

#[tokio::test(flavor = "multi_thread")]
async fn oversize_binary_and_flooding_messages_close_the_connection() {
    let app = TestApp::with(|config| {
        (
            config.limits.messages_per_second,
            config.limits.message_burst,
        ) = (1, 10)
    })
    .await;
    let token = app.token(ADMIN_OF_B1);
    let mut socket = app.connect_socket(&token).await;
    socket
        .send_raw(Message::text("x".repeat(16 * 1024 + 1)))
        .await;
    assert_eq!(socket.wait_for_close_code().await, Some(1009));
    let mut socket = app.connect_socket(&token).await;
    socket.send_raw(Message::binary(vec![1, 2, 3])).await;
    assert_eq!(socket.wait_for_close_code().await, Some(1003));
    let mut socket = app.connect_socket(&token).await;
    // The server may end the connection before the last message.
    for _ in 0..40 {
        if !socket.try_send(Message::text(r#"{"type":"ping"}"#)).await {
            break;
        }
    }
    assert_eq!(
        socket.next_of_type("error").await["data"]["code"],
        "rate_limited"
    );
    assert_eq!(socket.wait_for_close_code().await, Some(4429));
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_of_both_kinds_are_answered() {
    let app = TestApp::start().await;
    let mut socket = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    socket.send(&json!({"type": "ping"})).await;
    assert_eq!(socket.next().await, json!({"type": "pong"}));
    socket.send_raw(Message::Ping("hola".into())).await;
    socket.expect_pong(b"hola").await;
}
