//! A look inside, for the tests of other crates.

use std::sync::Arc;

use crate::hub::Hub;
use latido_base::ident::{Topic, Version};

/// The columns of a topic's last snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LatestColumns {
    /// The topic has no viewers.
    Unwatched,
    /// The topic has viewers, but it has not been read yet.
    NotRead,
    /// The columns as JSON.
    Known(Arc<str>),
}

impl Hub {
    /// Returns the columns of a topic's last snapshot.
    pub fn latest_columns(&self, topic: &Topic) -> LatestColumns {
        let state = self.lock();
        let Some(topic) = state.topics.get(topic) else {
            return LatestColumns::Unwatched;
        };
        topic
            .latest_snapshot
            .as_ref()
            .map_or(LatestColumns::NotRead, |snapshot| {
                LatestColumns::Known(Arc::clone(&snapshot.columns))
            })
    }

    /// Returns whether the viewers of a topic were told that it cannot be read.
    pub fn is_unreadable(&self, topic: &Topic) -> bool {
        let state = self.lock();
        let topic = state.topics.get(topic);
        topic.is_some_and(|topic| topic.unreadable.is_some())
    }

    /// Returns the version of a watched topic's last snapshot, if there is one.
    pub fn latest_version(&self, topic: &Topic) -> Option<Version> {
        self.lock()
            .topics
            .get(topic)?
            .latest_snapshot
            .as_ref()
            .map(|snapshot| snapshot.version)
    }
}
