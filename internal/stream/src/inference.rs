//! The parts of a stream's definition that its query decides.

use crate::stream_status::StreamProblem;

/// The parts of a stream's definition that the configuration leaves to its query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inference {
    /// True if the query names the key parts.
    pub keys: bool,
    /// True if the query decides which tables concern the stream.
    pub tables: bool,
    /// The reason why not everything is known. `None` before anybody looked.
    pub gap: Option<InferenceGap>,
}

impl Inference {
    /// Returns whether the query decides anything.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        self.keys || self.tables
    }

    /// Returns the reason why the stream cannot be served, if there is one.
    #[must_use]
    pub fn key_problem(&self) -> Option<&StreamProblem> {
        match &self.gap {
            Some(InferenceGap::Keys(problem)) => Some(problem),
            Some(InferenceGap::Tables(_)) | None => None,
        }
    }
}

/// The reason why a query does not decide everything that its stream needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InferenceGap {
    /// The key parts are not known, so the stream cannot be served.
    Keys(StreamProblem),
    /// The tables are not known: the hook and the sweep alone find changes.
    Tables(StreamProblem),
}
