//! Every row of the contract, golden.

use serde_json::json;

use super::{Config, World, member_token, now, token};
use crate::auth::TokenError;
use crate::http::{Asked, Pier as _};
use crate::shard::Interpreter as _;

const SUCCESS: &str = r#"{"type":"auth_success"}"#;
const UNAUTHORIZED: &str = r#"{"type":"error","message":"Unauthorized"}"#;

#[test]
fn everybody_of_a_workspace_is_told_of_a_change() {
    let mut world = World::new();
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
        (world.told(a), world.told(b)),
        (
            vec![SUCCESS.into(), change.into()],
            vec![SUCCESS.into(), change.into()]
        )
    );
    assert_eq!(world.told(other), [SUCCESS]);
    assert_eq!(
        world.post("/api/workspaces/123/broadcast", r#"{"message":"hi"}"#),
        (200, r#"{"status":"sent"}"#.into())
    );
    assert_eq!(
        (world.told(a), world.told(other)),
        (
            vec![r#"{"type":"broadcast","message":"hi"}"#.into()],
            vec![]
        )
    );
}

#[test]
fn a_direct_message_reaches_all_sockets_of_a_user() {
    let mut world = World::new();
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
    // A workspace of the same id as the user, and another user.
    world.auth(other, &json!(7), &json!(8), Some(member_token("8", &["7"])));
    let body = r#"{"message":{"type":"appointment_confirmed","appointment":{"_id":"5"}}}"#;
    assert_eq!(
        world.post("/api/users/7/message", body),
        (200, r#"{"status":"sent"}"#.into())
    );
    let message = r#"{"type":"direct_message","message":{"type":"appointment_confirmed","appointment":{"_id":"5"}}}"#;
    for client in [a, b] {
        assert_eq!(world.told(client), [SUCCESS, message]);
    }
    assert_eq!(world.told(other), [SUCCESS]);
}

#[test]
fn a_wrong_identity_is_told_so_and_closed() {
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
        let mut world = World::new();
        let client = world.connect("").unwrap();
        world.auth(client, &workspace, &user, token);
        assert_eq!(
            (world.told(client), world.closed(client)),
            (vec![UNAUTHORIZED.into()], Some(4401)),
            "{workspace} {user}"
        );
        assert_eq!(world.shared.exchange.totals().connections, 0);
    }
}

#[test]
fn a_token_may_come_with_the_request() {
    let mut world = World::new();
    let token = member_token("456", &["123"]);
    assert!(
        world.entrance.wants(&token) && !world.entrance.wants(&super::token(&json!({"id": "a"})))
    );
    let client = world.connect(&format!("?token={token}")).unwrap();
    world.auth(client, &json!(123), &json!(456), None);
    assert_eq!(world.told(client), [SUCCESS]);
    world.say(
        client,
        r#"{"type":"subscribe","data":{"channel":"estadisticas:1"}}"#,
    );
    assert_eq!(
        world.clients[&client].native.len(),
        1,
        "the token is good for the streams as well"
    );
    let refused = world.connect(&format!("?token={token}x")).unwrap_err();
    assert_eq!(
        (refused.status, refused.body.as_ref()),
        (401, &br#"{"error":"Unauthorized"}"#[..])
    );
    let asked = Asked::new("GET", "/ws").with_header("Authorization", &format!("Bearer {token}"));
    assert!(
        futures_util::FutureExt::now_or_never(crate::http::Pier::board(&world.entrance, asked))
            .unwrap()
            .is_ok()
    );
}

#[test]
fn streams_are_for_whoever_has_shown_a_token() {
    let mut world = World::new();
    let subscribe = r#"{"type":"subscribe","data":{"channel":"estadisticas:1"}}"#;
    let nobody = world.connect("").unwrap();
    world.say(nobody, subscribe);
    assert_eq!(
        (world.told(nobody), world.closed(nobody)),
        (vec![UNAUTHORIZED.into()], Some(4401))
    );
    let client = world.connect("").unwrap();
    world.auth(
        client,
        &json!(123),
        &json!(456),
        Some(member_token("456", &["123"])),
    );
    world.say(client, subscribe);
    world.say(client, r#"{"type":"auth","data":{"token":"a.b.c"}}"#);
    let seen = &world.clients[&client];
    assert_eq!(
        (seen.entered.as_slice(), seen.native.len()),
        (&["456".to_owned()][..], 2)
    );
}

#[test]
fn a_streams_client_may_say_who_it_is_here_too() {
    let world = World::new();
    assert!(
        world
            .entrance
            .knows(r#"{"type":"auth","workspace_id":1,"user_id":2}"#)
    );
    for other in [
        r#"{"type":"auth","data":{"token":"x"}}"#,
        r#"{"type":"hello"}"#,
        "{",
        r#"{"type":"subscribe"}"#,
    ] {
        assert!(!world.entrance.knows(other), "{other}");
    }
}

#[test]
fn small_talk_is_answered_and_the_connection_stays() {
    let mut world = World::new();
    let client = world.connect("").unwrap();
    for (said, answer) in [
        (r#"{"type":"ping"}"#, r#"{"type":"pong"}"#),
        ("{", r#"{"type":"error","message":"Invalid JSON format"}"#),
        ("[]", r#"{"type":"error","message":"Invalid JSON format"}"#),
        (
            r#"{"type":"hello"}"#,
            r#"{"type":"error","message":"Unknown message type"}"#,
        ),
        ("{}", r#"{"type":"error","message":"Unknown message type"}"#),
    ] {
        world.say(client, said);
        assert_eq!(
            (world.told(client), world.closed(client)),
            (vec![answer.into()], None),
            "{said}"
        );
    }
}

#[test]
fn whoever_says_nothing_is_closed_in_ten_seconds() {
    let mut world = World::new();
    let client = world.connect("").unwrap();
    let deadline = world.clients[&client]
        .guest
        .as_ref()
        .unwrap()
        .next_time()
        .unwrap();
    assert!((8..=10).contains(&(deadline - now().unix_s)));
    let at = |unix_s| crate::shard::Now { unix_s };
    world.call(client, |guest, acts| guest.on_time(at(deadline - 1), acts));
    assert_eq!(world.closed(client), None);
    world.call(client, |guest, acts| guest.on_time(at(deadline), acts));
    assert_eq!(
        (world.told(client), world.closed(client)),
        (vec![UNAUTHORIZED.into()], Some(4401))
    );
}

#[test]
fn a_tokens_end_is_the_end() {
    let mut world = World::new();
    let client = world.connect("").unwrap();
    world.auth(
        client,
        &json!(123),
        &json!(456),
        Some(member_token("456", &["123"])),
    );
    let ends_at = world.clients[&client]
        .guest
        .as_ref()
        .unwrap()
        .next_time()
        .unwrap();
    assert!(ends_at > now().unix_s + 3_000);
    world.call(client, |guest, acts| {
        guest.on_time(crate::shard::Now { unix_s: ends_at }, acts)
    });
    assert_eq!(world.closed(client), Some(4401));
}

#[test]
fn a_new_identity_takes_nothing_along() {
    let mut world = World::new();
    let client = world.connect("").unwrap();
    world.auth(
        client,
        &json!(1),
        &json!(7),
        Some(member_token("7", &["1"])),
    );
    world.post("/api/workspaces/1/broadcast", r#"{"message":1}"#);
    // Not delivered yet when the identity changes: it was theirs, and comes before the answer.
    world.auth(
        client,
        &json!(2),
        &json!(8),
        Some(member_token("8", &["2"])),
    );
    world.say(client, r#"{"type":"ping"}"#);
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
        world.told(client),
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
fn trust_is_a_switch() {
    let mut world = World::with(Config {
        trusts_client_ids: true,
        ..Config::default()
    });
    let client = world.connect("").unwrap();
    world.auth(client, &json!(123), &json!(456), None);
    assert_eq!(
        (world.told(client), world.users("123")),
        (vec![SUCCESS.into()], r#"{"users":[456]}"#.into())
    );
    world.say(
        client,
        r#"{"type":"subscribe","data":{"channel":"estadisticas:1"}}"#,
    );
    assert_eq!(
        world.closed(client),
        Some(4401),
        "trusted ids open no stream"
    );
    let liar = world.connect("").unwrap();
    world.auth(
        liar,
        &json!(123),
        &json!(456),
        Some(member_token("457", &["123"])),
    );
    assert_eq!(
        world.closed(liar),
        Some(4401),
        "a token is never passed over"
    );
}

#[test]
fn presence_counts_users_and_not_sockets() {
    let mut world = World::new();
    let clients = [0; 3].map(|_| world.connect("").unwrap());
    for client in clients {
        world.auth(
            client,
            &json!(1),
            &json!(7),
            Some(member_token("7", &["1"])),
        );
    }
    for client in clients {
        assert_eq!(world.users("1"), r#"{"users":[7]}"#);
        world.disconnect(client);
    }
    assert_eq!(world.users("1"), r#"{"users":[]}"#);
    assert_eq!(
        world.shared.exchange.totals(),
        crate::hub::exchange::Totals::default()
    );
}

#[test]
fn refusals_of_calls() {
    let world = World::new();
    let unauthorized = (401, r#"{"error":"Unauthorized"}"#.to_owned());
    for path in [
        "/api/workspaces/1/notify",
        "/api/workspaces/1/broadcast",
        "/api/users/1/message",
    ] {
        assert_eq!(
            world.ask(Asked::new("POST", path).with_body(r#"{"message":1}"#)),
            unauthorized
        );
        for key in ["", "default-api-key", "a publisher's key2"] {
            assert_eq!(
                world.ask(Asked::new("POST", path).with_header("X-API-Key", key)),
                unauthorized,
                "{key}"
            );
        }
        assert_eq!(
            world.ask(Asked::new("GET", path)),
            (405, r#"{"error":"Method not allowed"}"#.into())
        );
        assert_eq!(
            world.post(path, "{"),
            (400, r#"{"error":"Invalid JSON"}"#.into())
        );
        let (status, body) = world.post(path, r#"{"type":1}"#);
        assert!(status == 400 && body.contains("expected"), "{body}");
    }
    assert_eq!(
        world.ask(Asked::new("GET", "/api/workspaces/1/users")),
        unauthorized
    );
    for path in [
        "/api",
        "/api/",
        "/api/workspaces",
        "/api/workspaces//notify",
        "/api/workspaces/%0a/notify",
        "/api/workspaces/1/x",
        "/api/users/1",
    ] {
        assert_eq!(
            world.post(path, "{}"),
            (404, r#"{"error":"Not found"}"#.into()),
            "{path}"
        );
    }
    let (status, body) = world.ask(Asked::new("GET", "/api/health"));
    assert!(
        status == 200 && body.starts_with(r#"{"status":"ok","timestamp":""#),
        "{body}"
    );
    assert_eq!(
        crate::http::Site::refuse(&world.site, 413, "too_large", "the body is too large").status,
        413
    );
}

#[test]
fn ids_in_paths_are_decoded() {
    let mut world = World::new();
    let client = world.connect("").unwrap();
    world.auth(
        client,
        &json!("a b/ñ"),
        &json!("7"),
        Some(member_token("7", &["a b/ñ"])),
    );
    world.post(
        "/api/workspaces/a%20b%2F%C3%B1/broadcast",
        r#"{"message":1}"#,
    );
    assert_eq!(
        world.told(client),
        [SUCCESS, r#"{"type":"broadcast","message":1}"#]
    );
}

#[test]
fn what_is_said_while_a_token_is_verified_waits_for_it() {
    use std::sync::{Arc, Mutex};
    let mut world = World::new();
    let client = world.connect("").unwrap();
    // A signature that only an issuer's key could have made: somebody else must look.
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
    let token = format!(
        "{}.e30.AA",
        base64::Engine::encode(
            &base64::engine::general_purpose::URL_SAFE_NO_PAD,
            json!(header).to_string()
        )
    );
    let asked = Arc::new(Mutex::new(0));
    let guest = world
        .clients
        .get_mut(&client)
        .unwrap()
        .guest
        .as_mut()
        .unwrap();
    let mut ask = |_| {
        *asked.lock().unwrap() += 1;
        true
    };
    let mut acts = crate::shard::Acts::new(&mut ask);
    let frame =
        json!({"type": "auth", "workspace_id": 1, "user_id": 7, "token": token}).to_string();
    guest.hear(crate::shard::Heard::Text(&frame), now(), &mut acts);
    guest.hear(
        crate::shard::Heard::Text(r#"{"type":"ping"}"#),
        now(),
        &mut acts,
    );
    guest.hear(
        crate::shard::Heard::Text(r#"{"type":"subscribe","channel":"estadisticas:1"}"#),
        now(),
        &mut acts,
    );
    assert!(acts.into_acts().is_empty());
    assert_eq!(*asked.lock().unwrap(), 1);
    let opened = world
        .shared
        .verifier
        .open_at_once(
            &member_token("7", &["1"]),
            &super::super::claims::USER_CLAIMS,
        )
        .unwrap();
    world.call(client, |guest, acts| {
        guest.answered(Box::new(opened), now(), acts)
    });
    assert_eq!(world.told(client), [SUCCESS, r#"{"type":"pong"}"#]);
    assert_eq!(world.clients[&client].native.len(), 1);
    let late = Err::<crate::auth::Opened, _>(TokenError::KeysUnavailable);
    world.call(client, |guest, acts| {
        guest.answered(Box::new(late), now(), acts)
    });
    assert_eq!(world.closed(client), None, "an answer to nothing is none");
}
