//! Tests of the channel session, push by push.

mod joins;
mod replies;

use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::channel_pushes::TYPING_TIMEOUT_S;
use super::effect::{ChannelEffect, OperationError};
use super::session::{ChannelSession, MAX_CHANNELS};
use crate::api_version::{ClientApiVersion, conversation_channel};
use crate::database::{
    ConversationSummary, MessageReaction, ReactionOutcome, StoredConversation, WriteOutcome,
};
use crate::payload::tests::test_message;
use crate::store::{StoreOperation, StoreResponse};
use latido_protocol::phoenix::SerializerVersion;

const ME: Uuid = Uuid::from_u128(1);
const MY_CHANNEL: &str = "user:00000000-0000-0000-0000-000000000001";
const CHANNEL: &str = "conversation:00000000-0000-0000-0000-00000000000c";
const ID: &str = "00000000-0000-0000-0000-00000000000a";
const NOW: i64 = 1_700_000_000;

/// A session, with the effects that it has returned since the last `take`.
struct SessionHarness {
    session: ChannelSession,
    effects: Vec<ChannelEffect>,
}

impl SessionHarness {
    fn new(version: ClientApiVersion) -> Self {
        Self {
            session: ChannelSession::new(ME, SerializerVersion::V2, version),
            effects: Vec::new(),
        }
    }

    /// Returns a session that has joined the conversation under the reference 1.
    fn joined(version: ClientApiVersion) -> Self {
        let mut harness = Self::new(version);
        harness.receive(&format!(r#"["1","1","{CHANNEL}","phx_join",{{}}]"#));
        harness.complete(Ok(membership_response()));
        harness.take_effects();
        harness
    }

    fn receive(&mut self, text: &str) {
        self.session.on_text(text, NOW, &mut self.effects);
    }

    /// Sends a push with the reference 2 on the conversation.
    fn push(&mut self, event: &str, payload: &Value) {
        self.receive(&json!(["1", "2", CHANNEL, event, payload]).to_string());
    }

    fn complete(&mut self, answer: Result<StoreResponse, OperationError>) {
        self.session.on_result(answer, NOW, &mut self.effects);
    }

    fn take_effects(&mut self) -> Vec<ChannelEffect> {
        std::mem::take(&mut self.effects)
    }

    /// Returns the frames that were sent as event and payload; for replies, as status and response.
    fn take_frames(&mut self) -> Vec<(String, Value)> {
        let mut sent = Vec::new();
        for step in self.take_effects() {
            match step {
                ChannelEffect::SetStatus(status, Some(push)) => {
                    self.session.status_reply(&push, &status, Ok(()), &mut sent)
                }
                step => sent.push(step),
            }
        }
        let frames = sent.into_iter().filter_map(|step| match step {
            ChannelEffect::SendText(text) => serde_json::from_str::<Value>(&text).ok(),
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

    fn take_reply(&mut self) -> (String, Value) {
        let mut sent = self.take_frames();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }
}

fn membership_response() -> StoreResponse {
    let conversation = StoredConversation {
        id: Uuid::from_u128(0xc),
        kind: "group".into(),
        metadata: "{}".into(),
        is_active: true,
    };
    StoreResponse::Membership(true, Some(conversation))
}

fn ok(value: Value) -> (String, Value) {
    ("ok".into(), value)
}

fn error(value: Value) -> (String, Value) {
    ("error".into(), value)
}

#[test]
fn heartbeat_is_answered_during_an_operation() {
    let mut harness = SessionHarness::joined(ClientApiVersion::Current);
    harness.push("get_nothing", &json!({}));
    harness.push("add_reaction", &json!({"message_id": ID, "reaction": "❤"}));
    harness.take_effects();
    harness.receive(r#"[null,"9","phoenix","heartbeat",{}]"#);
    assert_eq!(
        harness.take_effects(),
        [ChannelEffect::SendText(
            r#"[null,"9","phoenix","phx_reply",{"status":"ok","response":{}}]"#.into()
        )]
    );
}

#[test]
fn failed_sync_sends_sync_error() {
    let mut harness = SessionHarness::new(ClientApiVersion::Documented);
    harness.receive(&format!(r#"["1","1","{MY_CHANNEL}","phx_join",{{}}]"#));
    harness.take_effects();
    harness.complete(Err(OperationError::Unavailable));
    assert_eq!(harness.take_reply().0, "sync_error");
}

#[test]
fn operations_run_one_at_a_time_in_order() {
    let mut harness = SessionHarness::joined(ClientApiVersion::Current);
    let message =
        |n: i32| json!({"message_type": "text", "content": format!("{n}"), "client_random": n});
    for n in 0..3 {
        harness.push("new_message", &message(n));
    }
    for n in 0..3 {
        let steps = harness.take_effects();
        let Some(ChannelEffect::Execute(StoreOperation::Send(_, draft))) = steps.last() else {
            panic!("{steps:?}")
        };
        assert_eq!(
            (steps.len(), draft.client_random),
            (if n == 0 { 1 } else { 2 }, n)
        );
        harness.complete(Ok(StoreResponse::Message(WriteOutcome::Applied {
            message: Box::new(test_message("x")),
            is_new: true,
        })));
    }
    for n in 0..100 {
        harness.push("new_message", &message(n));
    }
    harness.take_effects();
    let overloaded = (0..100).filter(|_| {
        harness.push("new_message", &message(0));
        harness.take_reply() == error(json!({"reason": "overloaded"}))
    });
    assert_eq!(overloaded.count(), 100, "pending input is bounded");
}

#[test]
fn first_version_specific_push_fixes_the_api_version() {
    let mut harness = SessionHarness::joined(ClientApiVersion::Current);
    harness.push("typing_start", &json!({}));
    assert_eq!(
        harness.take_effects(),
        [ChannelEffect::Typing(CHANNEL.into(), true)],
        "both say so"
    );
    harness.push("mark_as_read", &json!({"message_id": ID}));
    assert_eq!(
        harness.take_effects()[0],
        ChannelEffect::SwitchVersion(ClientApiVersion::Documented)
    );
    harness.complete(Ok(StoreResponse::Done(None)));
    harness.take_effects();
    harness.push("message_read", &json!({"message_id": ID}));
    assert!(
        matches!(harness.take_effects()[..], [ChannelEffect::Execute(_)]),
        "verified once is verified for good"
    );
}

#[test]
fn typing_ends_after_timeout() {
    let mut harness = SessionHarness::joined(ClientApiVersion::Current);
    harness.push("user_typing", &json!({"typing": true}));
    assert_eq!(harness.session.next_timer(), Some(NOW + TYPING_TIMEOUT_S));
    harness.take_effects();
    harness
        .session
        .on_timer(NOW + TYPING_TIMEOUT_S - 1, &mut harness.effects);
    assert_eq!(harness.take_effects(), []);
    harness
        .session
        .on_timer(NOW + TYPING_TIMEOUT_S, &mut harness.effects);
    assert_eq!(
        (harness.take_effects(), harness.session.next_timer()),
        (vec![ChannelEffect::Typing(CHANNEL.into(), false)], None)
    );
    harness.push("typing_stop", &json!({}));
    assert_eq!(harness.take_effects(), [], "typing had already ended");
    harness.push("typing_start", &json!({}));
    harness.take_effects();
    harness.receive(&format!(r#"["1","7","{CHANNEL}","phx_leave",{{}}]"#));
    assert_eq!(
        harness.take_effects()[1],
        ChannelEffect::Typing(CHANNEL.into(), false)
    );
}

#[test]
fn binary_pushes_need_version_2_and_are_rejected() {
    let mut harness = SessionHarness::joined(ClientApiVersion::Current);
    let mut frame = vec![0, 1, 1, CHANNEL.len() as u8, 1];
    frame.extend_from_slice(format!("12{CHANNEL}x").as_bytes());
    harness.session.on_binary(&frame, NOW, &mut harness.effects);
    assert_eq!(
        harness.take_reply(),
        error(json!({"reason": "invalid_payload"}))
    );
    harness.session.on_binary(&[9], NOW, &mut harness.effects);
    assert!(matches!(
        harness.take_effects()[..],
        [ChannelEffect::Close(1003, _)]
    ));
}

proptest! {
    /// For any order of pushes, at most one operation is in progress, and no push is left in the
    /// queue when all operations have ended.
    #[test]
    fn any_order_of_pushes_runs_one_operation_at_a_time(pushes in proptest::collection::vec((0usize..8, any::<bool>()), 1..80)) {
        let mut harness = SessionHarness::new(ClientApiVersion::Current);
        let (mut executed, mut open) = (0usize, 0usize);
        let events = ["phx_join", "phx_leave", "new_message", "typing_start", "message_read", "nonsense", "mark_as_read", "phx_join"];
        for (event_index, is_answered) in pushes {
            let payload = json!({"message_id": ID, "content": "x", "client_random": 1});
            harness.push(events[event_index], &payload);
            let count = harness.take_effects().iter().filter(|step| matches!(step, ChannelEffect::Execute(_))).count();
            prop_assert!(count <= 1);
            open += count;
            executed += count;
            prop_assert!(open <= 1, "two at once");
            if is_answered && open == 1 {
                harness.complete(Ok(membership_response()));
                open = harness.take_effects().iter().filter(|step| matches!(step, ChannelEffect::Execute(_))).count();
                prop_assert!(open <= 1);
                executed += open;
            }
        }
        for _ in 0..=executed + 100 {
            harness.complete(Err(OperationError::Unavailable));
        }
        prop_assert_eq!((harness.session.queued.len(), harness.session.queued_bytes), (0, 0));
    }
}
