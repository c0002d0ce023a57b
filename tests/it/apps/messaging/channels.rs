//! Complete servers with clients that speak the Phoenix protocol.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::apps::messaging::{
    ANA, CONVERSATION, EVA, OUTSIDER, PhoenixTestClient, channel, message, start_server,
};
use crate::harness::{TestApp, TestSocket, claims};

/// Sends an unrelated request and returns the frames received before its reply.
async fn frames_before_reply(device: &mut PhoenixTestClient) -> Vec<Value> {
    let topic = format!("user:{}", device.user);
    device
        .socket
        .send(&json!(["1", "unread", topic, "get_unread_messages", {}]))
        .await;
    let mut frames = Vec::new();
    loop {
        let frame = device.next_frame().await;
        if frame[1] == "unread" {
            return frames;
        }
        frames.push(frame);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_users_on_three_devices_get_every_message_once_and_in_order() {
    let (app, db) = start_server(&[]).await;
    let mut ana = PhoenixTestClient::connect_and_join(&app, ANA).await;
    let mut eva = PhoenixTestClient::connect_and_join(&app, EVA).await;
    let mut second_eva = PhoenixTestClient::connect_and_join(&app, EVA).await;
    for n in 0..20 {
        let (from, content) = if n % 2 == 0 {
            (&mut ana, format!("a{n}"))
        } else {
            (&mut eva, format!("e{n}"))
        };
        let answer = from.send(&content, n).await;
        assert_eq!(answer["response"]["message"]["content"], content.as_str());
    }
    let sql = format!(
        "INSERT INTO messages (conversation_id, sender_id, content) VALUES ('{CONVERSATION}', '{ANA}', 'last')"
    );
    db.batch_execute(&sql).await.unwrap();
    let expected: Vec<_> = (0..20)
        .map(|n| {
            if n % 2 == 0 {
                format!("a{n}")
            } else {
                format!("e{n}")
            }
        })
        .chain(["last".to_owned()])
        .collect();
    assert_eq!(
        second_eva.message_contents_until("last").await,
        expected,
        "written by SQL as well"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_returns_the_original_message_and_is_not_broadcast() {
    let (app, _db) = start_server(&[]).await;
    let mut ana = PhoenixTestClient::connect_and_join(&app, ANA).await;
    let mut eva = PhoenixTestClient::connect_and_join(&app, EVA).await;
    let first = ana.send("hola", 7).await;
    let again = ana.send("hola", 7).await;
    assert_eq!(
        first["response"]["message"]["id"],
        again["response"]["message"]["id"]
    );
    ana.send("otra", 7).await;
    assert_eq!(eva.message_contents_until("otra").await, ["hola", "otra"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_database_both_deliver() {
    let variables = [("LATIDO_APPS", "messaging")];
    let (app, _db) = start_server(&[]).await;
    let other = app.start_second_with(&variables).await;
    let mut ana = PhoenixTestClient::connect_and_join(&app, ANA).await;
    let mut eva = PhoenixTestClient::connect_and_join(&other, EVA).await;
    let mut here = PhoenixTestClient::connect_and_join(&app, EVA).await;
    for n in 0..5 {
        ana.send(&format!("{n}"), n).await;
    }
    // Without waiting for the reply, because the event may come before it.
    eva.socket
        .send(&json!([
            "1",
            "p9",
            channel(CONVERSATION),
            "new_message",
            message("last", 9)
        ]))
        .await;
    for device in [&mut eva, &mut here] {
        let received = device.message_contents_until("last").await;
        assert!(
            received.ends_with(&["last".to_owned()]) && received.len() <= 6,
            "{received:?}"
        );
    }
    assert_eq!(
        ana.message_contents_until("last")
            .await
            .last()
            .map(String::as_str),
        Some("last")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_member_is_disconnected_at_once() {
    let (app, db) = start_server(&[]).await;
    let mut ana = PhoenixTestClient::connect_and_join(&app, ANA).await;
    let mut eva = PhoenixTestClient::connect_and_join(&app, EVA).await;
    let sql = format!("UPDATE conversation_members SET is_active = false WHERE user_id = '{EVA}'");
    db.batch_execute(&sql).await.unwrap();
    eva.wait_for_event("phx_close").await;
    ana.send("secret", 1).await;
    ana.message_contents_until("secret").await;
    let received = frames_before_reply(&mut eva).await;
    assert!(
        received.iter().all(|frame| frame[3] != "new_message"),
        "{received:?}"
    );
    for event in ["new_message", "typing_start"] {
        assert_eq!(
            eva.push(event, &message("x", 1)).await["response"]["reason"],
            "unmatched topic"
        );
    }
    assert_eq!(
        eva.join(&channel(CONVERSATION)).await["response"]["reason"],
        "not_authorized"
    );
    db.batch_execute("UPDATE conversation_members SET is_active = true")
        .await
        .unwrap();
    assert_eq!(eva.join(&channel(CONVERSATION)).await["status"], "ok");
    ana.send("again", 2).await;
    assert_eq!(eva.message_contents_until("again").await, ["again"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_messages_stay_pending_until_acknowledged() {
    let (app, _db) = start_server(&[]).await;
    let mut ana = PhoenixTestClient::connect_and_join(&app, ANA).await;
    let sent = ana.send("hola", 1).await;
    let id = sent["response"]["message"]["id"].clone();
    for _ in 0..2 {
        let mut eva = PhoenixTestClient::connect(&app, EVA).await;
        eva.join(&format!("user:{EVA}")).await;
        let summaries = eva.wait_for_event("conversation_summaries").await;
        assert_eq!(summaries["summaries"][0]["unread_count"], 1);
        assert_eq!(eva.wait_for_event("pending_message").await["id"], id);
        assert_eq!(
            eva.wait_for_event("sync_complete").await["pending_count"],
            1
        );
        eva.socket.close().await;
    }
    let mut eva = PhoenixTestClient::connect_and_join(&app, EVA).await;
    let answer = eva
        .push("message_delivered", &json!({"message_id": id}))
        .await;
    assert_eq!(answer["response"], json!({"status": "delivered"}));
    let status = ana.wait_for_event("delivery_status").await;
    assert_eq!(
        (&status["messageId"], &status["status"]),
        (&id, &json!("delivered"))
    );
    let answer = eva.push("message_read", &json!({"message_id": id})).await;
    assert_eq!(answer["response"], json!({"status": "read"}));
    assert_eq!(ana.wait_for_event("message_read").await["messageId"], id);
    let mut again = PhoenixTestClient::connect(&app, EVA).await;
    again.join(&format!("user:{EVA}")).await;
    assert_eq!(
        again.wait_for_event("sync_complete").await["pending_count"],
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn message_supports_reaction_edit_and_delete() {
    let (app, _db) = start_server(&[]).await;
    let mut ana = PhoenixTestClient::connect_and_join(&app, ANA).await;
    let mut eva = PhoenixTestClient::connect_and_join(&app, EVA).await;
    let id = ana.send("hola", 1).await["response"]["message"]["id"].clone();
    let reaction = json!({"message_id": id, "reaction": "❤"});
    assert_eq!(
        eva.push("add_reaction", &reaction).await["response"]["reaction"]["reaction"],
        "❤"
    );
    assert_eq!(
        ana.wait_for_event("reaction_added").await["userId"],
        EVA.to_string()
    );
    assert_eq!(
        eva.push("remove_reaction", &reaction).await["response"],
        json!({"status": "removed"})
    );
    ana.wait_for_event("reaction_removed").await;
    let edited = ana
        .push(
            "edit_message",
            &json!({"message_id": id, "content": "nueva"}),
        )
        .await;
    assert_eq!(edited["response"]["message"]["content"], "nueva");
    assert_eq!(
        eva.wait_for_event("message_edited").await["message"]["content"],
        "nueva"
    );
    assert_eq!(
        eva.wait_for_event("message_updated").await["message"]["content"],
        "nueva"
    );
    let gone = ana
        .push(
            "delete_message",
            &json!({"message_id": id, "delete_for_everyone": true}),
        )
        .await;
    assert_eq!(gone["response"]["message"]["isDeleted"], true);
    assert_eq!(
        eva.wait_for_event("message_deleted").await["deleteForEveryone"],
        true
    );
    let other = eva
        .push_to(
            &format!("user:{EVA}"),
            "mark_conversation_read",
            &json!({"conversation_id": CONVERSATION}),
        )
        .await;
    assert_eq!(other["response"], json!({"messages_marked": 1}));
    assert_eq!(
        ana.wait_for_event("conversation_read").await["userId"],
        EVA.to_string()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_api_version_has_its_own_names_and_shapes() {
    let (app, _db) = start_server(&[("MESSAGING_DIALECT", "document")]).await;
    let mut ana = PhoenixTestClient::connect_and_join(&app, ANA).await;
    let mut eva = PhoenixTestClient::connect_and_join(&app, EVA).await;
    let mut new = PhoenixTestClient::connect_and_join(&app, EVA).await;
    // Its first push identifies it as a client of the newer API.
    new.push_to(
        &format!("user:{EVA}"),
        "update_status",
        &json!({"status": "away"}),
    )
    .await;
    let sent = ana.push("send_message", &message("hola", 1)).await;
    let id = sent["response"]["message_id"].clone();
    let notice = eva.wait_for_event("new_message").await;
    assert_eq!(
        (&notice["message_id"], &notice["content"]),
        (&id, &json!("aG9sYQ==")),
        "flat, and in base64"
    );
    assert_eq!(
        new.message_contents_until("hola").await,
        ["hola"],
        "other clients still receive it"
    );
    ana.socket
        .send(&json!(["1", "9", channel(CONVERSATION), "typing_start", {}]))
        .await;
    assert_eq!(
        eva.wait_for_event("typing_indicator").await["action"],
        "start"
    );
    assert_eq!(new.wait_for_event("user_typing").await["typing"], true);
    // The client sends no event for the end of typing.
    app.clock()
        .set(app.clock().now() + jiff::SignedDuration::from_secs(11));
    assert_eq!(
        eva.wait_for_event("typing_indicator").await["action"],
        "stop"
    );
    let read = eva.push("mark_as_read", &json!({"message_id": id})).await;
    assert_eq!(read["response"], json!({"marked_read": true}));
    assert_eq!(ana.wait_for_event("read_receipt").await["message_id"], id);
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_starts_with_a_list_and_continues_with_changes() {
    let (app, _db) = start_server(&[]).await;
    let mut ana = PhoenixTestClient::connect_and_join(&app, ANA).await;
    let state = ana.wait_for_event("presence_state").await;
    assert_eq!(
        state[ANA.to_string()]["metas"].as_array().map(Vec::len),
        Some(1),
        "oneself included"
    );
    let eva = PhoenixTestClient::connect_and_join(&app, EVA).await;
    let diff = ana.wait_for_event("presence_diff").await;
    assert_eq!(
        diff["joins"][EVA.to_string()]["metas"][0]["conversation_id"],
        CONVERSATION.to_string()
    );
    assert_eq!(
        ana.wait_for_event("user_joined").await["user_id"],
        EVA.to_string()
    );
    let notice = ana.wait_for_event("user_presence_changed").await;
    assert_eq!(
        (&notice["user_id"], &notice["status"]),
        (&json!(EVA), &json!("online"))
    );
    eva.socket.close().await;
    assert!(ana.wait_for_event("presence_diff").await["leaves"][EVA.to_string()].is_object());
    ana.wait_for_event("user_left").await;
    assert_eq!(
        ana.wait_for_event("user_presence_changed").await["status"],
        "offline"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_listener_connection_loses_no_message() {
    let (app, db) = start_server(&[]).await;
    let mut ana = PhoenixTestClient::connect_and_join(&app, ANA).await;
    for n in 0..5 {
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid() AND (query LIKE 'LISTEN%' OR query = '')";
        db.batch_execute(kill).await.unwrap();
        let sql = format!(
            "INSERT INTO messages (conversation_id, sender_id, content) VALUES ('{CONVERSATION}', '{EVA}', 'm{n}')"
        );
        db.batch_execute(&sql).await.unwrap();
    }
    assert_eq!(
        ana.message_contents_until("m4").await,
        ["m0", "m1", "m2", "m3", "m4"]
    );
}

async fn upgrade_status(app: &TestApp, path: &str, headers: &[(&'static str, &str)]) -> u16 {
    TestSocket::try_connect(&format!("ws://{}{path}", app.address()), headers)
        .await
        .map_or_else(|status| status, |_| 101)
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_requires_a_valid_token_and_version() {
    let (app, _db) = start_server(&[]).await;
    drop(PhoenixTestClient::connect(&app, ANA).await);
    let now = claims::now();
    let good = app.sign(&json!({"sub": ANA, "exp": now + 60}));
    for path in ["/socket/websocket", "/messaging/socket/websocket"] {
        assert_eq!(
            upgrade_status(
                &app,
                &format!("{path}?token={good}&vsn=2.0.0&user_id=x"),
                &[]
            )
            .await,
            101
        );
        assert_eq!(
            upgrade_status(&app, &format!("{path}?token={good}"), &[]).await,
            101
        );
        assert_eq!(
            upgrade_status(&app, &format!("{path}?token={good}&vsn=9.0.0"), &[]).await,
            403
        );
        assert_eq!(upgrade_status(&app, path, &[]).await, 403);
    }
    for claims in [
        json!({"sub": "not a uuid", "exp": now + 60}),
        json!({"id": ANA, "exp": now + 60}),
        json!({"sub": ANA, "exp": now - 60}),
        json!({"sub": ANA}),
    ] {
        assert_eq!(
            upgrade_status(
                &app,
                &format!("/socket/websocket?token={}", app.sign(&claims)),
                &[]
            )
            .await,
            403,
            "{claims}"
        );
    }
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD_NO_PAD, &good);
    let offered = format!("phoenix, base64url.bearer.phx.{encoded}");
    assert_eq!(
        upgrade_status(
            &app,
            "/socket/websocket?vsn=2.0.0",
            &[("sec-websocket-protocol", &offered)]
        )
        .await,
        101
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_token_closes_with_4001() {
    let (app, _db) = start_server(&[]).await;
    let mut ana = PhoenixTestClient::connect_and_join(&app, ANA).await;
    app.clock()
        .set(app.clock().now() + jiff::SignedDuration::from_secs(3700));
    assert_eq!(ana.socket.wait_for_close_code().await, Some(4001));
}

#[tokio::test(flavor = "multi_thread")]
async fn non_members_cannot_join() {
    let (app, _db) = start_server(&[]).await;
    let mut other = PhoenixTestClient::connect(&app, OUTSIDER).await;
    assert_eq!(
        other.join(&channel(CONVERSATION)).await["response"]["reason"],
        "not_authorized"
    );
    assert_eq!(
        other.join(&channel(Uuid::nil())).await["response"]["reason"],
        "conversation_not_found"
    );
    assert_eq!(
        other.join(&format!("user:{ANA}")).await["response"]["reason"],
        "unauthorized"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limited_message_is_refused_with_the_wait_time() {
    let (app, _db) = start_server(&[("MESSAGING_MESSAGES_PER_HOUR", "2")]).await;
    let mut ana = PhoenixTestClient::connect_and_join(&app, ANA).await;
    for n in 0..2 {
        assert_eq!(ana.send("x", n).await["status"], "ok");
    }
    let answer = ana.send("x", 3).await;
    assert_eq!(answer["response"]["reason"], "rate_limit_exceeded");
    assert!(
        answer["response"]["retry_after"]
            .as_i64()
            .is_some_and(|seconds| seconds > 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_closes_with_1012() {
    let (mut app, _db) = start_server(&[]).await;
    let mut ana = PhoenixTestClient::connect_and_join(&app, ANA).await;
    let (in_time, code) = tokio::join!(app.stop(), ana.socket.wait_for_close_code());
    assert_eq!((in_time, code), (true, Some(1012)));
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_reports_missing_tables() {
    let (app, db) = start_server(&[]).await;
    let findings = app.doctor_findings(&[("LATIDO_APPS", "messaging")]).await;
    assert!(
        findings
            .iter()
            .any(|finding| finding.contains("messaging") && finding.contains("tables are there")),
        "{findings:?}"
    );
    db.batch_execute("DROP TABLE messaging_changes")
        .await
        .unwrap();
    let findings = app.doctor_findings(&[("LATIDO_APPS", "messaging")]).await;
    assert!(
        findings
            .iter()
            .any(|finding| finding.contains("latido install")),
        "{findings:?}"
    );
}
