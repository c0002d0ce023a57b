//! A socket's life, push by push.

mod replies;

use proptest::prelude::*;

use super::*;
use crate::apps::messaging::payload::tests::stored;
use crate::postgres::apps::messaging::{Conversation, Outcome, Reaction, Summary};

const ME: Uuid = Uuid::from_u128(1);
const MY_CHANNEL: &str = "user:00000000-0000-0000-0000-000000000001";
const CHANNEL: &str = "conversation:00000000-0000-0000-0000-00000000000c";
const ID: &str = "00000000-0000-0000-0000-00000000000a";
const NOW: i64 = 1_700_000_000;

/// A socket, and what it wanted since it was last asked.
struct World {
    socket: Socket,
    steps: Vec<Step>,
}

impl World {
    fn new(vocabulary: Vocabulary) -> Self {
        Self {
            socket: Socket::new(ME, Vsn::V2, vocabulary),
            steps: Vec::new(),
        }
    }

    /// With the conversation joined under the reference 1.
    fn joined(vocabulary: Vocabulary) -> Self {
        let mut world = Self::new(vocabulary);
        world.hear(&format!(r#"["1","1","{CHANNEL}","phx_join",{{}}]"#));
        world.answer(Ok(entered()));
        world.take();
        world
    }

    fn hear(&mut self, text: &str) {
        self.socket.hear(text, NOW, &mut self.steps);
    }

    /// A push with the reference 2 on the conversation.
    fn push(&mut self, event: &str, payload: &Value) {
        self.hear(&json!(["1", "2", CHANNEL, event, payload]).to_string());
    }

    fn answer(&mut self, answer: Result<Answer, Failure>) {
        self.socket.answered(answer, NOW, &mut self.steps);
    }

    fn take(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.steps)
    }

    /// What was said, as event and payload; of replies, status and response.
    fn said(&mut self) -> Vec<(String, Value)> {
        let frames = self.take().into_iter().filter_map(|step| match step {
            Step::Say(text) => serde_json::from_str::<Value>(&text).ok(),
            _ => None,
        });
        let told = frames.map(|frame| match frame[3].as_str() {
            Some("phx_reply") => (
                frame[4]["status"].as_str().unwrap().to_owned(),
                frame[4]["response"].clone(),
            ),
            event => (event.unwrap().to_owned(), frame[4].clone()),
        });
        told.collect()
    }

    fn reply(&mut self) -> (String, Value) {
        let mut said = self.said();
        assert_eq!(said.len(), 1, "{said:?}");
        said.remove(0)
    }
}

fn entered() -> Answer {
    let conversation = Conversation {
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
fn heartbeats_are_answered_whatever_is_under_way() {
    let mut world = World::joined(Vocabulary::Head);
    world.push("get_nothing", &json!({}));
    world.push("add_reaction", &json!({"message_id": ID, "reaction": "❤"}));
    world.take();
    world.hear(r#"[null,"9","phoenix","heartbeat",{}]"#);
    assert_eq!(
        world.take(),
        [Step::Say(
            r#"[null,"9","phoenix","phx_reply",{"status":"ok","response":{}}]"#.into()
        )]
    );
}

#[test]
fn only_ones_own_user_channel() {
    let mut world = World::new(Vocabulary::Head);
    world.hear(&format!(r#"["1","1","{MY_CHANNEL}","phx_join",{{}}]"#));
    let reply = format!(
        r#"["1","1","{MY_CHANNEL}","phx_reply",{{"status":"ok","response":{{"status":"connected","user_id":"{ME}"}}}}]"#
    );
    assert_eq!(
        world.take(),
        [
            Step::Say(reply),
            Step::Enter(MY_CHANNEL.into()),
            Step::Ask(Operation::Arrive)
        ]
    );
    let summary = Summary {
        conversation: Conversation {
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
    world.answer(Ok(Answer::Arrived(vec![summary], vec![stored("hola")])));
    let said = world.said();
    let names: Vec<_> = said.iter().map(|(event, _)| event.as_str()).collect();
    assert_eq!(
        names,
        ["conversation_summaries", "pending_message", "sync_complete"]
    );
    assert_eq!(
        (
            &said[0].1["summaries"][0]["unread_count"],
            &said[2].1["pending_count"]
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
        world.hear(&json!(["2", "2", topic, "phx_join", {}]).to_string());
        assert_eq!(world.reply(), error(json!({"reason": why})), "{topic}");
    }
}

#[test]
fn a_join_that_brings_nothing_says_so() {
    let mut world = World::new(Vocabulary::Document);
    world.hear(&format!(r#"["1","1","{MY_CHANNEL}","phx_join",{{}}]"#));
    world.take();
    world.answer(Err(Failure::Unavailable));
    assert_eq!(world.reply().0, "sync_error");
}

#[test]
fn members_enter_and_others_hear_why_not() {
    let mut world = World::new(Vocabulary::Head);
    world.hear(&format!(r#"["1","1","{CHANNEL}","phx_join",{{}}]"#));
    assert_eq!(
        world.take(),
        [Step::Ask(Operation::Enter(Uuid::from_u128(0xc)))]
    );
    world.answer(Ok(entered()));
    let steps = world.take();
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
        let mut world = World::new(vocabulary);
        world.hear(&format!(r#"["1","1","{CHANNEL}","phx_join",{{}}]"#));
        world.take();
        world.answer(Ok(Answer::Entered(exists, None)));
        assert_eq!(world.reply(), error(json!({"reason": why})));
        world.push("typing_start", &json!({}));
        assert_eq!(
            world.reply(),
            error(json!({"reason": "unmatched topic"})),
            "it did not come in"
        );
    }
}

#[test]
fn a_second_join_closes_the_first() {
    let mut world = World::joined(Vocabulary::Head);
    world.hear(&format!(r#"["5","5","{CHANNEL}","phx_join",{{}}]"#));
    let steps = world.take();
    assert_eq!(steps[0], Step::Exit(CHANNEL.into()));
    assert_eq!(
        steps[1],
        Step::Say(format!(r#"["1","1","{CHANNEL}","phx_close",{{}}]"#))
    );
    world.answer(Ok(entered()));
    world.take();
    world.push("typing_start", &json!({}));
    assert_eq!(world.take(), [], "a push of the first join is stale");
}

#[test]
fn leaving_is_answered_and_closes() {
    let mut world = World::joined(Vocabulary::Head);
    world.hear(&format!(r#"["1","7","{CHANNEL}","phx_leave",{{}}]"#));
    let reply = format!(r#"["1","7","{CHANNEL}","phx_reply",{{"status":"ok","response":{{}}}}]"#);
    let close = format!(r#"["1","1","{CHANNEL}","phx_close",{{}}]"#);
    assert_eq!(
        world.take(),
        [
            Step::Say(reply),
            Step::Exit(CHANNEL.into()),
            Step::Say(close)
        ]
    );
    world.hear(&format!(r#"["1","8","{CHANNEL}","phx_leave",{{}}]"#));
    assert_eq!(world.reply(), ok(json!({})));
}

#[test]
fn a_hundred_channels_and_no_more() {
    let mut world = World::new(Vocabulary::Head);
    for n in 0..MAX_CHANNELS {
        let topic = conversation_channel(Uuid::from_u128(n as u128));
        world.hear(&json!(["1", "1", topic, "phx_join", {}]).to_string());
        world.answer(Ok(entered()));
    }
    world.take();
    world.hear(&format!(r#"["1","1","{MY_CHANNEL}","phx_join",{{}}]"#));
    assert_eq!(
        world.reply(),
        error(json!({"reason": "too many channels joined"}))
    );
}

#[test]
fn one_operation_at_a_time_and_in_order() {
    let mut world = World::joined(Vocabulary::Head);
    let message =
        |n: i32| json!({"message_type": "text", "content": format!("{n}"), "client_random": n});
    for n in 0..3 {
        world.push("new_message", &message(n));
    }
    for n in 0..3 {
        let steps = world.take();
        let Some(Step::Ask(Operation::Send(_, draft))) = steps.last() else {
            panic!("{steps:?}")
        };
        assert_eq!(
            (steps.len(), draft.client_random),
            (if n == 0 { 1 } else { 2 }, n)
        );
        world.answer(Ok(Answer::Message(Outcome::Done {
            message: Box::new(stored("x")),
            fresh: true,
        })));
    }
    for n in 0..100 {
        world.push("new_message", &message(n));
    }
    world.take();
    let overloaded = (0..100).filter(|_| {
        world.push("new_message", &message(0));
        world.reply() == error(json!({"reason": "overloaded"}))
    });
    assert_eq!(overloaded.count(), 100, "what waits is bounded");
}

#[test]
fn the_first_telling_push_fixes_the_vocabulary() {
    let mut world = World::joined(Vocabulary::Head);
    world.push("typing_start", &json!({}));
    assert_eq!(
        world.take(),
        [Step::Typing(CHANNEL.into(), true)],
        "both say so"
    );
    world.push("mark_as_read", &json!({"message_id": ID}));
    assert_eq!(world.take()[0], Step::Speak(Vocabulary::Document));
    world.answer(Ok(Answer::Done(None)));
    world.take();
    world.push("message_read", &json!({"message_id": ID}));
    assert!(
        matches!(world.take()[..], [Step::Ask(_)]),
        "once is for good"
    );
}

#[test]
fn typing_ends_by_itself() {
    let mut world = World::joined(Vocabulary::Head);
    world.push("user_typing", &json!({"typing": true}));
    assert_eq!(world.socket.next_time(), Some(NOW + TYPING_S));
    world.take();
    world.socket.on_time(NOW + TYPING_S - 1, &mut world.steps);
    assert_eq!(world.take(), []);
    world.socket.on_time(NOW + TYPING_S, &mut world.steps);
    assert_eq!(
        (world.take(), world.socket.next_time()),
        (vec![Step::Typing(CHANNEL.into(), false)], None)
    );
    world.push("typing_stop", &json!({}));
    assert_eq!(world.take(), [], "it had ended");
    world.push("typing_start", &json!({}));
    world.take();
    world.hear(&format!(r#"["1","7","{CHANNEL}","phx_leave",{{}}]"#));
    assert_eq!(world.take()[1], Step::Typing(CHANNEL.into(), false));
}

#[test]
fn binary_pushes_are_for_version_2_alone_and_for_nothing_here() {
    let mut world = World::joined(Vocabulary::Head);
    let mut frame = vec![0, 1, 1, CHANNEL.len() as u8, 1];
    frame.extend_from_slice(format!("12{CHANNEL}x").as_bytes());
    world.socket.hear_binary(&frame, NOW, &mut world.steps);
    assert_eq!(world.reply(), error(json!({"reason": "invalid_payload"})));
    world.socket.hear_binary(&[9], NOW, &mut world.steps);
    assert!(matches!(world.take()[..], [Step::Close(1003, _)]));
}

proptest! {
    /// Whatever comes, every operation is asked alone, and every push with a reference is answered once in the end or was stale.
    #[test]
    fn no_order_of_pushes_confuses_it(pushes in proptest::collection::vec((0usize..8, any::<bool>()), 1..80)) {
        let mut world = World::new(Vocabulary::Head);
        let (mut asked, mut open) = (0usize, 0usize);
        let events = ["phx_join", "phx_leave", "new_message", "typing_start", "message_read", "nonsense", "mark_as_read", "phx_join"];
        for (which, is_answered) in pushes {
            let payload = json!({"message_id": ID, "content": "x", "client_random": 1});
            world.push(events[which], &payload);
            let count = world.take().iter().filter(|step| matches!(step, Step::Ask(_))).count();
            prop_assert!(count <= 1);
            open += count;
            asked += count;
            prop_assert!(open <= 1, "two at once");
            if is_answered && open == 1 {
                world.answer(Ok(entered()));
                open = world.take().iter().filter(|step| matches!(step, Step::Ask(_))).count();
                prop_assert!(open <= 1);
                asked += open;
            }
        }
        for _ in 0..=asked + 100 {
            world.answer(Err(Failure::Unavailable));
        }
        prop_assert_eq!((world.socket.waiting.len(), world.socket.waiting_bytes), (0, 0));
    }
}
