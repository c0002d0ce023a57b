use super::*;
use crate::frames::encode_event;
use crate::payload::tests::test_message;
use latido_event_bus::{EventBus, PresenceMode, TopicName, TopicPolicy};
use latido_protocol::phoenix::SerializerVersion;

const C: &str = "conversation:00000000-0000-0000-0000-00000000000c";
const U2: &str = "user:00000000-0000-0000-0000-000000000002";
const U1: &str = "user:00000000-0000-0000-0000-000000000001";
const A: &str = "00000000-0000-0000-0000-00000000000a";
const TWO: &str = "00000000-0000-0000-0000-000000000002";
const AT: &str = "2023-11-14T22:13:20Z";

struct SilentTopicPolicy;

impl TopicPolicy for SilentTopicPolicy {
    fn presence_mode(&self, _: &TopicName) -> PresenceMode {
        PresenceMode::Off
    }
    fn on_presence_change(
        &self,
        _: &TopicName,
        _: &latido_event_bus::PresenceDiff,
    ) -> Vec<Publish> {
        Vec::new()
    }
}

/// Returns the frames that members of these channels receive, per API version.
fn frames(kind: &str, detail: &Value) -> (Vec<Value>, Vec<Value>) {
    let change = MessagingChange {
        id: 1,
        kind: kind.into(),
        conversation: Uuid::from_u128(0xc),
        message: Some(Uuid::from_u128(0xa)),
        user: Some(Uuid::from_u128(2)),
        detail: detail.to_string(),
        at_us: 1_700_000_000_000_000,
    };
    let mut context = ChangeContext::default();
    context
        .messages
        .insert(Uuid::from_u128(0xa), test_message("hola"));
    let now = StoredConversation {
        id: Uuid::from_u128(0xc),
        kind: "group".into(),
        metadata: r#"{"name":"n"}"#.into(),
        is_active: true,
    };
    context.conversations.insert(now.id, now);
    context.members.insert(
        Uuid::from_u128(0xc),
        vec![Uuid::from_u128(1), Uuid::from_u128(2)],
    );
    let event_bus = std::sync::Arc::new(EventBus::new(SilentTopicPolicy, || 0));
    let members = ClientApiVersion::ALL.map(|api_version| {
        let joins = [C, U1, U2]
            .map(|channel| latido_event_bus::JoinRequest::new(api_version.topic(channel)));
        event_bus
            .connect(latido_event_bus::Identity::default(), &joins)
            .unwrap()
    });
    for publish in events_for(&change, &context) {
        event_bus.publish(publish).unwrap();
    }
    let [document, head] = members.map(|mut mailbox| {
        let events = std::iter::from_fn(|| mailbox.try_recv());
        events
            .map(|event| {
                serde_json::from_str(&encode_event(SerializerVersion::V2, &event.unwrap())).unwrap()
            })
            .collect()
    });
    (document, head)
}

fn frame(channel: &str, event: &str, payload: Value) -> Value {
    json!([null, null, channel, event, payload])
}

#[test]
fn golden_frames_of_a_new_message() {
    let (document, head) = frames("message_added", &json!({}));
    let message =
        json!({"message": payload::message_json(&test_message("hola"), ClientApiVersion::Current)});
    assert_eq!(
        document,
        [
            frame(
                C,
                "new_message",
                payload::flat_message_json(&test_message("hola"))
            ),
            frame(
                U2,
                "new_message",
                payload::message_preview_json(&test_message("hola"))
            ),
        ]
    );
    assert_eq!(
        head,
        [
            frame(C, "new_message", message.clone()),
            frame(U2, "new_message", message)
        ],
        "the sender's channel is spared"
    );
}

#[test]
fn golden_frames_of_changes_to_a_message() {
    let (document, head) = frames("message_edited", &json!({}));
    let message =
        |api_version| json!({"message": payload::message_json(&test_message("hola"), api_version)});
    for (frames, api_version) in [
        (document, ClientApiVersion::Documented),
        (head, ClientApiVersion::Current),
    ] {
        let expected = ["message_edited", "message_updated"]
            .map(|event| frame(C, event, message(api_version)));
        assert_eq!(frames, expected);
    }
    let (document, head) = frames("message_deleted", &json!({"everyone": true}));
    let conversation = "00000000-0000-0000-0000-00000000000c";
    let payload =
        json!({"message_id": A, "delete_for_everyone": true, "conversation_id": conversation});
    assert_eq!(document, [frame(C, "message_deleted", payload)]);
    let payload =
        json!({"messageId": A, "deleteForEveryone": true, "conversationId": conversation});
    assert_eq!(head, [frame(C, "message_deleted", payload)]);
}

#[test]
fn notification_goes_to_its_user_as_it_was_sent() {
    let payload = json!({"title": "Hola", "userId": {"a_b": [1, null]}});
    let (document, head) = frames("notification", &payload);
    let expected = [frame(U2, "notification", payload)];
    assert_eq!((&document[..], &head[..]), (&expected[..], &expected[..]));
}

#[test]
fn golden_frames_of_reactions() {
    for event in ["reaction_added", "reaction_removed"] {
        let (document, head) = frames(event, &json!({"id": "x", "reaction": "❤"}));
        let payload = json!({"message_id": A, "user_id": TWO, "reaction": "❤", "timestamp": AT});
        assert_eq!(document, [frame(C, event, payload)]);
        assert_eq!(
            head,
            [frame(
                C,
                event,
                json!({"messageId": A, "userId": TWO, "reaction": "❤"})
            )]
        );
    }
}

#[test]
fn golden_frames_of_receipts() {
    let (document, head) = frames("message_read", &json!({}));
    let status = |status: &str| {
        let document = json!({"message_id": A, "user_id": TWO, "status": status, "timestamp": AT});
        let head = json!({"messageId": A, "userId": TWO, "status": status, "timestamp": AT});
        (
            frame(U1, "delivery_status", document),
            frame(U1, "delivery_status", head),
        )
    };
    let receipt = frame(
        C,
        "read_receipt",
        json!({"message_id": A, "user_id": TWO, "read_at": AT}),
    );
    assert_eq!(document, [receipt, status("read").0]);
    let conversation = "00000000-0000-0000-0000-00000000000c";
    let read =
        json!({"userId": TWO, "messageId": A, "conversationId": conversation, "timestamp": AT});
    assert_eq!(head, [frame(C, "message_read", read), status("read").1]);
    let (document, head) = frames("message_delivered", &json!({}));
    assert_eq!(
        (document, head),
        (vec![status("delivered").0], vec![status("delivered").1])
    );
}

#[test]
fn golden_frames_of_members_and_conversations() {
    let conversation = "00000000-0000-0000-0000-00000000000c";
    let member = json!({"conversationId": conversation, "userId": TWO, "timestamp": AT});
    let (_, head) = frames("member_added", &json!({}));
    let invitation = frame(
        U2,
        "conversation_invitation",
        json!({"conversation_id": conversation, "timestamp": AT}),
    );
    assert_eq!(head, [frame(C, "member_added", member.clone()), invitation]);
    let (_, head) = frames("member_removed", &json!({}));
    assert_eq!(
        head,
        [C, U2].map(|channel| frame(channel, "member_removed", member.clone()))
    );
    assert_eq!(
        frames("conversation_read", &json!({})).1,
        [frame(C, "conversation_read", member)]
    );
    let (document, head) = frames(
        "settings_updated",
        &json!({"settings": {"pinned": true}, "archived": null, "pinned": true}),
    );
    let named = |event: &str, name: &str, value: Value| {
        frame(
            U2,
            event,
            json!({"conversation_id": conversation, name: value, "timestamp": AT}),
        )
    };
    let expected = [
        named(
            "conversation_settings_updated",
            "settings",
            json!({"pinned": true}),
        ),
        named("conversation_pinned", "pinned", json!(true)),
    ];
    assert_eq!(document, expected);
    assert_eq!(head, expected);
    let updated = json!({"conversation_id": conversation, "updated_at": AT, "metadata": {"name": "n"}, "type": "group", "is_active": true});
    let (document, head) = frames("conversation_updated", &json!({}));
    let expected =
        [C, U1, U2].map(|channel| frame(channel, "conversation_updated", updated.clone()));
    assert_eq!(document, expected);
    assert_eq!(head, expected);
}

#[test]
fn unknown_change_is_ignored() {
    assert_eq!(frames("of_a_newer_schema", &json!({})), (vec![], vec![]));
}
