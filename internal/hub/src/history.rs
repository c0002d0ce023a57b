//! Requests for the history of a channel. The hub passes them on to the observer, which reads the
//! database.

use std::fmt;

use latido_protocol::Frame;

/// The error for a history that cannot be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryUnavailable;

/// The history of a channel as a complete frame, which all its clients share.
pub type HistoryResult = Result<Frame, HistoryUnavailable>;

/// The way back to a client that asked for a history. Dropping it responds that the history cannot
/// be read, so nobody waits in vain.
pub struct HistoryReply(Option<Box<dyn FnOnce(HistoryResult) + Send>>);

impl HistoryReply {
    /// Creates a reply that calls `respond` once, from any thread and perhaps under a lock: it must
    /// not block, and must not call the hub.
    pub fn new(respond: impl FnOnce(HistoryResult) + Send + 'static) -> Self {
        Self(Some(Box::new(respond)))
    }

    /// Sends the result.
    pub fn send(mut self, result: HistoryResult) {
        if let Some(respond) = self.0.take() {
            respond(result);
        }
    }
}

impl Drop for HistoryReply {
    fn drop(&mut self) {
        if let Some(respond) = self.0.take() {
            respond(Err(HistoryUnavailable));
        }
    }
}

impl fmt::Debug for HistoryReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistoryReply").finish_non_exhaustive()
    }
}
