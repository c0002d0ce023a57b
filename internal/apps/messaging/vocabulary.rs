//! Two generations of clients, and the names of the exchange's topics that keep them apart.

use uuid::Uuid;

use crate::hub::exchange::TopicName;

/// Which names and shapes a client understands. A socket has the configured one until its first push tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Vocabulary {
    /// The document's: `send_message`, flat, snake_case, content in base64.
    Document,
    /// The newest code's: `new_message`, nested, camelCase, content as it was sent.
    #[default]
    Head,
}

impl Vocabulary {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Document, Self::Head];

    /// By its name in the configuration.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "document" => Some(Self::Document),
            "head" => Some(Self::Head),
            _ => None,
        }
    }

    /// Whose word this push is, if it is only one's.
    pub(super) fn of_push(event: &str) -> Option<Self> {
        match event {
            "send_message" | "mark_as_read" | "update_presence" | "mark_all_read" => {
                Some(Self::Document)
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
            | "mark_conversation_read" => Some(Self::Head),
            _ => None,
        }
    }

    /// What is said on a channel in this vocabulary.
    pub(super) fn topic(self, channel: &str) -> TopicName {
        let prefix = if self == Self::Document { 'd' } else { 'h' };
        TopicName::new(&format!("{prefix}/{channel}"))
    }
}

/// Who is on a channel: the same for both vocabularies.
pub(super) fn roster(channel: &str) -> TopicName {
    TopicName::new(&format!("p/{channel}"))
}

/// What is said to one user's connections on a channel: that they are out.
pub(super) fn dismissal(channel: &str, user: Uuid) -> TopicName {
    TopicName::new(&format!("o/{user}/{channel}"))
}

/// All connections of a user.
pub(super) fn presence(user: Uuid) -> TopicName {
    TopicName::new(&format!("here/{user}"))
}

/// The user of such a topic.
pub(super) fn present(topic: &TopicName) -> Option<Uuid> {
    topic.as_str().strip_prefix("here/")?.parse().ok()
}

/// Whether a topic is a channel's roster.
pub(super) fn is_roster(topic: &TopicName) -> bool {
    topic.as_str().starts_with("p/")
}

/// The channel that a topic belongs to, as it stands on the wire.
pub(super) fn channel(topic: &TopicName) -> &str {
    topic.as_str().rsplit('/').next().unwrap_or_default()
}

/// The channel of a user.
pub(super) fn user_channel(user: Uuid) -> String {
    format!("user:{user}")
}

/// The channel of a conversation.
pub(super) fn conversation_channel(conversation: Uuid) -> String {
    format!("conversation:{conversation}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_leads_back_to_its_channel() {
        let user = Uuid::from_u128(7);
        let name = conversation_channel(Uuid::from_u128(9));
        let topics = [
            Vocabulary::Document.topic(&name),
            Vocabulary::Head.topic(&name),
            roster(&name),
            dismissal(&name, user),
        ];
        assert!(topics.iter().all(|topic| channel(topic) == name));
        assert_eq!(topics.iter().filter(|topic| is_roster(topic)).count(), 1);
        assert_eq!(present(&presence(user)), Some(user));
        assert_eq!(topics.iter().find_map(present), None);
    }
}
