//! What was prepared of each stream, for the reads that follow.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock};

use crate::prepared_stream::PreparedStream;
use latido_stream::Stream;

/// The prepared streams, by name and revision: while a stream is replaced, both definitions are
/// read. Written after a statement was described, read by every read. The lock is never held across
/// an await.
#[derive(Default)]
pub(super) struct PreparedCache(RwLock<HashMap<String, BTreeMap<u32, Arc<PreparedStream>>>>);

impl PreparedCache {
    pub(super) fn get(&self, stream: &Stream) -> Option<Arc<PreparedStream>> {
        let all = self.0.read().ok()?;
        all.get(&stream.name)?.get(&stream.revision).cloned()
    }

    pub(super) fn insert(&self, stream: &Stream, prepared: Arc<PreparedStream>) {
        if let Ok(mut all) = self.0.write() {
            let revisions = all.entry(stream.name.clone()).or_default();
            revisions.insert(stream.revision, prepared);
        }
    }

    pub(super) fn remove(&self, stream: &Stream) {
        if let Ok(mut all) = self.0.write()
            && let Some(revisions) = all.get_mut(&stream.name)
        {
            revisions.remove(&stream.revision);
            if revisions.is_empty() {
                all.remove(&stream.name);
            }
        }
    }
}
