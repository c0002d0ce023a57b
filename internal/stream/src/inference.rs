//! The parts of a stream's definition that its query decides.

use crate::stream_status::StreamProblem;

/// The parts of a stream's definition that the configuration leaves to its query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inference {
    /// True if the query names the key parts.
    pub keys: bool,
    /// True if the query decides which tables concern the stream.
    pub tables: bool,
    /// The SQL file that alone defines the stream, as `latido.toml` would name it.
    pub file: Option<String>,
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

    /// Returns the reason why nothing notifies the stream's changes, if its tables are not known.
    #[must_use]
    pub fn table_problem(&self) -> Option<&StreamProblem> {
        match &self.gap {
            Some(InferenceGap::Tables(problem)) => Some(problem),
            Some(InferenceGap::Keys(_)) | None => None,
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
