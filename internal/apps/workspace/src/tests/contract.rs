//! Golden tests of every row of the contract.

use serde_json::json;

use super::{WorkspaceWorld, member_token};
use latido_shard::InBandUpgrade;

const SUCCESS: &str = r#"{"type":"auth_success"}"#;

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
