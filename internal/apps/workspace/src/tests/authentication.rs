//! Golden tests of authentication, in the upgrade request and in the first message.

use serde_json::json;

use super::{Config, WorkspaceWorld, member_token, now, token};
use latido_auth::TokenError;
use latido_http::{AppRequest, WebSocketApp as _};

const SUCCESS: &str = r#"{"type":"auth_success"}"#;
const UNAUTHORIZED: &str = r#"{"type":"error","message":"Unauthorized"}"#;

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

#[test]
fn new_identity_ends_the_previous_membership() {
    let mut world = WorkspaceWorld::new();
    let client = world.connect("").unwrap();
    world.auth(
        client,
        &json!(1),
        &json!(7),
        Some(member_token("7", &["1"])),
    );
    world.post("/api/workspaces/1/broadcast", r#"{"message":1}"#);
    // Not delivered yet when the identity changes: the message was the previous user's, so it must
    // arrive before the reply.
    world.auth(
        client,
        &json!(2),
        &json!(8),
        Some(member_token("8", &["2"])),
    );
    world.send(client, r#"{"type":"ping"}"#);
    for path in [
        "workspaces/1/broadcast",
        "users/7/message",
        "workspaces/2/broadcast",
        "users/8/message",
    ] {
        world.post(&format!("/api/{path}"), r#"{"message":2}"#);
    }
    let [broadcast, direct] =
        ["broadcast", "direct_message"].map(|kind| format!(r#"{{"type":"{kind}","message":2}}"#));
    let first = r#"{"type":"broadcast","message":1}"#;
    assert_eq!(
        world.take_received(client),
        [
            SUCCESS,
            first,
            SUCCESS,
            r#"{"type":"pong"}"#,
            &broadcast,
            &direct
        ]
    );
    assert_eq!(
        (world.users("1"), world.users("2")),
        (r#"{"users":[]}"#.into(), r#"{"users":[8]}"#.into())
    );
}

#[test]
fn client_ids_are_trusted_only_if_configured() {
    let mut world = WorkspaceWorld::with(Config {
        trusts_client_ids: true,
        ..Config::default()
    });
    let client = world.connect("").unwrap();
    world.auth(client, &json!(123), &json!(456), None);
    assert_eq!(
        (world.take_received(client), world.users("123")),
        (vec![SUCCESS.into()], r#"{"users":[456]}"#.into())
    );
    world.send(
        client,
        r#"{"type":"subscribe","data":{"channel":"estadisticas:1"}}"#,
    );
    assert_eq!(
        world.close_code(client),
        Some(4401),
        "trusted ids open no stream"
    );
    let impostor = world.connect("").unwrap();
    world.auth(
        impostor,
        &json!(123),
        &json!(456),
        Some(member_token("457", &["123"])),
    );
    assert_eq!(
        world.close_code(impostor),
        Some(4401),
        "a token is never ignored"
    );
}

#[test]
fn messages_wait_while_a_token_is_verified() {
    use std::sync::{Arc, Mutex};
    let mut world = WorkspaceWorld::new();
    let client = world.connect("").unwrap();
    // Only an issuer's key can verify this algorithm, so the handler starts an asynchronous check.
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
    let token = format!(
        "{}.e30.AA",
        base64::Engine::encode(
            &base64::engine::general_purpose::URL_SAFE_NO_PAD,
            json!(header).to_string()
        )
    );
    let spawned = Arc::new(Mutex::new(0));
    let handler = world
        .clients
        .get_mut(&client)
        .unwrap()
        .handler
        .as_mut()
        .unwrap();
    let mut spawn = |_| {
        *spawned.lock().unwrap() += 1;
        true
    };
    let mut actions = latido_shard::Actions::new(&mut spawn);
    let frame =
        json!({"type": "auth", "workspace_id": 1, "user_id": 7, "token": token}).to_string();
    handler.on_message(
        latido_shard::ClientMessage::Text(&frame),
        now(),
        &mut actions,
    );
    handler.on_message(
        latido_shard::ClientMessage::Text(r#"{"type":"ping"}"#),
        now(),
        &mut actions,
    );
    handler.on_message(
        latido_shard::ClientMessage::Text(r#"{"type":"subscribe","channel":"estadisticas:1"}"#),
        now(),
        &mut actions,
    );
    assert!(actions.into_actions().is_empty());
    assert_eq!(*spawned.lock().unwrap(), 1);
    let verified = world
        .shared
        .verifier
        .try_verify_claims(
            &member_token("7", &["1"]),
            &super::super::claims::USER_CLAIMS,
        )
        .unwrap();
    world.call_handler(client, |handler, actions| {
        handler.on_async_result(Box::new(verified), now(), actions)
    });
    assert_eq!(world.take_received(client), [SUCCESS, r#"{"type":"pong"}"#]);
    assert_eq!(world.clients[&client].native_frames.len(), 1);
    let late = Err::<latido_auth::VerifiedToken, _>(TokenError::KeysUnavailable);
    world.call_handler(client, |handler, actions| {
        handler.on_async_result(Box::new(late), now(), actions)
    });
    assert_eq!(world.close_code(client), None, "a late result is ignored");
}
