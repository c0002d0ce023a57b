//! The viewers of the server's own system topics.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use latido_base::ident::{Channel, Topic};
use latido_hub::{HistoryReply, WatchObserver};
use latido_stream::SYSTEM_STREAM;

/// The system topics that currently have viewers. Clones share the same set.
#[derive(Debug, Clone, Default)]
pub struct SystemTopicViewers(Arc<SystemViewersShared>);

#[derive(Debug, Default)]
struct SystemViewersShared {
    /// Written under the hub's lock, read once per second. Held for one insertion or one copy.
    topics: Mutex<BTreeSet<Topic>>,
    /// Notified when a topic gains its first viewer, who is waiting for a frame.
    topic_added: Notify,
}

impl SystemTopicViewers {
    /// Wraps the engine's observer: system topics are recorded here, all other topics are forwarded
    /// to `engine`, which cannot read system topics.
    pub fn wrap_observer(&self, engine: Box<dyn WatchObserver>) -> Box<dyn WatchObserver> {
        Box::new(ForwardingObserver {
            viewers: self.clone(),
            engine,
        })
    }

    /// Returns the system topics that have viewers now.
    pub fn topics(&self) -> Vec<Topic> {
        self.0
            .topics
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }

    /// Waits until a system topic gains its first viewer. Cancel-safe.
    pub(super) async fn topic_added(&self) {
        self.0.topic_added.notified().await;
    }

    /// Updates the set of topics. Nobody needs to know if the update changed it.
    fn update(&self, change: impl FnOnce(&mut BTreeSet<Topic>) -> bool) {
        let _ = change(&mut self.0.topics.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

struct ForwardingObserver {
    viewers: SystemTopicViewers,
    engine: Box<dyn WatchObserver>,
}

impl WatchObserver for ForwardingObserver {
    fn on_watched(&self, topic: &Topic) {
        if topic.stream != SYSTEM_STREAM {
            return self.engine.on_watched(topic);
        }
        self.viewers.update(|topics| topics.insert(topic.clone()));
        self.viewers.0.topic_added.notify_one();
    }

    fn on_unwatched(&self, topic: &Topic) {
        if topic.stream != SYSTEM_STREAM {
            return self.engine.on_unwatched(topic);
        }
        self.viewers.update(|topics| topics.remove(topic));
    }

    fn read_history(&self, channel: &Channel, reply: HistoryReply) {
        if channel.topic.stream != SYSTEM_STREAM {
            self.engine.read_history(channel, reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use latido_base::ident::{Key, StreamId};

    struct TopicRecorder(Arc<Mutex<Vec<Topic>>>);

    impl WatchObserver for TopicRecorder {
        fn on_watched(&self, topic: &Topic) {
            self.0.lock().unwrap().push(topic.clone());
        }

        fn on_unwatched(&self, topic: &Topic) {
            self.0.lock().unwrap().retain(|one| one != topic);
        }
    }

    #[test]
    fn system_topics_are_not_forwarded_to_the_engine() {
        let (viewers, forwarded) = (SystemTopicViewers::default(), Arc::default());
        let observer = viewers.wrap_observer(Box::new(TopicRecorder(Arc::clone(&forwarded))));
        let topic = |stream| Topic {
            stream,
            key: Key::from_canonical("servidor"),
        };
        observer.on_watched(&topic(SYSTEM_STREAM));
        observer.on_watched(&topic(StreamId(0)));
        assert_eq!(
            (viewers.topics(), forwarded.lock().unwrap().clone()),
            (vec![topic(SYSTEM_STREAM)], vec![topic(StreamId(0))])
        );
        observer.on_unwatched(&topic(SYSTEM_STREAM));
        observer.on_unwatched(&topic(StreamId(0)));
        assert!(viewers.topics().is_empty() && forwarded.lock().unwrap().is_empty());
    }
}
