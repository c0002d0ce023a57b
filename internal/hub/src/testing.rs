//! A look inside, for the tests of other crates.

use std::sync::Arc;

use latido_base::ident::{Topic, Version};

use crate::Hub;

impl Hub {
    /// Returns the columns of a watched topic's last snapshot, or `Some(None)` if it has none yet.
    /// Returns `None` if the topic has no viewers.
    pub fn shown(&self, topic: &Topic) -> Option<Option<Arc<str>>> {
        self.lock().topics.get(topic).map(|state| {
            state
                .latest
                .as_ref()
                .map(|snapshot| Arc::clone(&snapshot.columns))
        })
    }

    /// Returns the version of a watched topic's last snapshot, if there is one.
    pub fn version_shown(&self, topic: &Topic) -> Option<Version> {
        self.lock()
            .topics
            .get(topic)?
            .latest
            .as_ref()
            .map(|snapshot| snapshot.version)
    }
}
