//! Golden tests of every row of the contract.

use serde_json::json;

use super::{WorkspaceWorld, member_token, now, token};
use latido_http::{AppRequest, WebSocketApp as _};
use latido_shard::InBandUpgrade;

const SUCCESS: &str = r#"{"type":"auth_success"}"#;
const UNAUTHORIZED: &str = r#"{"type":"error","message":"Unauthorized"}"#;

#[test]
fn change_reaches_all_members_of_a_workspace() {
    let mut world = WorkspaceWorld::new();
    let [a, b, other] = [0; 3].map(|_| world.connect("").unwrap());
    world.auth(
        a,
        &json!(123),
        &json!(456),
        Some(member_token("456", &["123"])),
    );
    world.auth(
        b,
        &json!("123"),
        &json!("507f191e810c19729de860ea"),
        Some(member_token("507f191e810c19729de860ea", &["9", "123"])),
    );
    world.auth(
        other,
        &json!(124),
        &json!(456),
        Some(member_token("456", &["124"])),
    );
    assert_eq!(
        world.users("123"),
        r#"{"users":[456,"507f191e810c19729de860ea"]}"#
    );
    let body = r#"{"type":"create","entity":"Appointment","data":{"id": "1", "status": "nouă"}}"#;
    assert_eq!(
        world.post("/api/workspaces/123/notify", body),
        (200, r#"{"status":"notified"}"#.into())
    );
    let change = r#"{"type":"data_change","entity":"Appointment","action":"create","data":{"id": "1", "status": "nouă"}}"#;
    assert_eq!(
        (world.take_received(a), world.take_received(b)),
        (
            vec![SUCCESS.into(), change.into()],
            vec![SUCCESS.into(), change.into()]
        )
    );
    assert_eq!(world.take_received(other), [SUCCESS]);
    assert_eq!(
        world.post("/api/workspaces/123/broadcast", r#"{"message":"hi"}"#),
        (200, r#"{"status":"sent"}"#.into())
    );
    assert_eq!(
        (world.take_received(a), world.take_received(other)),
        (
            vec![r#"{"type":"broadcast","message":"hi"}"#.into()],
            vec![]
        )
    );
}

#[test]
fn direct_message_reaches_all_sockets_of_a_user() {
    let mut world = WorkspaceWorld::new();
    let [a, b, other] = [0; 3].map(|_| world.connect("").unwrap());
    world.auth(
        a,
        &json!(1),
        &json!(7),
        Some(member_token("7", &["1", "2"])),
    );
    world.auth(
        b,
        &json!(2),
        &json!("7"),
        Some(member_token("7", &["1", "2"])),
    );
    // A workspace with the same id as the user, and another user in it.
    world.auth(other, &json!(7), &json!(8), Some(member_token("8", &["7"])));
    let body = r#"{"message":{"type":"appointment_confirmed","appointment":{"_id":"5"}}}"#;
    assert_eq!(
        world.post("/api/users/7/message", body),
        (200, r#"{"status":"sent"}"#.into())
    );
    let message = r#"{"type":"direct_message","message":{"type":"appointment_confirmed","appointment":{"_id":"5"}}}"#;
    for client in [a, b] {
        assert_eq!(world.take_received(client), [SUCCESS, message]);
    }
    assert_eq!(world.take_received(other), [SUCCESS]);
}

#[test]
fn wrong_identity_is_refused_and_closed() {
    let good = member_token("456", &["123"]);
    let expired = {
        let claims =
            json!({"userId": "456", "workspaces": [{"workspaceId": "123"}], "exp": 1_000_000_000});
        let key = jsonwebtoken::EncodingKey::from_secret(super::SECRET.as_bytes());
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
    };
    let unsigned = format!("{}x", &good[..good.len() - 4]);
    for (workspace, user, token) in [
        (json!(123), json!(456), None),
        (json!(124), json!(456), Some(good.clone())),
        (json!(123), json!(457), Some(good.clone())),
        (json!(null), json!(456), Some(good.clone())),
        (json!(123), json!(""), Some(good.clone())),
        (json!({"$ne": 1}), json!(456), Some(good)),
        (json!(123), json!(456), Some(expired)),
        (json!(123), json!(456), Some(unsigned)),
        (json!(123), json!(456), Some(String::new())),
        (json!(123), json!(456), Some("a.b.c".into())),
        (
            json!(123),
            json!(456),
            Some(token(&json!({"userId": "456"}))),
        ),
    ] {
        let mut world = WorkspaceWorld::new();
        let client = world.connect("").unwrap();
        world.auth(client, &workspace, &user, token);
        assert_eq!(
            (world.take_received(client), world.close_code(client)),
            (vec![UNAUTHORIZED.into()], Some(4401)),
            "{workspace} {user}"
        );
        assert_eq!(world.shared.event_bus.totals().connections, 0);
    }
}

#[test]
fn upgrade_request_may_contain_the_token() {
    let mut world = WorkspaceWorld::new();
    let token = member_token("456", &["123"]);
    assert!(
        world.upgrade.claims_token(&token)
            && !world
                .upgrade
                .claims_token(&super::token(&json!({"id": "a"})))
    );
    let client = world.connect(&format!("?token={token}")).unwrap();
    world.auth(client, &json!(123), &json!(456), None);
    assert_eq!(world.take_received(client), [SUCCESS]);
    world.send(
        client,
        r#"{"type":"subscribe","data":{"channel":"estadisticas:1"}}"#,
    );
    assert_eq!(
        world.clients[&client].native_frames.len(),
        1,
        "the token is valid for the streams as well"
    );
    let response = world.connect(&format!("?token={token}x")).unwrap_err();
    assert_eq!(
        (response.status, response.body.as_ref()),
        (401, &br#"{"error":"Unauthorized"}"#[..])
    );
    let request =
        AppRequest::new("GET", "/ws").with_header("Authorization", &format!("Bearer {token}"));
    assert!(
        futures_util::FutureExt::now_or_never(latido_http::WebSocketApp::upgrade(
            &world.upgrade,
            request
        ))
        .unwrap()
        .is_ok()
    );
}

#[test]
fn streams_need_a_token() {
    let mut world = WorkspaceWorld::new();
    let subscribe = r#"{"type":"subscribe","data":{"channel":"estadisticas:1"}}"#;
    let anonymous = world.connect("").unwrap();
    world.send(anonymous, subscribe);
    assert_eq!(
        (world.take_received(anonymous), world.close_code(anonymous)),
        (vec![UNAUTHORIZED.into()], Some(4401))
    );
    let client = world.connect("").unwrap();
    world.auth(
        client,
        &json!(123),
        &json!(456),
        Some(member_token("456", &["123"])),
    );
    world.send(client, subscribe);
    world.send(client, r#"{"type":"auth","data":{"token":"a.b.c"}}"#);
    let connected = &world.clients[&client];
    assert_eq!(
        (
            connected.native_users.as_slice(),
            connected.native_frames.len()
        ),
        (&["456".to_owned()][..], 2)
    );
}

#[test]
fn native_client_may_send_a_workspace_auth() {
    let world = WorkspaceWorld::new();
    assert!(InBandUpgrade::matches(
        &world.upgrade,
        r#"{"type":"auth","workspace_id":1,"user_id":2}"#
    ));
    for other in [
        r#"{"type":"auth","data":{"token":"x"}}"#,
        r#"{"type":"hello"}"#,
        "{",
        r#"{"type":"subscribe"}"#,
    ] {
        assert!(!InBandUpgrade::matches(&world.upgrade, other), "{other}");
    }
}

#[test]
fn pings_and_invalid_frames_keep_the_connection_open() {
    let mut world = WorkspaceWorld::new();
    let client = world.connect("").unwrap();
    for (sent, reply) in [
        (r#"{"type":"ping"}"#, r#"{"type":"pong"}"#),
        ("{", r#"{"type":"error","message":"Invalid JSON format"}"#),
        ("[]", r#"{"type":"error","message":"Invalid JSON format"}"#),
        (
            r#"{"type":"hello"}"#,
            r#"{"type":"error","message":"Unknown message type"}"#,
        ),
        ("{}", r#"{"type":"error","message":"Unknown message type"}"#),
    ] {
        world.send(client, sent);
        assert_eq!(
            (world.take_received(client), world.close_code(client)),
            (vec![reply.into()], None),
            "{sent}"
        );
    }
}

#[test]
fn connection_without_auth_is_closed_after_ten_seconds() {
    let mut world = WorkspaceWorld::new();
    let client = world.connect("").unwrap();
    let deadline = world.clients[&client]
        .handler
        .as_ref()
        .unwrap()
        .next_timer()
        .unwrap();
    assert!((8..=10).contains(&(deadline - now().unix_s)));
    let at = |unix_s| latido_shard::Timestamp { unix_s };
    world.call_handler(client, |handler, actions| {
        handler.on_timer(at(deadline - 1), actions)
    });
    assert_eq!(world.close_code(client), None);
    world.call_handler(client, |handler, actions| {
        handler.on_timer(at(deadline), actions)
    });
    assert_eq!(
        (world.take_received(client), world.close_code(client)),
        (vec![UNAUTHORIZED.into()], Some(4401))
    );
}

#[test]
fn expired_token_closes_the_connection() {
    let mut world = WorkspaceWorld::new();
    let client = world.connect("").unwrap();
    world.auth(
        client,
        &json!(123),
        &json!(456),
        Some(member_token("456", &["123"])),
    );
    let ends_at = world.clients[&client]
        .handler
        .as_ref()
        .unwrap()
        .next_timer()
        .unwrap();
    assert!(ends_at > now().unix_s + 3_000);
    world.call_handler(client, |handler, actions| {
        handler.on_timer(latido_shard::Timestamp { unix_s: ends_at }, actions)
    });
    assert_eq!(world.close_code(client), Some(4401));
}
