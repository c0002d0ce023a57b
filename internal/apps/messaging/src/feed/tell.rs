//! Builds the events that clients receive for a change. Pure: no database, task or clock.

use std::collections::HashMap;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::payload::{self, iso, parsed, spelled};
use crate::vocabulary::{Vocabulary, conversation_channel, user_channel};
use latido_event_bus::Publish;
use latido_postgres::apps::messaging::{MessagingChange, StoredConversation, StoredMessage};

/// The current database rows that a batch of changes refers to.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) messages: HashMap<Uuid, StoredMessage>,
    pub(super) conversations: HashMap<Uuid, StoredConversation>,
    /// The members of each conversation that are connected to this server.
    pub(super) members: HashMap<Uuid, Vec<Uuid>>,
}

/// Collects the events of one change.
struct Saying<'a> {
    change: &'a MessagingChange,
    conversation: String,
    timestamp: String,
    said: Vec<Publish>,
}

impl Saying<'_> {
    /// Publishes an event on a channel in both API versions.
    fn say(&mut self, channel: &str, event: &str, payload: impl Fn(Vocabulary) -> Value) {
        for api_version in Vocabulary::ALL {
            self.say_in(api_version, channel, event, &payload(api_version));
        }
    }

    fn say_in(&mut self, api_version: Vocabulary, channel: &str, event: &str, payload: &Value) {
        self.said.push(Publish::new(
            [api_version.topic(channel)],
            event,
            payload.to_string(),
        ));
    }

    /// Publishes an event in the change's conversation, in both API versions.
    fn tell(&mut self, event: &str, payload: impl Fn(Vocabulary) -> Value) {
        let conversation = std::mem::take(&mut self.conversation);
        self.say(&conversation, event, payload);
        self.conversation = conversation;
    }
}

/// Returns the events that a change causes, in publishing order.
pub(super) fn tell(change: &MessagingChange, context: &Facts) -> Vec<Publish> {
    let mut builder = Saying {
        change,
        conversation: conversation_channel(change.conversation),
        timestamp: iso(change.at_us),
        said: Vec::new(),
    };
    let message = change.message.and_then(|id| context.messages.get(&id));
    match (&*change.kind, message, change.user) {
        // If the message no longer exists, its deletion is a later change with its own events.
        ("message_added", Some(message), _) => added(&mut builder, message, context),
        ("message_edited", Some(message), _) => {
            // The mobile app listens to the second name.
            for event in ["message_edited", "message_updated"] {
                builder.tell(
                    event,
                    |api_version| json!({"message": payload::message(message, api_version)}),
                );
            }
        }
        ("message_deleted", ..) => deleted(&mut builder),
        ("reaction_added" | "reaction_removed", _, Some(user)) => reaction(&mut builder, user),
        ("message_read", Some(message), Some(user)) => {
            read(&mut builder, user);
            receipt(&mut builder, message, user, "read");
        }
        ("message_delivered", Some(message), Some(user)) => {
            receipt(&mut builder, message, user, "delivered")
        }
        ("conversation_read", _, Some(user)) => membership(&mut builder, "conversation_read", user),
        ("member_added", _, Some(user)) => {
            membership(&mut builder, "member_added", user);
            let invitation =
                json!({"conversation_id": change.conversation, "timestamp": builder.timestamp});
            builder.say(&user_channel(user), "conversation_invitation", |_| {
                invitation.clone()
            });
        }
        ("member_removed", _, Some(user)) => {
            membership(&mut builder, "member_removed", user);
            let payload = membership_payload(&builder, user);
            builder.say(&user_channel(user), "member_removed", payload);
        }
        ("settings_updated", _, Some(user)) => settings(&mut builder, user),
        ("conversation_updated", ..) => updated(&mut builder, context),
        _ => {}
    }
    builder.said
}

fn added(builder: &mut Saying<'_>, message: &StoredMessage, context: &Facts) {
    let wrapped = json!({"message": payload::message(message, Vocabulary::Head)});
    let conversation = builder.conversation.clone();
    builder.say_in(
        Vocabulary::Document,
        &conversation,
        "new_message",
        &payload::flat(message),
    );
    builder.say_in(Vocabulary::Head, &conversation, "new_message", &wrapped);
    let notice = payload::notice(message);
    for user in context
        .members
        .get(&message.conversation_id)
        .into_iter()
        .flatten()
        .filter(|user| **user != message.sender_id)
    {
        let channel = user_channel(*user);
        builder.say_in(Vocabulary::Document, &channel, "new_message", &notice);
        builder.say_in(Vocabulary::Head, &channel, "new_message", &wrapped);
    }
}

fn deleted(builder: &mut Saying<'_>) {
    let everyone = parsed(&builder.change.detail)
        .get("everyone")
        .cloned()
        .unwrap_or(Value::Bool(false));
    let (message, conversation) = (builder.change.message, builder.change.conversation);
    builder.tell("message_deleted", |api_version| {
        let members = [
            ("messageId", json!(message)),
            ("deleteForEveryone", everyone.clone()),
            ("conversationId", json!(conversation)),
        ];
        spelled(api_version, members)
    });
}

fn reaction(builder: &mut Saying<'_>, user: Uuid) {
    let detail = parsed(&builder.change.detail);
    let (message, timestamp) = (builder.change.message, builder.timestamp.clone());
    builder.tell(&builder.change.kind.clone(), |api_version| {
        let members = [
            ("messageId", json!(message)),
            ("userId", json!(user)),
            ("reaction", detail["reaction"].clone()),
        ];
        let mut payload = spelled(api_version, members);
        if api_version == Vocabulary::Document {
            payload["timestamp"] = json!(timestamp);
        }
        payload
    });
}

fn read(builder: &mut Saying<'_>, user: Uuid) {
    let (message, at, channel) = (
        builder.change.message,
        builder.timestamp.clone(),
        builder.conversation.clone(),
    );
    let receipt = json!({"message_id": message, "user_id": user, "read_at": at});
    builder.say_in(Vocabulary::Document, &channel, "read_receipt", &receipt);
    let conversation = builder.change.conversation;
    let payload = json!({"userId": user, "messageId": message, "conversationId": conversation, "timestamp": at});
    builder.say_in(Vocabulary::Head, &channel, "message_read", &payload);
}

/// Notifies the sender of the delivery status of a message.
fn receipt(builder: &mut Saying<'_>, message: &StoredMessage, user: Uuid, status: &str) {
    let timestamp = builder.timestamp.clone();
    builder.say(
        &user_channel(message.sender_id),
        "delivery_status",
        |api_version| {
            let members = [
                ("messageId", json!(message.id)),
                ("userId", json!(user)),
                ("status", json!(status)),
                ("timestamp", json!(timestamp)),
            ];
            spelled(api_version, members)
        },
    );
}

fn membership_payload(builder: &Saying<'_>, user: Uuid) -> impl Fn(Vocabulary) -> Value + use<> {
    let (conversation, timestamp) = (builder.change.conversation, builder.timestamp.clone());
    move |api_version| {
        let members = [
            ("conversationId", json!(conversation)),
            ("userId", json!(user)),
            ("timestamp", json!(timestamp)),
        ];
        spelled(api_version, members)
    }
}

fn membership(builder: &mut Saying<'_>, event: &str, user: Uuid) {
    let payload = membership_payload(builder, user);
    builder.tell(event, payload);
}

/// Publishes a member's personal settings to that member's own devices.
fn settings(builder: &mut Saying<'_>, user: Uuid) {
    let detail = parsed(&builder.change.detail);
    let (conversation, timestamp, channel) = (
        builder.change.conversation,
        builder.timestamp.clone(),
        user_channel(user),
    );
    let mut publish = |event: &str, name: &str, value: &Value| {
        let payload = json!({"conversation_id": conversation, name: value, "timestamp": timestamp});
        builder.say(&channel, event, |_| payload.clone());
    };
    publish(
        "conversation_settings_updated",
        "settings",
        &detail["settings"],
    );
    for (event, name) in [
        ("conversation_archived", "archived"),
        ("conversation_pinned", "pinned"),
    ] {
        if !detail[name].is_null() {
            publish(event, name, &detail[name]);
        }
    }
}

fn updated(builder: &mut Saying<'_>, context: &Facts) {
    let Some(now) = context.conversations.get(&builder.change.conversation) else {
        return;
    };
    let payload = json!({
        "conversation_id": now.id,
        "updated_at": builder.timestamp,
        "metadata": parsed(&now.metadata),
        "type": now.kind,
        "is_active": now.is_active,
    });
    builder.tell("conversation_updated", |_| payload.clone());
    for user in context.members.get(&now.id).into_iter().flatten() {
        builder.say(&user_channel(*user), "conversation_updated", |_| {
            payload.clone()
        });
    }
}

#[cfg(test)]
#[path = "tell_tests.rs"]
mod tests;
