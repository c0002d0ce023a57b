//! Builds the events that clients receive for a change. Pure: no database, task or clock.

use std::collections::HashMap;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::api_version::{ClientApiVersion, conversation_channel, user_channel};
use crate::database::{MessagingChange, StoredConversation, StoredMessage};
use crate::payload::{self, object_for, parse_json, rfc3339};
use latido_event_bus::Publish;

/// The current database rows that a batch of changes refers to.
#[derive(Debug, Default)]
pub(super) struct ChangeContext {
    pub(super) messages: HashMap<Uuid, StoredMessage>,
    pub(super) conversations: HashMap<Uuid, StoredConversation>,
    /// The members of each conversation that are connected to this server.
    pub(super) members: HashMap<Uuid, Vec<Uuid>>,
}

/// Collects the events of one change.
struct ChangeEventBuilder<'a> {
    change: &'a MessagingChange,
    conversation: String,
    timestamp: String,
    events: Vec<Publish>,
}

impl ChangeEventBuilder<'_> {
    /// Publishes an event on a channel in both API versions.
    fn publish(&mut self, channel: &str, event: &str, payload: impl Fn(ClientApiVersion) -> Value) {
        for api_version in ClientApiVersion::ALL {
            self.publish_in_version(api_version, channel, event, &payload(api_version));
        }
    }

    fn publish_in_version(
        &mut self,
        api_version: ClientApiVersion,
        channel: &str,
        event: &str,
        payload: &Value,
    ) {
        self.events.push(Publish::new(
            [api_version.topic(channel)],
            event,
            payload.to_string(),
        ));
    }

    /// Publishes an event in the change's conversation, in both API versions.
    fn publish_in_conversation(
        &mut self,
        event: &str,
        payload: impl Fn(ClientApiVersion) -> Value,
    ) {
        let conversation = std::mem::take(&mut self.conversation);
        self.publish(&conversation, event, payload);
        self.conversation = conversation;
    }
}

/// Returns the events that a change causes, in publishing order.
pub(super) fn events_for(change: &MessagingChange, context: &ChangeContext) -> Vec<Publish> {
    let mut builder = ChangeEventBuilder {
        change,
        conversation: conversation_channel(change.conversation),
        timestamp: rfc3339(change.at_us),
        events: Vec::new(),
    };
    // The content goes to the message's own conversation only, whatever the change says.
    let message = change
        .message
        .and_then(|id| context.messages.get(&id))
        .filter(|message| message.conversation_id == change.conversation);
    match (&*change.kind, message, change.user) {
        // If the message no longer exists, its deletion is a later change with its own events.
        ("message_added", Some(message), _) => message_added(&mut builder, message, context),
        ("message_edited", Some(message), _) => {
            // The mobile app listens to the second name.
            for event in ["message_edited", "message_updated"] {
                builder.publish_in_conversation(
                    event,
                    |api_version| json!({"message": payload::message_json(message, api_version)}),
                );
            }
        }
        ("message_deleted", ..) => message_deleted(&mut builder),
        ("reaction_added" | "reaction_removed", _, Some(user)) => {
            reaction_changed(&mut builder, user)
        }
        ("message_read", Some(message), Some(user)) => {
            message_read(&mut builder, user);
            delivery_status(&mut builder, message, user, "read");
        }
        ("message_delivered", Some(message), Some(user)) => {
            delivery_status(&mut builder, message, user, "delivered")
        }
        ("conversation_read", _, Some(user)) => {
            membership_changed(&mut builder, "conversation_read", user)
        }
        ("member_added", _, Some(user)) => {
            membership_changed(&mut builder, "member_added", user);
            let invitation =
                json!({"conversation_id": change.conversation, "timestamp": builder.timestamp});
            builder.publish(&user_channel(user), "conversation_invitation", |_| {
                invitation.clone()
            });
        }
        ("member_removed", _, Some(user)) => {
            membership_changed(&mut builder, "member_removed", user);
            let payload = membership_payload(&builder, user);
            builder.publish(&user_channel(user), "member_removed", payload);
        }
        ("settings_updated", _, Some(user)) => settings_updated(&mut builder, user),
        ("conversation_updated", ..) => conversation_updated(&mut builder, context),
        ("notification", _, Some(user)) => notification(&mut builder, user),
        _ => {}
    }
    builder.events
}

fn message_added(
    builder: &mut ChangeEventBuilder<'_>,
    message: &StoredMessage,
    context: &ChangeContext,
) {
    let wrapped = json!({"message": payload::message_json(message, ClientApiVersion::Current)});
    let conversation = builder.conversation.clone();
    builder.publish_in_version(
        ClientApiVersion::Documented,
        &conversation,
        "new_message",
        &payload::flat_message_json(message),
    );
    builder.publish_in_version(
        ClientApiVersion::Current,
        &conversation,
        "new_message",
        &wrapped,
    );
    let notice = payload::message_preview_json(message);
    for user in context
        .members
        .get(&message.conversation_id)
        .into_iter()
        .flatten()
        .filter(|user| **user != message.sender_id)
    {
        let channel = user_channel(*user);
        builder.publish_in_version(
            ClientApiVersion::Documented,
            &channel,
            "new_message",
            &notice,
        );
        builder.publish_in_version(ClientApiVersion::Current, &channel, "new_message", &wrapped);
    }
}

fn message_deleted(builder: &mut ChangeEventBuilder<'_>) {
    let everyone = parse_json(&builder.change.detail)
        .get("everyone")
        .cloned()
        .unwrap_or(Value::Bool(false));
    let (message, conversation) = (builder.change.message, builder.change.conversation);
    builder.publish_in_conversation("message_deleted", |api_version| {
        let members = [
            ("messageId", json!(message)),
            ("deleteForEveryone", everyone.clone()),
            ("conversationId", json!(conversation)),
        ];
        object_for(api_version, members)
    });
}

fn reaction_changed(builder: &mut ChangeEventBuilder<'_>, user: Uuid) {
    let detail = parse_json(&builder.change.detail);
    let (message, timestamp) = (builder.change.message, builder.timestamp.clone());
    builder.publish_in_conversation(&builder.change.kind.clone(), |api_version| {
        let members = [
            ("messageId", json!(message)),
            ("userId", json!(user)),
            ("reaction", detail["reaction"].clone()),
        ];
        let mut payload = object_for(api_version, members);
        if api_version == ClientApiVersion::Documented {
            payload["timestamp"] = json!(timestamp);
        }
        payload
    });
}

fn message_read(builder: &mut ChangeEventBuilder<'_>, user: Uuid) {
    let (message, at, channel) = (
        builder.change.message,
        builder.timestamp.clone(),
        builder.conversation.clone(),
    );
    let receipt = json!({"message_id": message, "user_id": user, "read_at": at});
    builder.publish_in_version(
        ClientApiVersion::Documented,
        &channel,
        "read_receipt",
        &receipt,
    );
    let conversation = builder.change.conversation;
    let payload = json!({"userId": user, "messageId": message, "conversationId": conversation, "timestamp": at});
    builder.publish_in_version(
        ClientApiVersion::Current,
        &channel,
        "message_read",
        &payload,
    );
}

/// Notifies the sender of the delivery status of a message.
fn delivery_status(
    builder: &mut ChangeEventBuilder<'_>,
    message: &StoredMessage,
    user: Uuid,
    status: &str,
) {
    let timestamp = builder.timestamp.clone();
    builder.publish(
        &user_channel(message.sender_id),
        "delivery_status",
        |api_version| {
            let members = [
                ("messageId", json!(message.id)),
                ("userId", json!(user)),
                ("status", json!(status)),
                ("timestamp", json!(timestamp)),
            ];
            object_for(api_version, members)
        },
    );
}

fn membership_payload(
    builder: &ChangeEventBuilder<'_>,
    user: Uuid,
) -> impl Fn(ClientApiVersion) -> Value + use<> {
    let (conversation, timestamp) = (builder.change.conversation, builder.timestamp.clone());
    move |api_version| {
        let members = [
            ("conversationId", json!(conversation)),
            ("userId", json!(user)),
            ("timestamp", json!(timestamp)),
        ];
        object_for(api_version, members)
    }
}

fn membership_changed(builder: &mut ChangeEventBuilder<'_>, event: &str, user: Uuid) {
    let payload = membership_payload(builder, user);
    builder.publish_in_conversation(event, payload);
}

/// Publishes a member's personal settings to that member's own devices.
fn settings_updated(builder: &mut ChangeEventBuilder<'_>, user: Uuid) {
    let detail = parse_json(&builder.change.detail);
    let (conversation, timestamp, channel) = (
        builder.change.conversation,
        builder.timestamp.clone(),
        user_channel(user),
    );
    let mut publish = |event: &str, name: &str, value: &Value| {
        let payload = json!({"conversation_id": conversation, name: value, "timestamp": timestamp});
        builder.publish(&channel, event, |_| payload.clone());
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

/// Publishes a notification to a user's devices: the object as it was sent, in both API versions.
fn notification(builder: &mut ChangeEventBuilder<'_>, user: Uuid) {
    let channel = user_channel(user);
    let topics = ClientApiVersion::ALL.map(|api_version| api_version.topic(&channel));
    let payload = builder.change.detail.as_str();
    builder
        .events
        .push(Publish::new(topics, "notification", payload));
}

fn conversation_updated(builder: &mut ChangeEventBuilder<'_>, context: &ChangeContext) {
    let Some(now) = context.conversations.get(&builder.change.conversation) else {
        return;
    };
    let payload = json!({
        "conversation_id": now.id,
        "updated_at": builder.timestamp,
        "metadata": parse_json(&now.metadata),
        "type": now.kind,
        "is_active": now.is_active,
    });
    builder.publish_in_conversation("conversation_updated", |_| payload.clone());
    for user in context.members.get(&now.id).into_iter().flatten() {
        builder.publish(&user_channel(*user), "conversation_updated", |_| {
            payload.clone()
        });
    }
}

#[cfg(test)]
#[path = "change_events_tests.rs"]
mod tests;
