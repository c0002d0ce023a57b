//! What a client is told of what the store did.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::apps::messaging::payload::{self, iso};
use crate::apps::messaging::socket::push::Manner;
use crate::apps::messaging::socket::{Failure, reason};
use crate::apps::messaging::store::Answer;
use crate::apps::messaging::vocabulary::Vocabulary;
use crate::postgres::apps::messaging::{Message, Outcome};
use crate::protocol::phoenix::Status;

/// The answer to a push.
pub(super) fn of(
    manner: Manner,
    vocabulary: Vocabulary,
    answer: Result<Answer, Failure>,
) -> (Status, Value) {
    let answer = answer.map_err(|failure| match failure {
        Failure::Unavailable => reason("unavailable"),
        Failure::Overloaded => reason("overloaded"),
        Failure::Limited(seconds) => {
            json!({"reason": "rate_limit_exceeded", "retry_after": seconds})
        }
    });
    match answer.and_then(|answer| told(manner, vocabulary, answer)) {
        Ok(response) => (Status::Ok, response),
        Err(response) => (Status::Error, response),
    }
}

fn told(manner: Manner, vocabulary: Vocabulary, answer: Answer) -> Result<Value, Value> {
    let message =
        |message: &Message| json!({"message": payload::message(message, Vocabulary::Head)});
    match (manner, answer) {
        (Manner::Send(how), Answer::Message(Outcome::Refused(why))) => Err(not_sent(how, &why)),
        (Manner::Send(Vocabulary::Document), Answer::Message(Outcome::Done { message, .. })) => {
            Ok(json!({"message_id": message.id, "sent_at": iso(message.sent_at_us)}))
        }
        (
            _,
            Answer::Message(Outcome::Done {
                message: stored, ..
            }),
        ) => Ok(message(&stored)),
        (_, Answer::Message(Outcome::Refused(why))) => Err(reason(&why)),
        (
            Manner::React(how) | Manner::Unreact(how) | Manner::Read(how),
            Answer::Done(Some(why)) | Answer::Reacted(Err(why)),
        ) => Err(refusal(how, &why)),
        (_, Answer::Done(Some(why)) | Answer::Reacted(Err(why))) => Err(refusal(vocabulary, &why)),
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
                .map(|message| payload::message(message, vocabulary))
                .collect();
            Ok(json!({"unread_messages": all}))
        }
        (Manner::List, Answer::Conversations(all)) => {
            let all: Vec<_> = all
                .iter()
                .map(|one| payload::summary(one, vocabulary))
                .collect();
            Ok(json!({"conversations": all}))
        }
        (Manner::React(Vocabulary::Head), Answer::Reacted(Ok(made))) => Ok(json!({
            "reaction": {"id": made.id, "messageId": made.message_id, "userId": made.user_id, "reaction": made.reaction,
                         "insertedAt": iso(made.at_us)}
        })),
        // An answer to another question: nothing is known.
        _ => Err(reason("unavailable")),
    }
}

/// Why a message was not stored.
fn not_sent(vocabulary: Vocabulary, why: &str) -> Value {
    match why {
        "reply_to_id" => json!({"reason": match vocabulary {
            Vocabulary::Document => "validation_failed",
            Vocabulary::Head => "invalid_payload",
        }, "errors": {"reply_to_id": ["does not exist"]}}),
        _ => refusal(vocabulary, why),
    }
}

fn refusal(vocabulary: Vocabulary, why: &str) -> Value {
    match (why, vocabulary) {
        ("forbidden", Vocabulary::Document) => reason("not_a_member"),
        ("forbidden", Vocabulary::Head) => reason("not_authorized"),
        ("duplicate", _) => json!({"errors": {"reaction": ["has already been taken"]}}),
        _ => reason(why),
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

/// The answer to the join of a conversation: with the keys of both vocabularies, because none is certain yet.
pub(super) fn joined(vocabulary: Vocabulary, answer: &Answer) -> Result<Value, Value> {
    match answer {
        Answer::Entered(_, Some(conversation)) => Ok(json!({
            "status": "joined",
            "conversation_id": conversation.id,
            "conversation": payload::conversation(conversation),
        })),
        Answer::Entered(false, _) if vocabulary == Vocabulary::Head => {
            Err(reason("conversation_not_found"))
        }
        Answer::Entered(..) => Err(refusal(vocabulary, "forbidden")),
        _ => Err(reason("unavailable")),
    }
}

/// What a user's channel brings: events and their payloads.
pub(super) fn arrived(
    user: Uuid,
    vocabulary: Vocabulary,
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
        .map(|one| payload::summary(one, vocabulary))
        .collect();
    let mut told = vec![("conversation_summaries", json!({"summaries": all}))];
    let msg = |message: &Message| match vocabulary {
        Vocabulary::Document => payload::flat(message),
        Vocabulary::Head => payload::message(message, vocabulary),
    };
    told.extend(
        pending
            .iter()
            .map(|message| ("pending_message", msg(message))),
    );
    told.push((
        "sync_complete",
        json!({"user_id": user, "pending_count": pending.len(), "timestamp": timestamp}),
    ));
    told
}
