//! The two API versions of clients, and the topic names of the event bus that keep them apart.

use uuid::Uuid;

use latido_event_bus::TopicName;

/// The beginning of the addresses that only clients of the current API use.
const CURRENT_API_PREFIX: &str = "/messaging/";

/// The event names and payload formats that a client understands. A socket starts with the
/// configured version, or that of its address; its first version-specific push fixes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientApiVersion {
    /// The documented API: `send_message`, flat, snake_case, content in base64.
    Documented,
    /// The API of the newest client code: `new_message`, nested, camelCase, content unchanged.
    Current,
}

impl ClientApiVersion {
    /// Both API versions, in the order in which events are published.
    pub(crate) const ALL: [Self; 2] = [Self::Documented, Self::Current];

    /// Parses the name of a version in the configuration: `document` or `head`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "document" => Some(Self::Documented),
            "head" => Some(Self::Current),
            _ => None,
        }
    }

    /// Returns the version that clients of an address use. Only the newest client code knows the
    /// addresses below `/messaging`; the document names the others.
    pub(crate) fn of_address(path: &str) -> Self {
        if path.starts_with(CURRENT_API_PREFIX) {
            Self::Current
        } else {
            Self::Documented
        }
    }

    /// Returns the only version that has this push, or `None` if both versions or neither have it.
    pub(super) fn implied_by(event: &str) -> Option<Self> {
        match event {
            "send_message" | "mark_as_read" | "update_presence" | "mark_all_read" => {
                Some(Self::Documented)
            }
            "new_message"
            | "user_typing"
            | "message_read"
            | "mark_read"
            | "message_delivered"
            | "edit_message"
            | "delete_message"
            | "update_status"
            | "get_conversations"
            | "get_unread_messages"
            | "mark_conversation_read" => Some(Self::Current),
            _ => None,
        }
    }

    /// Returns the topic for events of a channel in this version.
    pub(super) fn topic(self, channel: &str) -> TopicName {
        let prefix = if self == Self::Documented { 'd' } else { 'h' };
        TopicName::new(&format!("{prefix}/{channel}"))
    }
}

/// Returns the topic of a channel's presence list, which both versions share.
pub(super) fn channel_presence_topic(channel: &str) -> TopicName {
    TopicName::new(&format!("p/{channel}"))
}

/// Returns the topic on which a user's connections learn that they were removed from a channel.
pub(super) fn kick_topic(channel: &str, user: Uuid) -> TopicName {
    TopicName::new(&format!("o/{user}/{channel}"))
}

/// Returns the topic that all connections of a user join, which tracks the user's presence.
pub(super) fn user_presence_topic(user: Uuid) -> TopicName {
    TopicName::new(&format!("here/{user}"))
}

/// Parses the user from a topic of [`user_presence_topic`]. Returns `None` for other topics.
pub(super) fn user_of_topic(topic: &TopicName) -> Option<Uuid> {
    topic.as_str().strip_prefix("here/")?.parse().ok()
}

/// Returns `true` if the topic is a channel's presence list.
pub(super) fn is_channel_presence_topic(topic: &TopicName) -> bool {
    topic.as_str().starts_with("p/")
}

/// Returns the channel that a topic belongs to, as it is named on the wire.
pub(super) fn channel_of_topic(topic: &TopicName) -> &str {
    topic.as_str().rsplit('/').next().unwrap_or_default()
}

/// Returns the name of a user's channel.
pub(super) fn user_channel(user: Uuid) -> String {
    format!("user:{user}")
}

/// Returns the name of a conversation's channel.
pub(super) fn conversation_channel(conversation: Uuid) -> String {
    format!("conversation:{conversation}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_shows_the_version() {
        for (path, version) in [
            ("/socket/websocket", ClientApiVersion::Documented),
            ("/socket/longpoll", ClientApiVersion::Documented),
            ("/messaging/socket/websocket", ClientApiVersion::Current),
            ("/messaging/socket/longpoll", ClientApiVersion::Current),
        ] {
            assert_eq!(ClientApiVersion::of_address(path), version, "{path}");
        }
    }

    #[test]
    fn every_topic_maps_back_to_its_channel() {
        let user = Uuid::from_u128(7);
        let name = conversation_channel(Uuid::from_u128(9));
        let topics = [
            ClientApiVersion::Documented.topic(&name),
            ClientApiVersion::Current.topic(&name),
            channel_presence_topic(&name),
            kick_topic(&name, user),
        ];
        assert!(topics.iter().all(|topic| channel_of_topic(topic) == name));
        assert_eq!(
            topics
                .iter()
                .filter(|topic| is_channel_presence_topic(topic))
                .count(),
            1
        );
        assert_eq!(user_of_topic(&user_presence_topic(user)), Some(user));
        assert_eq!(topics.iter().find_map(user_of_topic), None);
    }
}
