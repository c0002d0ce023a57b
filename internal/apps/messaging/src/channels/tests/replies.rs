//! Tests of the reply to every kind of push.

use serde_json::json;

use super::*;

#[test]
fn golden_replies_of_every_push() {
    let message = || {
        StoreResponse::Message(WriteOutcome::Applied {
            message: Box::new(test_message("hola")),
            is_new: true,
        })
    };
    let current_message = json!({"message": crate::payload::message_json(&test_message("hola"), ClientApiVersion::Current)});
    let send = json!({"message_type": "text", "content": "hola", "client_random": 7});
    let reaction = || {
        let (message_id, user_id) = (Uuid::from_u128(0xa), ME);
        StoreResponse::Reaction(ReactionOutcome::Added(MessageReaction {
            id: Uuid::from_u128(5),
            message_id,
            user_id,
            reaction: "❤".into(),
            at_us: 0,
        }))
    };
    let current_reaction = json!({"reaction": {"id": Uuid::from_u128(5), "messageId": ID, "userId": ME, "reaction": "❤", "insertedAt": "1970-01-01T00:00:00Z"}});
    let message_ref = json!({"message_id": ID});
    let reaction_push = json!({"message_id": ID, "reaction": "❤"});
    let refused = |why: &str| StoreResponse::Message(WriteOutcome::Rejected(why.into()));
    let no = |why: &str| error(json!({"reason": why}));
    let (d, h) = (ClientApiVersion::Documented, ClientApiVersion::Current);
    let sent = ok(json!({"message_id": ID, "sent_at": "2023-11-14T22:13:20Z"}));
    for (vocabulary, event, payload, answer, expected) in [
        (d, "send_message", &send, message(), sent),
        (
            d,
            "send_message",
            &send,
            refused("forbidden"),
            no("not_a_member"),
        ),
        (
            h,
            "new_message",
            &send,
            message(),
            ok(current_message.clone()),
        ),
        (
            h,
            "new_message",
            &send,
            refused("forbidden"),
            no("not_authorized"),
        ),
        (
            d,
            "mark_as_read",
            &message_ref,
            StoreResponse::Done(None),
            ok(json!({"marked_read": true})),
        ),
        (
            h,
            "message_read",
            &message_ref,
            StoreResponse::Done(None),
            ok(json!({"status": "read"})),
        ),
        (
            h,
            "mark_read",
            &message_ref,
            StoreResponse::Done(Some("message_not_found".into())),
            no("message_not_found"),
        ),
        (
            h,
            "message_delivered",
            &message_ref,
            StoreResponse::Done(None),
            ok(json!({"status": "delivered"})),
        ),
        (
            d,
            "add_reaction",
            &reaction_push,
            reaction(),
            ok(json!({"reaction_added": true})),
        ),
        (
            h,
            "add_reaction",
            &reaction_push,
            reaction(),
            ok(current_reaction),
        ),
        (
            h,
            "add_reaction",
            &reaction_push,
            StoreResponse::Reaction(ReactionOutcome::Rejected("duplicate".into())),
            error(json!({"errors": {"reaction": ["has already been taken"]}})),
        ),
        (
            d,
            "remove_reaction",
            &reaction_push,
            StoreResponse::Done(None),
            ok(json!({"reaction_removed": true})),
        ),
        (
            h,
            "remove_reaction",
            &reaction_push,
            StoreResponse::Done(None),
            ok(json!({"status": "removed"})),
        ),
        (
            h,
            "remove_reaction",
            &reaction_push,
            StoreResponse::Done(Some("reaction_not_found".into())),
            no("reaction_not_found"),
        ),
        (
            h,
            "edit_message",
            &json!({"message_id": ID, "content": "x"}),
            message(),
            ok(current_message.clone()),
        ),
        (
            h,
            "edit_message",
            &json!({"message_id": ID, "content": "x"}),
            refused("message_not_editable"),
            no("message_not_editable"),
        ),
        (
            h,
            "delete_message",
            &json!({"message_id": ID, "delete_for_everyone": true}),
            message(),
            ok(current_message),
        ),
        (
            h,
            "delete_message",
            &message_ref,
            refused("message_not_deletable"),
            no("message_not_deletable"),
        ),
    ] {
        let mut harness = SessionHarness::joined(vocabulary);
        harness.push(event, payload);
        assert!(
            matches!(harness.take_effects()[..], [ChannelEffect::Execute(_)]),
            "{event}"
        );
        harness.complete(Ok(answer));
        assert_eq!(harness.take_reply(), expected, "{event}");
    }
}

#[test]
fn golden_replies_on_a_users_channel() {
    let mut harness = SessionHarness::new(ClientApiVersion::Current);
    harness.receive(&format!(r#"["1","1","{MY_CHANNEL}","phx_join",{{}}]"#));
    harness.complete(Ok(StoreResponse::UserSync(vec![], vec![])));
    harness.take_effects();
    let mut push = |event: &str, payload: Value, answer: Option<StoreResponse>| {
        harness.receive(&json!(["1", "2", MY_CHANNEL, event, payload]).to_string());
        if let Some(answer) = answer {
            harness.complete(Ok(answer));
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
fn errors_name_the_invalid_field() {
    let mut harness = SessionHarness::joined(ClientApiVersion::Current);
    let good = json!({"message_type": "text", "content": "x", "client_random": 7});
    let large = "x".repeat(65_537);
    for (name, value, documented, current) in [
        ("content", json!(""), "validation_failed", "invalid_payload"),
        (
            "content",
            json!(large),
            "message_too_large",
            "message_too_large",
        ),
        ("content", json!(7), "validation_failed", "invalid_payload"),
        (
            "client_random",
            json!(2_147_483_648_i64),
            "validation_failed",
            "invalid_payload",
        ),
        (
            "client_random",
            json!(null),
            "validation_failed",
            "invalid_payload",
        ),
        (
            "message_type",
            json!("other"),
            "validation_failed",
            "invalid_payload",
        ),
        (
            "metadata",
            json!([]),
            "validation_failed",
            "invalid_payload",
        ),
        (
            "metadata",
            json!({"a": "\0"}),
            "validation_failed",
            "invalid_payload",
        ),
        (
            "reply_to_id",
            json!("x"),
            "validation_failed",
            "invalid_payload",
        ),
        (
            "signature",
            json!(7),
            "validation_failed",
            "invalid_signature",
        ),
    ] {
        let mut payload = good.clone();
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
    harness.push("new_message", &good);
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
        "and no crash"
    );
}
