//! A look inside, for the tests of other crates.

use std::sync::Arc;

use latido_base::ident::{Topic, Version};

use crate::Hub;

impl Hub {
    /// Returns the columns of a watched topic's last snapshot, or `Some(None)` if it has none yet.
    /// Returns `None` if the topic has no viewers.
    pub fn latest_columns(&self, topic: &Topic) -> Option<Option<Arc<str>>> {
        self.lock().topics.get(topic).map(|state| {
            state
                .latest_snapshot
                .as_ref()
                .map(|snapshot| Arc::clone(&snapshot.columns))
        })
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
