//! Builds the replies to clients from the responses of the store.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::api_version::ClientApiVersion;
use crate::channels::effect::{ErrorPayload, OperationError, error_reason};
use crate::channels::parse_push::{ReplyStyle, parse_uuid};
use crate::database::{MessageReaction, ReactionOutcome, StoredMessage, WriteOutcome};
use crate::payload::{self, rfc3339};
use crate::store::StoreResponse;
use latido_protocol::phoenix::{Push, PushPayload, ReplyStatus};

/// Returns the status and payload of the reply to a push.
pub(super) fn reply_for(
    reply_style: ReplyStyle,
    api_version: ClientApiVersion,
    answer: Result<StoreResponse, OperationError>,
) -> (ReplyStatus, Value) {
    let answer = answer.map_err(failure_payload);
    match answer.and_then(|answer| response_payload(reply_style, api_version, answer)) {
        Ok(response) => (ReplyStatus::Ok, response),
        Err(ErrorPayload(response)) => (ReplyStatus::Error, response),
    }
}

/// Returns the payload of the reply to a push whose operation was not executed.
pub(super) fn failure_payload(failure: OperationError) -> ErrorPayload {
    match failure {
        OperationError::Unavailable => error_reason("unavailable"),
        OperationError::Overloaded => error_reason("overloaded"),
        OperationError::RateLimited(seconds) => {
            ErrorPayload(json!({"reason": "rate_limit_exceeded", "retry_after": seconds}))
        }
    }
}

fn response_payload(
    reply_style: ReplyStyle,
    api_version: ClientApiVersion,
    answer: StoreResponse,
) -> Result<Value, ErrorPayload> {
    let error_version = match reply_style {
        ReplyStyle::React(version)
        | ReplyStyle::Unreact(version)
        | ReplyStyle::MarkRead(version) => version,
        _ => api_version,
    };
    match (reply_style, answer) {
        (_, StoreResponse::Message(outcome)) => write_payload(reply_style, outcome),
        (
            _,
            StoreResponse::Done(Some(error))
            | StoreResponse::Reaction(ReactionOutcome::Rejected(error)),
        ) => Err(error_payload(error_version, &error)),
        (_, StoreResponse::Done(None)) => done_payload(reply_style),
        (ReplyStyle::React(version), StoreResponse::Reaction(ReactionOutcome::Added(added))) => {
            Ok(reaction_payload(version, &added))
        }
        (ReplyStyle::MarkAllRead, StoreResponse::MarkedRead(marked)) => {
            Ok(json!({"results": marked.into_iter().map(marked_result).collect::<Vec<_>>()}))
        }
        (ReplyStyle::MarkConversationRead, StoreResponse::MarkedRead(marked)) => {
            match marked.first() {
                Some((_, Some(count))) => Ok(json!({"messages_marked": count})),
                _ => Err(error_payload(ClientApiVersion::Current, "forbidden")),
            }
        }
        (ReplyStyle::Unread, StoreResponse::Messages(unread)) => {
            let all: Vec<_> = unread
                .iter()
                .map(|message| payload::message_json(message, api_version))
                .collect();
            Ok(json!({"unread_messages": all}))
        }
        (ReplyStyle::List, StoreResponse::Conversations(all)) => {
            let all: Vec<_> = all
                .iter()
                .map(|one| payload::summary_json(one, api_version))
                .collect();
            Ok(json!({"conversations": all}))
        }
        // The response does not fit the operation, so the result is unknown.
        _ => Err(error_reason("unavailable")),
    }
}

/// Returns the reply to a send, an edit or a delete.
fn write_payload(reply_style: ReplyStyle, outcome: WriteOutcome) -> Result<Value, ErrorPayload> {
    match (reply_style, outcome) {
        (ReplyStyle::Send(ClientApiVersion::Documented), WriteOutcome::Applied { message, .. }) => {
            Ok(json!({"message_id": message.id, "sent_at": rfc3339(message.sent_at_us)}))
        }
        (_, WriteOutcome::Applied { message, .. }) => {
            Ok(json!({"message": payload::message_json(&message, ClientApiVersion::Current)}))
        }
        (ReplyStyle::Send(version), WriteOutcome::Rejected(error)) => {
            Err(send_error(version, &error))
        }
        (_, WriteOutcome::Rejected(error)) => Err(error_reason(&error)),
    }
}

/// Returns the reply to an operation without a result.
fn done_payload(reply_style: ReplyStyle) -> Result<Value, ErrorPayload> {
    Ok(match reply_style {
        ReplyStyle::Unreact(ClientApiVersion::Documented) => json!({"reaction_removed": true}),
        ReplyStyle::Unreact(ClientApiVersion::Current) => json!({"status": "removed"}),
        ReplyStyle::MarkRead(ClientApiVersion::Documented) => json!({"marked_read": true}),
        ReplyStyle::MarkRead(ClientApiVersion::Current) => json!({"status": "read"}),
        ReplyStyle::Delivered => json!({"status": "delivered"}),
        _ => return Err(error_reason("unavailable")),
    })
}

/// Returns the reply to an added reaction.
fn reaction_payload(api_version: ClientApiVersion, added: &MessageReaction) -> Value {
    match api_version {
        ClientApiVersion::Documented => json!({"reaction_added": true}),
        ClientApiVersion::Current => json!({
            "reaction": {
                "id": added.id, "messageId": added.message_id, "userId": added.user_id,
                "reaction": added.reaction, "insertedAt": rfc3339(added.at_us),
            }
        }),
    }
}

/// Returns the error payload for a message that was not stored.
fn send_error(api_version: ClientApiVersion, error: &str) -> ErrorPayload {
    match error {
        "reply_to_id" => ErrorPayload(json!({"reason": match api_version {
            ClientApiVersion::Documented => "validation_failed",
            ClientApiVersion::Current => "invalid_payload",
        }, "errors": {"reply_to_id": ["does not exist"]}})),
        _ => error_payload(api_version, error),
    }
}

fn error_payload(api_version: ClientApiVersion, error: &str) -> ErrorPayload {
    match (error, api_version) {
        ("forbidden", ClientApiVersion::Documented) => error_reason("not_a_member"),
        ("forbidden", ClientApiVersion::Current) => error_reason("not_authorized"),
        ("duplicate", _) => {
            ErrorPayload(json!({"errors": {"reaction": ["has already been taken"]}}))
        }
        _ => error_reason(error),
    }
}

fn marked_result((conversation, marked): (Uuid, Option<i64>)) -> Value {
    match marked {
        Some(count) => {
            json!({"conversation_id": conversation, "status": "ok", "messages_marked": count})
        }
        None => {
            json!({"conversation_id": conversation, "status": "error", "reason": "not_a_member"})
        }
    }
}

/// Adds the malformed ids of `mark_all_read` to its results, in the order of the push.
pub(super) fn insert_malformed_ids(push: &Push, response: &mut Value) {
    let PushPayload::Json(payload) = &push.payload else {
        return;
    };
    let (Some(ids), Some(results)) = (
        payload["conversation_ids"].as_array(),
        response["results"].as_array_mut(),
    ) else {
        return;
    };
    let mut stored = std::mem::take(results).into_iter();
    results.extend(ids.iter().filter_map(|id| match parse_uuid(id) {
        Some(_) => stored.next(),
        None => Some(json!({"conversation_id": id, "status": "error", "reason": "invalid_id"})),
    }));
}

/// Returns the reply to the join of a conversation. It has the keys of both API versions, because
/// the client's version may not be known yet.
pub(super) fn join_reply(
    api_version: ClientApiVersion,
    answer: &StoreResponse,
) -> Result<Value, ErrorPayload> {
    match answer {
        StoreResponse::Membership(_, Some(conversation)) => Ok(json!({
            "status": "joined",
            "conversation_id": conversation.id,
            "conversation": payload::conversation_json(conversation),
        })),
        StoreResponse::Membership(false, _) if api_version == ClientApiVersion::Current => {
            Err(error_reason("conversation_not_found"))
        }
        StoreResponse::Membership(..) => Err(error_payload(api_version, "forbidden")),
        _ => Err(error_reason("unavailable")),
    }
}

/// Returns the initial events of a user's channel, each with its payload.
pub(super) fn user_sync_events(
    user: Uuid,
    api_version: ClientApiVersion,
    answer: Result<StoreResponse, OperationError>,
    now_s: i64,
) -> Vec<(&'static str, Value)> {
    let timestamp = rfc3339(now_s.saturating_mul(1_000_000));
    let Ok(StoreResponse::UserSync(summaries, pending)) = answer else {
        return vec![(
            "sync_error",
            json!({"user_id": user, "reason": "unavailable", "timestamp": timestamp}),
        )];
    };
    let all: Vec<_> = summaries
        .iter()
        .map(|one| payload::summary_json(one, api_version))
        .collect();
    let mut events = vec![("conversation_summaries", json!({"summaries": all}))];
    let message_payload = |message: &StoredMessage| match api_version {
        ClientApiVersion::Documented => payload::flat_message_json(message),
        ClientApiVersion::Current => payload::message_json(message, api_version),
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
