//! The watched topics of each key: those that a change of the key's rows concerns.

use std::collections::HashMap;

use latido_base::ident::Topic;

/// The watched topics by their key, which is a topic without parameters.
#[derive(Debug, Default)]
pub(super) struct TopicsByKey {
    topics: HashMap<Topic, Vec<Topic>>,
}

impl TopicsByKey {
    /// Adds a watched topic, once.
    pub(super) fn insert(&mut self, topic: &Topic) {
        let topics = self.topics.entry(topic.without_params()).or_default();
        if !topics.contains(topic) {
            topics.reserve_exact(1);
            topics.push(topic.clone());
        }
    }

    /// Removes a topic.
    pub(super) fn remove(&mut self, topic: &Topic) {
        let key = topic.without_params();
        let Some(topics) = self.topics.get_mut(&key) else {
            return;
        };
        topics.retain(|other| other != topic);
        if topics.is_empty() {
            self.topics.remove(&key);
        }
    }

    /// Returns the watched topics of a key, in the order in which they were added.
    pub(super) fn of_key(&self, key: &Topic) -> &[Topic] {
        self.topics.get(key).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use latido_base::ident::{Key, StreamId};

    use super::*;

    #[test]
    fn topics_of_a_key_share_it_whatever_their_parameters() {
        let topic = |key: &str, params: &[&str]| Topic {
            stream: StreamId(0),
            key: Key::from_parts([key]).with_params(params),
        };
        let mut topics = TopicsByKey::default();
        for watched in [
            topic("7", &["a"]),
            topic("7", &["b"]),
            topic("7", &["a"]),
            topic("8", &[]),
        ] {
            topics.insert(&watched);
        }
        assert_eq!(
            topics.of_key(&topic("7", &[])),
            [topic("7", &["a"]), topic("7", &["b"])]
        );
        assert_eq!(topics.of_key(&topic("8", &[])), [topic("8", &[])]);
        topics.remove(&topic("7", &["a"]));
        topics.remove(&topic("7", &["c"]));
        assert_eq!(topics.of_key(&topic("7", &[])), [topic("7", &["b"])]);
        topics.remove(&topic("7", &["b"]));
        topics.remove(&topic("8", &[]));
        assert!(topics.topics.is_empty());
    }
}
