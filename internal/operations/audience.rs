//! Who watches the server's own topics.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::hub::Observer;
use crate::ident::Topic;
use crate::stream::SERVER;

/// The topics of the server that have viewers. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Audience(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Written under the hub's lock, read once a second; held for one insertion or one copy.
    topics: Mutex<BTreeSet<Topic>>,
    /// Rung when a topic gained its first viewer, who waits for a frame.
    wake: Notify,
}

impl Audience {
    /// The hub's observer that keeps the server's topics for us and tells of all others to `engine`, who can't read these.
    pub fn beside(&self, engine: Box<dyn Observer>) -> Box<dyn Observer> {
        Box::new(Beside {
            audience: self.clone(),
            engine,
        })
    }

    /// What is watched now.
    pub fn topics(&self) -> Vec<Topic> {
        self.0
            .topics
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }

    /// Resolves when there is a topic that was not watched before. Cancel-safe.
    pub(super) async fn grown(&self) {
        self.0.wake.notified().await;
    }

    /// Whether it changed anything is nobody's question.
    fn change(&self, change: impl FnOnce(&mut BTreeSet<Topic>) -> bool) {
        let _ = change(&mut self.0.topics.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

struct Beside {
    audience: Audience,
    engine: Box<dyn Observer>,
}

impl Observer for Beside {
    fn watched(&self, topic: &Topic) {
        if topic.stream != SERVER {
            return self.engine.watched(topic);
        }
        self.audience.change(|topics| topics.insert(topic.clone()));
        self.audience.0.wake.notify_one();
    }

    fn unwatched(&self, topic: &Topic) {
        if topic.stream != SERVER {
            return self.engine.unwatched(topic);
        }
        self.audience.change(|topics| topics.remove(topic));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::{Key, StreamId};

    struct Recorder(Arc<Mutex<Vec<Topic>>>);

    impl Observer for Recorder {
        fn watched(&self, topic: &Topic) {
            self.0.lock().unwrap().push(topic.clone());
        }

        fn unwatched(&self, topic: &Topic) {
            self.0.lock().unwrap().retain(|one| one != topic);
        }
    }

    #[test]
    fn the_engine_never_hears_of_the_server() {
        let (audience, heard) = (Audience::default(), Arc::default());
        let observer = audience.beside(Box::new(Recorder(Arc::clone(&heard))));
        let topic = |stream| Topic {
            stream,
            key: Key::from_canonical("servidor"),
        };
        observer.watched(&topic(SERVER));
        observer.watched(&topic(StreamId(0)));
        assert_eq!(
            (audience.topics(), heard.lock().unwrap().clone()),
            (vec![topic(SERVER)], vec![topic(StreamId(0))])
        );
        observer.unwatched(&topic(SERVER));
        observer.unwatched(&topic(StreamId(0)));
        assert!(audience.topics().is_empty() && heard.lock().unwrap().is_empty());
    }
}
