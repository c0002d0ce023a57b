//! Tests of the channel session, push by push.

mod replies;

use proptest::prelude::*;

use super::*;
use crate::payload::tests::stored;
use latido_postgres::apps::messaging::{StoredConversation, WriteOutcome, MessageReaction, ConversationSummary};

const ME: Uuid = Uuid::from_u128(1);
const MY_CHANNEL: &str = "user:00000000-0000-0000-0000-000000000001";
const CHANNEL: &str = "conversation:00000000-0000-0000-0000-00000000000c";
const ID: &str = "00000000-0000-0000-0000-00000000000a";
const NOW: i64 = 1_700_000_000;

/// A session, with the effects that it has returned since the last `take`.
struct World {
    socket: Socket,
    steps: Vec<Step>,
}

impl World {
    fn new(vocabulary: Vocabulary) -> Self {
        Self {
            socket: Socket::new(ME, SerializerVersion::V2, vocabulary),
            steps: Vec::new(),
        }
    }

    /// Returns a session that has joined the conversation under the reference 1.
    fn joined(vocabulary: Vocabulary) -> Self {
        let mut harness = Self::new(vocabulary);
        harness.hear(&format!(r#"["1","1","{CHANNEL}","phx_join",{{}}]"#));
        harness.answer(Ok(entered()));
        harness.take();
        harness
    }

    fn hear(&mut self, text: &str) {
        self.socket.hear(text, NOW, &mut self.steps);
    }

    /// Sends a push with the reference 2 on the conversation.
    fn push(&mut self, event: &str, payload: &Value) {
        self.hear(&json!(["1", "2", CHANNEL, event, payload]).to_string());
    }

    fn answer(&mut self, answer: Result<Answer, Failure>) {
        self.socket.answered(answer, NOW, &mut self.steps);
    }

    fn take(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.steps)
    }

    /// Returns the frames that were sent as event and payload; for replies, as status and response.
    fn said(&mut self) -> Vec<(String, Value)> {
        let frames = self.take().into_iter().filter_map(|step| match step {
            Step::Say(text) => serde_json::from_str::<Value>(&text).ok(),
            _ => None,
        });
        let received = frames.map(|frame| match frame[3].as_str() {
            Some("phx_reply") => (
                frame[4]["status"].as_str().unwrap().to_owned(),
                frame[4]["response"].clone(),
            ),
            event => (event.unwrap().to_owned(), frame[4].clone()),
        });
        received.collect()
    }

    fn reply(&mut self) -> (String, Value) {
        let mut sent = self.said();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }
}

fn entered() -> Answer {
    let conversation = StoredConversation {
        id: Uuid::from_u128(0xc),
        kind: "group".into(),
        metadata: "{}".into(),
        is_active: true,
    };
    Answer::Entered(true, Some(conversation))
}

fn ok(value: Value) -> (String, Value) {
    ("ok".into(), value)
}

fn error(value: Value) -> (String, Value) {
    ("error".into(), value)
}

#[test]
fn heartbeat_is_answered_during_an_operation() {
    let mut harness = World::joined(Vocabulary::Head);
    harness.push("get_nothing", &json!({}));
    harness.push("add_reaction", &json!({"message_id": ID, "reaction": "❤"}));
    harness.take();
    harness.hear(r#"[null,"9","phoenix","heartbeat",{}]"#);
    assert_eq!(
        harness.take(),
        [Step::Say(
            r#"[null,"9","phoenix","phx_reply",{"status":"ok","response":{}}]"#.into()
        )]
    );
}

#[test]
fn only_the_own_user_channel_can_be_joined() {
    let mut harness = World::new(Vocabulary::Head);
    harness.hear(&format!(r#"["1","1","{MY_CHANNEL}","phx_join",{{}}]"#));
    let reply = format!(
        r#"["1","1","{MY_CHANNEL}","phx_reply",{{"status":"ok","response":{{"status":"connected","user_id":"{ME}"}}}}]"#
    );
    assert_eq!(
        harness.take(),
        [
            Step::Say(reply),
            Step::Enter(MY_CHANNEL.into()),
            Step::Ask(Operation::Arrive)
        ]
    );
    let summary = ConversationSummary {
        conversation: StoredConversation {
            id: Uuid::from_u128(0xc),
            kind: "direct".into(),
            metadata: "{}".into(),
            is_active: true,
        },
        settings: "{}".into(),
        member_count: 2,
        unread_count: 1,
        updated_at_us: 0,
        last_message: Some(stored("hola")),
    };
    harness.answer(Ok(Answer::Arrived(vec![summary], vec![stored("hola")])));
    let sent = harness.said();
    let names: Vec<_> = sent.iter().map(|(event, _)| event.as_str()).collect();
    assert_eq!(
        names,
        ["conversation_summaries", "pending_message", "sync_complete"]
    );
    assert_eq!(
        (
            &sent[0].1["summaries"][0]["unread_count"],
            &sent[2].1["pending_count"]
        ),
        (&json!(1), &json!(1))
    );
    for (topic, why) in [
        ("user:00000000-0000-0000-0000-000000000002", "unauthorized"),
        ("user:00000000-0000-0000-0000-00000000000A", "unauthorized"),
        ("conversation:7", "conversation_not_found"),
        (
            "conversation:00000000-0000-0000-0000-00000000000C",
            "conversation_not_found",
        ),
        ("room:1", "unmatched topic"),
    ] {
        harness.hear(&json!(["2", "2", topic, "phx_join", {}]).to_string());
        assert_eq!(harness.reply(), error(json!({"reason": why})), "{topic}");
    }
}

#[test]
fn failed_sync_sends_sync_error() {
    let mut harness = World::new(Vocabulary::Document);
    harness.hear(&format!(r#"["1","1","{MY_CHANNEL}","phx_join",{{}}]"#));
    harness.take();
    harness.answer(Err(Failure::Unavailable));
    assert_eq!(harness.reply().0, "sync_error");
}

#[test]
fn members_join_and_others_receive_the_reason() {
    let mut harness = World::new(Vocabulary::Head);
    harness.hear(&format!(r#"["1","1","{CHANNEL}","phx_join",{{}}]"#));
    assert_eq!(
        harness.take(),
        [Step::Ask(Operation::Enter(Uuid::from_u128(0xc)))]
    );
    harness.answer(Ok(entered()));
    let steps = harness.take();
    assert_eq!(steps[1], Step::Enter(CHANNEL.into()));
    let both = r#"{"status":"joined","conversation_id":"00000000-0000-0000-0000-00000000000c","conversation":{"id":"00000000-0000-0000-0000-00000000000c","type":"group","metadata":{},"is_active":true}}"#;
    let reply = format!(r#"["1","1","{CHANNEL}","phx_reply",{{"status":"ok","response":{both}}}]"#);
    assert_eq!(steps[0], Step::Say(reply));
    for (vocabulary, exists, why) in [
        (Vocabulary::Head, true, "not_authorized"),
        (Vocabulary::Head, false, "conversation_not_found"),
        (Vocabulary::Document, true, "not_a_member"),
        (Vocabulary::Document, false, "not_a_member"),
    ] {
        let mut harness = World::new(vocabulary);
        harness.hear(&format!(r#"["1","1","{CHANNEL}","phx_join",{{}}]"#));
        harness.take();
        harness.answer(Ok(Answer::Entered(exists, None)));
        assert_eq!(harness.reply(), error(json!({"reason": why})));
        harness.push("typing_start", &json!({}));
        assert_eq!(
            harness.reply(),
            error(json!({"reason": "unmatched topic"})),
            "it did not come in"
        );
    }
}

#[test]
fn second_join_closes_the_first() {
    let mut harness = World::joined(Vocabulary::Head);
    harness.hear(&format!(r#"["5","5","{CHANNEL}","phx_join",{{}}]"#));
    let steps = harness.take();
    assert_eq!(steps[0], Step::Exit(CHANNEL.into()));
    assert_eq!(
        steps[1],
        Step::Say(format!(r#"["1","1","{CHANNEL}","phx_close",{{}}]"#))
    );
    harness.answer(Ok(entered()));
    harness.take();
    harness.push("typing_start", &json!({}));
    assert_eq!(harness.take(), [], "a push of the first join is stale");
}

#[test]
fn leave_is_answered_and_closes_the_channel() {
    let mut harness = World::joined(Vocabulary::Head);
    harness.hear(&format!(r#"["1","7","{CHANNEL}","phx_leave",{{}}]"#));
    let reply = format!(r#"["1","7","{CHANNEL}","phx_reply",{{"status":"ok","response":{{}}}}]"#);
    let close = format!(r#"["1","1","{CHANNEL}","phx_close",{{}}]"#);
    assert_eq!(
        harness.take(),
        [
            Step::Say(reply),
            Step::Exit(CHANNEL.into()),
            Step::Say(close)
        ]
    );
    harness.hear(&format!(r#"["1","8","{CHANNEL}","phx_leave",{{}}]"#));
    assert_eq!(harness.reply(), ok(json!({})));
}

#[test]
fn at_most_a_hundred_channels_can_be_joined() {
    let mut harness = World::new(Vocabulary::Head);
    for n in 0..MAX_CHANNELS {
        let topic = conversation_channel(Uuid::from_u128(n as u128));
        harness.hear(&json!(["1", "1", topic, "phx_join", {}]).to_string());
        harness.answer(Ok(entered()));
    }
    harness.take();
    harness.hear(&format!(r#"["1","1","{MY_CHANNEL}","phx_join",{{}}]"#));
    assert_eq!(
        harness.reply(),
        error(json!({"reason": "too many channels joined"}))
    );
}

#[test]
fn operations_run_one_at_a_time_in_order() {
    let mut harness = World::joined(Vocabulary::Head);
    let message =
        |n: i32| json!({"message_type": "text", "content": format!("{n}"), "client_random": n});
    for n in 0..3 {
        harness.push("new_message", &message(n));
    }
    for n in 0..3 {
        let steps = harness.take();
        let Some(Step::Ask(Operation::Send(_, draft))) = steps.last() else {
            panic!("{steps:?}")
        };
        assert_eq!(
            (steps.len(), draft.client_random),
            (if n == 0 { 1 } else { 2 }, n)
        );
        harness.answer(Ok(Answer::Message(WriteOutcome::Applied {
            message: Box::new(stored("x")),
            is_new: true,
        })));
    }
    for n in 0..100 {
        harness.push("new_message", &message(n));
    }
    harness.take();
    let overloaded = (0..100).filter(|_| {
        harness.push("new_message", &message(0));
        harness.reply() == error(json!({"reason": "overloaded"}))
    });
    assert_eq!(overloaded.count(), 100, "what waits is bounded");
}

#[test]
fn first_version_specific_push_fixes_the_api_version() {
    let mut harness = World::joined(Vocabulary::Head);
    harness.push("typing_start", &json!({}));
    assert_eq!(
        harness.take(),
        [Step::Typing(CHANNEL.into(), true)],
        "both say so"
    );
    harness.push("mark_as_read", &json!({"message_id": ID}));
    assert_eq!(harness.take()[0], Step::Speak(Vocabulary::Document));
    harness.answer(Ok(Answer::Done(None)));
    harness.take();
    harness.push("message_read", &json!({"message_id": ID}));
    assert!(
        matches!(harness.take()[..], [Step::Ask(_)]),
        "once is for good"
    );
}

#[test]
fn typing_ends_after_timeout() {
    let mut harness = World::joined(Vocabulary::Head);
    harness.push("user_typing", &json!({"typing": true}));
    assert_eq!(harness.socket.next_time(), Some(NOW + TYPING_S));
    harness.take();
    harness
        .socket
        .on_time(NOW + TYPING_S - 1, &mut harness.steps);
    assert_eq!(harness.take(), []);
    harness.socket.on_time(NOW + TYPING_S, &mut harness.steps);
    assert_eq!(
        (harness.take(), harness.socket.next_time()),
        (vec![Step::Typing(CHANNEL.into(), false)], None)
    );
    harness.push("typing_stop", &json!({}));
    assert_eq!(harness.take(), [], "it had ended");
    harness.push("typing_start", &json!({}));
    harness.take();
    harness.hear(&format!(r#"["1","7","{CHANNEL}","phx_leave",{{}}]"#));
    assert_eq!(harness.take()[1], Step::Typing(CHANNEL.into(), false));
}

#[test]
fn binary_pushes_need_version_2_and_are_rejected() {
    let mut harness = World::joined(Vocabulary::Head);
    let mut frame = vec![0, 1, 1, CHANNEL.len() as u8, 1];
    frame.extend_from_slice(format!("12{CHANNEL}x").as_bytes());
    harness.socket.hear_binary(&frame, NOW, &mut harness.steps);
    assert_eq!(harness.reply(), error(json!({"reason": "invalid_payload"})));
    harness.socket.hear_binary(&[9], NOW, &mut harness.steps);
    assert!(matches!(harness.take()[..], [Step::Close(1003, _)]));
}

proptest! {
    /// For any order of pushes, at most one operation is in progress, and no push is left in the
    /// queue when all operations have ended.
    #[test]
    fn any_order_of_pushes_runs_one_operation_at_a_time(pushes in proptest::collection::vec((0usize..8, any::<bool>()), 1..80)) {
        let mut harness = World::new(Vocabulary::Head);
        let (mut executed, mut open) = (0usize, 0usize);
        let events = ["phx_join", "phx_leave", "new_message", "typing_start", "message_read", "nonsense", "mark_as_read", "phx_join"];
        for (event_index, is_answered) in pushes {
            let payload = json!({"message_id": ID, "content": "x", "client_random": 1});
            harness.push(events[event_index], &payload);
            let count = harness.take().iter().filter(|step| matches!(step, Step::Ask(_))).count();
            prop_assert!(count <= 1);
            open += count;
            executed += count;
            prop_assert!(open <= 1, "two at once");
            if is_answered && open == 1 {
                harness.answer(Ok(entered()));
                open = harness.take().iter().filter(|step| matches!(step, Step::Ask(_))).count();
                prop_assert!(open <= 1);
                executed += open;
            }
        }
        for _ in 0..=executed + 100 {
            harness.answer(Err(Failure::Unavailable));
        }
        prop_assert_eq!((harness.socket.waiting.len(), harness.socket.waiting_bytes), (0, 0));
    }
}
