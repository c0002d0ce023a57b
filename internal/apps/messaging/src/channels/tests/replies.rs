//! Tests of the reply to every kind of push.

use serde_json::json;

use super::*;
use ClientApiVersion::{Current, Documented};

/// Pushes an event on a joined conversation, completes its operation and checks the reply.
#[track_caller]
fn assert_reply(
    version: ClientApiVersion,
    event: &str,
    payload: &Value,
    response: StoreResponse,
    expected: (String, Value),
) {
    let mut harness = SessionHarness::joined(version);
    harness.push(event, payload);
    assert!(
        matches!(harness.take_effects()[..], [ChannelEffect::Execute(_)]),
        "{event}"
    );
    harness.complete(Ok(response));
    assert_eq!(harness.take_reply(), expected, "{event}");
}

fn send_push() -> Value {
    json!({"message_type": "text", "content": "hola", "client_random": 7})
}

fn message_push() -> Value {
    json!({"message_id": ID})
}

fn reaction_push() -> Value {
    json!({"message_id": ID, "reaction": "❤"})
}

fn message() -> StoreResponse {
    StoreResponse::Message(WriteOutcome::Applied {
        message: Box::new(test_message("hola")),
        is_new: true,
    })
}

fn refused(reason: &str) -> StoreResponse {
    StoreResponse::Message(WriteOutcome::Rejected(reason.into()))
}

fn reaction() -> StoreResponse {
    StoreResponse::Reaction(ReactionOutcome::Added(MessageReaction {
        id: Uuid::from_u128(5),
        message_id: Uuid::from_u128(0xa),
        user_id: ME,
        reaction: "❤".into(),
        at_us: 0,
    }))
}

/// Returns the message in the reply to a client of the current version.
fn current_message() -> Value {
    json!({"message": crate::payload::message_json(&test_message("hola"), Current)})
}

fn rejected(reason: &str) -> (String, Value) {
    error(json!({"reason": reason}))
}

#[test]
fn golden_replies_to_sent_messages() {
    let sent = ok(json!({"message_id": ID, "sent_at": "2023-11-14T22:13:20Z"}));
    assert_reply(Documented, "send_message", &send_push(), message(), sent);
    assert_reply(
        Documented,
        "send_message",
        &send_push(),
        refused("forbidden"),
        rejected("not_a_member"),
    );
    assert_reply(
        Current,
        "new_message",
        &send_push(),
        message(),
        ok(current_message()),
    );
    assert_reply(
        Current,
        "new_message",
        &send_push(),
        refused("forbidden"),
        rejected("not_authorized"),
    );
}

#[test]
fn golden_replies_to_read_and_delivered_messages() {
    assert_reply(
        Documented,
        "mark_as_read",
        &message_push(),
        StoreResponse::Done(None),
        ok(json!({"marked_read": true})),
    );
    assert_reply(
        Current,
        "message_read",
        &message_push(),
        StoreResponse::Done(None),
        ok(json!({"status": "read"})),
    );
    assert_reply(
        Current,
        "mark_read",
        &message_push(),
        StoreResponse::Done(Some("message_not_found".into())),
        rejected("message_not_found"),
    );
    assert_reply(
        Current,
        "message_delivered",
        &message_push(),
        StoreResponse::Done(None),
        ok(json!({"status": "delivered"})),
    );
}

#[test]
fn golden_replies_to_reactions() {
    let current_reaction = json!({"reaction": {"id": Uuid::from_u128(5), "messageId": ID, "userId": ME, "reaction": "❤", "insertedAt": "1970-01-01T00:00:00Z"}});
    assert_reply(
        Documented,
        "add_reaction",
        &reaction_push(),
        reaction(),
        ok(json!({"reaction_added": true})),
    );
    assert_reply(
        Current,
        "add_reaction",
        &reaction_push(),
        reaction(),
        ok(current_reaction),
    );
    assert_reply(
        Current,
        "add_reaction",
        &reaction_push(),
        StoreResponse::Reaction(ReactionOutcome::Rejected("duplicate".into())),
        error(json!({"errors": {"reaction": ["has already been taken"]}})),
    );
    assert_reply(
        Documented,
        "remove_reaction",
        &reaction_push(),
        StoreResponse::Done(None),
        ok(json!({"reaction_removed": true})),
    );
    assert_reply(
        Current,
        "remove_reaction",
        &reaction_push(),
        StoreResponse::Done(None),
        ok(json!({"status": "removed"})),
    );
    assert_reply(
        Current,
        "remove_reaction",
        &reaction_push(),
        StoreResponse::Done(Some("reaction_not_found".into())),
        rejected("reaction_not_found"),
    );
}

#[test]
fn golden_replies_to_changed_messages() {
    let edit = json!({"message_id": ID, "content": "x"});
    let delete = json!({"message_id": ID, "delete_for_everyone": true});
    assert_reply(
        Current,
        "edit_message",
        &edit,
        message(),
        ok(current_message()),
    );
    assert_reply(
        Current,
        "edit_message",
        &edit,
        refused("message_not_editable"),
        rejected("message_not_editable"),
    );
    assert_reply(
        Current,
        "delete_message",
        &delete,
        message(),
        ok(current_message()),
    );
    assert_reply(
        Current,
        "delete_message",
        &message_push(),
        refused("message_not_deletable"),
        rejected("message_not_deletable"),
    );
}

#[test]
fn golden_replies_on_a_users_channel() {
    let mut harness = SessionHarness::new(Current);
    harness.receive(&format!(r#"["1","1","{MY_CHANNEL}","phx_join",{{}}]"#));
    harness.complete(Ok(StoreResponse::UserSync(vec![], vec![])));
    harness.take_effects();
    let mut push = |event: &str, payload: Value, response: Option<StoreResponse>| {
        harness.receive(&json!(["1", "2", MY_CHANNEL, event, payload]).to_string());
        if let Some(response) = response {
            harness.complete(Ok(response));
        }
        harness.take_frames()
    };
    assert_eq!(
        push("ping", json!({"timestamp": 5}), None),
        [ok(json!({"pong": 5}))]
    );
    assert_eq!(
        push("update_status", json!({"status": "busy"}), None),
        [ok(json!({"status": "busy"}))]
    );
    assert_eq!(
        push("update_status", json!({"status": "x"}), None),
        [error(json!({"reason": "invalid_status"}))]
    );
    assert_eq!(push("update_presence", json!({"status": "away"}), None), []);
    assert_eq!(
        push("nonsense", json!({}), None),
        [error(json!({"reason": "unknown_event"}))]
    );
    assert_eq!(
        push("ping", json!(7), None),
        [error(json!({"reason": "invalid_payload"}))]
    );
    let id = Uuid::from_u128(0xc);
    let marked = || StoreResponse::MarkedRead(vec![(id, Some(3))]);
    let results =
        json!({"results": [{"conversation_id": id, "status": "ok", "messages_marked": 3}]});
    assert_eq!(
        push(
            "mark_all_read",
            json!({"conversation_ids": [id]}),
            Some(marked())
        ),
        [ok(results)]
    );
    let read = push(
        "mark_conversation_read",
        json!({"conversation_id": id}),
        Some(marked()),
    );
    assert_eq!(read, [ok(json!({"messages_marked": 3}))]);
    assert_eq!(
        push(
            "get_conversations",
            json!({}),
            Some(StoreResponse::Conversations(vec![]))
        ),
        [ok(json!({"conversations": []}))]
    );
    assert_eq!(
        push(
            "get_unread_messages",
            json!({}),
            Some(StoreResponse::Messages(vec![]))
        ),
        [ok(json!({"unread_messages": []}))]
    );
}

#[test]
fn malformed_id_does_not_spoil_a_list() {
    let mut harness = SessionHarness::new(Documented);
    harness.receive(&json!(["1", "1", MY_CHANNEL, "phx_join", {}]).to_string());
    harness.complete(Ok(StoreResponse::UserSync(Vec::new(), Vec::new())));
    harness.take_effects();
    let (first, last) = (Uuid::from_u128(0xc), Uuid::from_u128(0xd));
    let ids = json!([first, "not an id", 7, last]);
    let payload = json!({"conversation_ids": ids});
    harness.receive(&json!(["1", "2", MY_CHANNEL, "mark_all_read", payload]).to_string());
    let operation = StoreOperation::MarkAllRead(vec![first, last]);
    assert_eq!(harness.take_effects(), [ChannelEffect::Execute(operation)]);
    harness.complete(Ok(StoreResponse::MarkedRead(vec![
        (first, Some(3)),
        (last, None),
    ])));
    let malformed =
        |id: Value| json!({"conversation_id": id, "status": "error", "reason": "invalid_id"});
    let results = json!([
        {"conversation_id": first, "status": "ok", "messages_marked": 3},
        malformed(json!("not an id")),
        malformed(json!(7)),
        {"conversation_id": last, "status": "error", "reason": "not_a_member"},
    ]);
    assert_eq!(harness.take_reply(), ok(json!({"results": results})));
}

#[test]
fn errors_name_the_invalid_field() {
    let mut harness = SessionHarness::joined(Current);
    let large = "x".repeat(65_537);
    let validation = ("validation_failed", "invalid_payload");
    for (name, value, (documented, current)) in [
        ("content", json!(""), validation),
        (
            "content",
            json!(large),
            ("message_too_large", "message_too_large"),
        ),
        ("content", json!(7), validation),
        ("client_random", json!(2_147_483_648_i64), validation),
        ("client_random", json!(null), validation),
        ("message_type", json!("other"), validation),
        ("metadata", json!([]), validation),
        ("metadata", json!({"a": "\0"}), validation),
        ("reply_to_id", json!("x"), validation),
        (
            "signature",
            json!(7),
            ("validation_failed", "invalid_signature"),
        ),
    ] {
        let mut payload = send_push();
        payload[name] = value;
        for (event, why) in [("send_message", documented), ("new_message", current)] {
            harness.push(event, &payload);
            let (status, response) = harness.take_reply();
            assert_eq!(
                (status.as_str(), &response["reason"]),
                ("error", &json!(why)),
                "{event} {name}"
            );
            assert!(response["errors"][name].is_array(), "{name}: {response}");
        }
    }
}

#[test]
fn failed_operations_name_the_reason() {
    let mut harness = SessionHarness::joined(Current);
    harness.push("new_message", &send_push());
    harness.take_effects();
    harness.complete(Err(OperationError::RateLimited(30)));
    assert_eq!(
        harness.take_reply(),
        error(json!({"reason": "rate_limit_exceeded", "retry_after": 30}))
    );
    harness.push(
        "add_reaction",
        &json!({"message_id": ID, "reaction": "12345678901"}),
    );
    assert!(harness.take_reply().1["errors"]["reaction"].is_array());
    harness.push("whatever", &json!({}));
    assert_eq!(
        harness.take_reply(),
        error(json!({"reason": "unknown_event"})),
        "without a panic"
    );
}
