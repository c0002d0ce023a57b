//! Tests of connections that change their identity, or wait for it.

use serde_json::json;

use super::{Config, WorkspaceWorld, member_token, now};
use latido_auth::TokenError;

const SUCCESS: &str = r#"{"type":"auth_success"}"#;

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
