//! Builds the replies to clients from the responses of the store.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::payload::{self, iso};
use crate::socket::push::Manner;
use crate::socket::{Failure, reason};
use crate::store::Answer;
use crate::vocabulary::Vocabulary;
use latido_postgres::apps::messaging::{StoredMessage, WriteOutcome};
use latido_protocol::phoenix::ReplyStatus;

/// Returns the status and payload of the reply to a push.
pub(super) fn of(
    reply_style: Manner,
    api_version: Vocabulary,
    answer: Result<Answer, Failure>,
) -> (ReplyStatus, Value) {
    let answer = answer.map_err(|failure| match failure {
        Failure::Unavailable => reason("unavailable"),
        Failure::Overloaded => reason("overloaded"),
        Failure::Limited(seconds) => {
            json!({"reason": "rate_limit_exceeded", "retry_after": seconds})
        }
    });
    match answer.and_then(|answer| told(reply_style, api_version, answer)) {
        Ok(response) => (ReplyStatus::Ok, response),
        Err(response) => (ReplyStatus::Error, response),
    }
}

fn told(reply_style: Manner, api_version: Vocabulary, answer: Answer) -> Result<Value, Value> {
    let message =
        |message: &StoredMessage| json!({"message": payload::message(message, Vocabulary::Head)});
    match (reply_style, answer) {
        (Manner::Send(api_version), Answer::Message(WriteOutcome::Rejected(error))) => {
            Err(not_sent(api_version, &error))
        }
        (Manner::Send(Vocabulary::Document), Answer::Message(WriteOutcome::Applied { message, .. })) => {
            Ok(json!({"message_id": message.id, "sent_at": iso(message.sent_at_us)}))
        }
        (
            _,
            Answer::Message(WriteOutcome::Applied {
                message: stored, ..
            }),
        ) => Ok(message(&stored)),
        (_, Answer::Message(WriteOutcome::Rejected(error))) => Err(reason(&error)),
        (
            Manner::React(api_version) | Manner::Unreact(api_version) | Manner::Read(api_version),
            Answer::Done(Some(error)) | Answer::Reacted(Err(error)),
        ) => Err(refusal(api_version, &error)),
        (_, Answer::Done(Some(error)) | Answer::Reacted(Err(error))) => {
            Err(refusal(api_version, &error))
        }
        (Manner::React(Vocabulary::Document), Answer::Reacted(Ok(_))) => {
            Ok(json!({"reaction_added": true}))
        }
        (Manner::Unreact(Vocabulary::Document), Answer::Done(None)) => {
            Ok(json!({"reaction_removed": true}))
        }
        (Manner::Unreact(Vocabulary::Head), Answer::Done(None)) => Ok(json!({"status": "removed"})),
        (Manner::Read(Vocabulary::Document), Answer::Done(None)) => {
            Ok(json!({"marked_read": true}))
        }
        (Manner::Read(Vocabulary::Head), Answer::Done(None)) => Ok(json!({"status": "read"})),
        (Manner::Delivered, Answer::Done(None)) => Ok(json!({"status": "delivered"})),
        (Manner::MarkAll, Answer::Marked(marked)) => {
            Ok(json!({"results": marked.into_iter().map(result).collect::<Vec<_>>()}))
        }
        (Manner::MarkOne, Answer::Marked(marked)) => match marked.first() {
            Some((_, Some(count))) => Ok(json!({"messages_marked": count})),
            _ => Err(refusal(Vocabulary::Head, "forbidden")),
        },
        (Manner::Unread, Answer::Messages(unread)) => {
            let all: Vec<_> = unread
                .iter()
                .map(|message| payload::message(message, api_version))
                .collect();
            Ok(json!({"unread_messages": all}))
        }
        (Manner::List, Answer::Conversations(all)) => {
            let all: Vec<_> = all
                .iter()
                .map(|one| payload::summary(one, api_version))
                .collect();
            Ok(json!({"conversations": all}))
        }
        (Manner::React(Vocabulary::Head), Answer::Reacted(Ok(made))) => Ok(json!({
            "reaction": {"id": made.id, "messageId": made.message_id, "userId": made.user_id, "reaction": made.reaction,
                         "insertedAt": iso(made.at_us)}
        })),
        // The response does not fit the operation, so the result is unknown.
        _ => Err(reason("unavailable")),
    }
}

/// Returns the error payload for a message that was not stored.
fn not_sent(api_version: Vocabulary, error: &str) -> Value {
    match error {
        "reply_to_id" => json!({"reason": match api_version {
            Vocabulary::Document => "validation_failed",
            Vocabulary::Head => "invalid_payload",
        }, "errors": {"reply_to_id": ["does not exist"]}}),
        _ => refusal(api_version, error),
    }
}

fn refusal(api_version: Vocabulary, error: &str) -> Value {
    match (error, api_version) {
        ("forbidden", Vocabulary::Document) => reason("not_a_member"),
        ("forbidden", Vocabulary::Head) => reason("not_authorized"),
        ("duplicate", _) => json!({"errors": {"reaction": ["has already been taken"]}}),
        _ => reason(error),
    }
}

fn result((conversation, marked): (Uuid, Option<i64>)) -> Value {
    match marked {
        Some(count) => {
            json!({"conversation_id": conversation, "status": "ok", "messages_marked": count})
        }
        None => {
            json!({"conversation_id": conversation, "status": "error", "reason": "not_a_member"})
        }
    }
}

/// Returns the reply to the join of a conversation. It has the keys of both API versions, because
/// the client's version may not be known yet.
pub(super) fn joined(api_version: Vocabulary, answer: &Answer) -> Result<Value, Value> {
    match answer {
        Answer::Entered(_, Some(conversation)) => Ok(json!({
            "status": "joined",
            "conversation_id": conversation.id,
            "conversation": payload::conversation(conversation),
        })),
        Answer::Entered(false, _) if api_version == Vocabulary::Head => {
            Err(reason("conversation_not_found"))
        }
        Answer::Entered(..) => Err(refusal(api_version, "forbidden")),
        _ => Err(reason("unavailable")),
    }
}

/// Returns the initial events of a user's channel, each with its payload.
pub(super) fn arrived(
    user: Uuid,
    api_version: Vocabulary,
    answer: Result<Answer, Failure>,
    now_s: i64,
) -> Vec<(&'static str, Value)> {
    let timestamp = iso(now_s.saturating_mul(1_000_000));
    let Ok(Answer::Arrived(summaries, pending)) = answer else {
        return vec![(
            "sync_error",
            json!({"user_id": user, "reason": "unavailable", "timestamp": timestamp}),
        )];
    };
    let all: Vec<_> = summaries
        .iter()
        .map(|one| payload::summary(one, api_version))
        .collect();
    let mut events = vec![("conversation_summaries", json!({"summaries": all}))];
    let message_payload = |message: &StoredMessage| match api_version {
        Vocabulary::Document => payload::flat(message),
        Vocabulary::Head => payload::message(message, api_version),
    };
    events.extend(
        pending
            .iter()
            .map(|message| ("pending_message", message_payload(message))),
    );
    events.push((
        "sync_complete",
        json!({"user_id": user, "pending_count": pending.len(), "timestamp": timestamp}),
    ));
    events
}
