//! What clients are told of a change. Pure.

use std::collections::HashMap;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::apps::messaging::payload::{self, iso, parsed, spelled};
use crate::apps::messaging::vocabulary::{Vocabulary, conversation_channel, user_channel};
use crate::hub::exchange::Publish;
use crate::postgres::apps::messaging::{Change, Conversation, Message};

/// What the database says now about what has changed.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) messages: HashMap<Uuid, Message>,
    pub(super) conversations: HashMap<Uuid, Conversation>,
    /// Of each conversation, those members that are connected here.
    pub(super) members: HashMap<Uuid, Vec<Uuid>>,
}

/// Collects what is said of one change.
struct Saying<'a> {
    change: &'a Change,
    conversation: String,
    timestamp: String,
    said: Vec<Publish>,
}

impl Saying<'_> {
    /// Says it on a channel in both vocabularies.
    fn say(&mut self, channel: &str, event: &str, payload: impl Fn(Vocabulary) -> Value) {
        for vocabulary in Vocabulary::ALL {
            self.say_in(vocabulary, channel, event, &payload(vocabulary));
        }
    }

    fn say_in(&mut self, vocabulary: Vocabulary, channel: &str, event: &str, payload: &Value) {
        self.said.push(Publish::new(
            [vocabulary.topic(channel)],
            event,
            payload.to_string(),
        ));
    }

    /// The same in the conversation.
    fn tell(&mut self, event: &str, payload: impl Fn(Vocabulary) -> Value) {
        let conversation = std::mem::take(&mut self.conversation);
        self.say(&conversation, event, payload);
        self.conversation = conversation;
    }
}

/// What is published because of a change, in this order.
pub(super) fn tell(change: &Change, facts: &Facts) -> Vec<Publish> {
    let mut saying = Saying {
        change,
        conversation: conversation_channel(change.conversation),
        timestamp: iso(change.at_us),
        said: Vec::new(),
    };
    let message = change.message.and_then(|id| facts.messages.get(&id));
    match (&*change.kind, message, change.user) {
        // Of a message that is gone already, its deletion tells.
        ("message_added", Some(message), _) => added(&mut saying, message, facts),
        ("message_edited", Some(message), _) => {
            // The mobile app knows the second name.
            for event in ["message_edited", "message_updated"] {
                saying.tell(
                    event,
                    |vocabulary| json!({"message": payload::message(message, vocabulary)}),
                );
            }
        }
        ("message_deleted", ..) => deleted(&mut saying),
        ("reaction_added" | "reaction_removed", _, Some(user)) => reaction(&mut saying, user),
        ("message_read", Some(message), Some(user)) => {
            read(&mut saying, user);
            receipt(&mut saying, message, user, "read");
        }
        ("message_delivered", Some(message), Some(user)) => {
            receipt(&mut saying, message, user, "delivered")
        }
        ("conversation_read", _, Some(user)) => membership(&mut saying, "conversation_read", user),
        ("member_added", _, Some(user)) => {
            membership(&mut saying, "member_added", user);
            let invitation =
                json!({"conversation_id": change.conversation, "timestamp": saying.timestamp});
            saying.say(&user_channel(user), "conversation_invitation", |_| {
                invitation.clone()
            });
        }
        ("member_removed", _, Some(user)) => {
            membership(&mut saying, "member_removed", user);
            let payload = membership_payload(&saying, user);
            saying.say(&user_channel(user), "member_removed", payload);
        }
        ("settings_updated", _, Some(user)) => settings(&mut saying, user),
        ("conversation_updated", ..) => updated(&mut saying, facts),
        _ => {}
    }
    saying.said
}

fn added(saying: &mut Saying<'_>, message: &Message, facts: &Facts) {
    let wrapped = json!({"message": payload::message(message, Vocabulary::Head)});
    let conversation = saying.conversation.clone();
    saying.say_in(
        Vocabulary::Document,
        &conversation,
        "new_message",
        &payload::flat(message),
    );
    saying.say_in(Vocabulary::Head, &conversation, "new_message", &wrapped);
    let notice = payload::notice(message);
    for user in facts
        .members
        .get(&message.conversation_id)
        .into_iter()
        .flatten()
        .filter(|user| **user != message.sender_id)
    {
        let channel = user_channel(*user);
        saying.say_in(Vocabulary::Document, &channel, "new_message", &notice);
        saying.say_in(Vocabulary::Head, &channel, "new_message", &wrapped);
    }
}

fn deleted(saying: &mut Saying<'_>) {
    let everyone = parsed(&saying.change.detail)
        .get("everyone")
        .cloned()
        .unwrap_or(Value::Bool(false));
    let (message, conversation) = (saying.change.message, saying.change.conversation);
    saying.tell("message_deleted", |vocabulary| {
        let members = [
            ("messageId", json!(message)),
            ("deleteForEveryone", everyone.clone()),
            ("conversationId", json!(conversation)),
        ];
        spelled(vocabulary, members)
    });
}

fn reaction(saying: &mut Saying<'_>, user: Uuid) {
    let detail = parsed(&saying.change.detail);
    let (message, timestamp) = (saying.change.message, saying.timestamp.clone());
    saying.tell(&saying.change.kind.clone(), |vocabulary| {
        let members = [
            ("messageId", json!(message)),
            ("userId", json!(user)),
            ("reaction", detail["reaction"].clone()),
        ];
        let mut payload = spelled(vocabulary, members);
        if vocabulary == Vocabulary::Document {
            payload["timestamp"] = json!(timestamp);
        }
        payload
    });
}

fn read(saying: &mut Saying<'_>, user: Uuid) {
    let (message, at, channel) = (
        saying.change.message,
        saying.timestamp.clone(),
        saying.conversation.clone(),
    );
    let receipt = json!({"message_id": message, "user_id": user, "read_at": at});
    saying.say_in(Vocabulary::Document, &channel, "read_receipt", &receipt);
    let conversation = saying.change.conversation;
    let told = json!({"userId": user, "messageId": message, "conversationId": conversation, "timestamp": at});
    saying.say_in(Vocabulary::Head, &channel, "message_read", &told);
}

/// The sender learns how far the message has come.
fn receipt(saying: &mut Saying<'_>, message: &Message, user: Uuid, status: &str) {
    let timestamp = saying.timestamp.clone();
    saying.say(
        &user_channel(message.sender_id),
        "delivery_status",
        |vocabulary| {
            let members = [
                ("messageId", json!(message.id)),
                ("userId", json!(user)),
                ("status", json!(status)),
                ("timestamp", json!(timestamp)),
            ];
            spelled(vocabulary, members)
        },
    );
}

fn membership_payload(saying: &Saying<'_>, user: Uuid) -> impl Fn(Vocabulary) -> Value + use<> {
    let (conversation, timestamp) = (saying.change.conversation, saying.timestamp.clone());
    move |vocabulary| {
        let members = [
            ("conversationId", json!(conversation)),
            ("userId", json!(user)),
            ("timestamp", json!(timestamp)),
        ];
        spelled(vocabulary, members)
    }
}

fn membership(saying: &mut Saying<'_>, event: &str, user: Uuid) {
    let payload = membership_payload(saying, user);
    saying.tell(event, payload);
}

/// One member's own settings: that member's own devices are told.
fn settings(saying: &mut Saying<'_>, user: Uuid) {
    let detail = parsed(&saying.change.detail);
    let (conversation, timestamp, channel) = (
        saying.change.conversation,
        saying.timestamp.clone(),
        user_channel(user),
    );
    let mut say = |event: &str, name: &str, value: &Value| {
        let payload = json!({"conversation_id": conversation, name: value, "timestamp": timestamp});
        saying.say(&channel, event, |_| payload.clone());
    };
    say(
        "conversation_settings_updated",
        "settings",
        &detail["settings"],
    );
    for (event, name) in [
        ("conversation_archived", "archived"),
        ("conversation_pinned", "pinned"),
    ] {
        if !detail[name].is_null() {
            say(event, name, &detail[name]);
        }
    }
}

fn updated(saying: &mut Saying<'_>, facts: &Facts) {
    let Some(now) = facts.conversations.get(&saying.change.conversation) else {
        return;
    };
    let payload = json!({
        "conversation_id": now.id,
        "updated_at": saying.timestamp,
        "metadata": parsed(&now.metadata),
        "type": now.kind,
        "is_active": now.is_active,
    });
    saying.tell("conversation_updated", |_| payload.clone());
    for user in facts.members.get(&now.id).into_iter().flatten() {
        saying.say(&user_channel(*user), "conversation_updated", |_| {
            payload.clone()
        });
    }
}

#[cfg(test)]
#[path = "tell_tests.rs"]
mod tests;
