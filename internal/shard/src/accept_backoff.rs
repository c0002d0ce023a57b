//! The pauses between failed accepts.

use std::io;
use std::time::Duration;

use rustix::io::Errno;

use latido_base::backoff::Backoff;

/// The first and the longest pause after an accept that failed for lack of descriptors or memory.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));

/// The pauses between failed accepts, with exponential growth.
#[derive(Debug)]
pub struct AcceptBackoff(Backoff);

impl Default for AcceptBackoff {
    fn default() -> Self {
        Self(BACKOFF)
    }
}

impl AcceptBackoff {
    /// Resets the pause after a successful accept.
    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// Returns the pause after this error: 20 ms first, then doubled up to 1 s. The first error of
    /// a run is logged with `open`, the number of open connections.
    pub fn next_pause(&mut self, error: &io::Error, open: usize) -> Duration {
        if !self.0.has_failed() {
            tracing::warn!(%error, open, "can't accept connections; trying again with growing pauses");
        }
        self.0.next_pause()
    }
}

/// Returns whether an error concerns the accepted connection only, as accept(2) passes such errors
/// on; the next accept may succeed.
///
/// Any other error, above all a lack of file descriptors, would repeat at once. The accepting loop
/// must [pause](AcceptBackoff) after it.
pub fn is_peer_error(error: &io::Error) -> bool {
    let Some(errno) = Errno::from_io_error(error) else {
        return false;
    };
    matches!(
        errno,
        Errno::CONNABORTED
            | Errno::CONNRESET
            | Errno::INTR
            | Errno::PROTO
            | Errno::PERM
            | Errno::TIMEDOUT
    )
}
