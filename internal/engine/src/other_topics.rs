//! The watched topics of each key that are not the key itself: those with parameters. A change of
//! the key's rows concerns them all.

use std::collections::HashMap;

use latido_base::ident::{IterMap, Topic};

/// The watched topics by their key, which is a topic without parameters. A topic that is its own
/// key needs no entry, so that a key without parameters takes no memory here.
#[derive(Debug, Default)]
pub(super) struct OtherTopics {
    topics: HashMap<Topic, IterMap<Topic, ()>>,
}

impl OtherTopics {
    /// Adds a watched topic, once.
    pub(super) fn insert(&mut self, topic: &Topic) {
        let key = topic.without_params();
        if key != *topic {
            let topics = self.topics.entry(key).or_default();
            topics.insert(topic.clone(), ());
        }
    }

    /// Removes a topic.
    pub(super) fn remove(&mut self, topic: &Topic) {
        let key = topic.without_params();
        let Some(topics) = self.topics.get_mut(&key) else {
            return;
        };
        topics.swap_remove(topic);
        if topics.is_empty() {
            self.topics.remove(&key);
        }
    }

    /// Returns the topics of a key.
    pub(super) fn of_key(&self, key: &Topic) -> impl Iterator<Item = &Topic> {
        self.topics.get(key).into_iter().flat_map(IterMap::keys)
    }
}

#[cfg(test)]
mod tests {
    use latido_base::ident::{Key, StreamId};

    use super::*;

    fn topic(key: &str, params: &[&str]) -> Topic {
        Topic {
            stream: StreamId(0),
            key: Key::from_parts([key]).with_params(params),
        }
    }

    #[test]
    fn topics_of_a_key_share_it_whatever_their_parameters() {
        let mut topics = OtherTopics::default();
        for watched in [
            topic("7", &["a"]),
            topic("7", &["b"]),
            topic("7", &["a"]),
            topic("8", &[]),
        ] {
            topics.insert(&watched);
        }
        let of_7 = |topics: &OtherTopics| -> Vec<Topic> {
            topics.of_key(&topic("7", &[])).cloned().collect()
        };
        let both = [topic("7", &["a"]), topic("7", &["b"])];
        assert_eq!(of_7(&topics), both);
        topics.remove(&topic("7", &["a"]));
        topics.remove(&topic("7", &["c"]));
        assert_eq!(of_7(&topics), [topic("7", &["b"])]);
        topics.remove(&topic("7", &["b"]));
        assert!(topics.topics.is_empty());
    }

    #[test]
    fn key_without_parameters_takes_no_memory() {
        let mut topics = OtherTopics::default();
        topics.insert(&topic("8", &[]));
        assert_eq!(topics.topics.capacity(), 0);
        assert_eq!(topics.of_key(&topic("8", &[])).count(), 0);
        topics.remove(&topic("8", &[]));
    }
}
