//! A viewer that lives in tokio: an SSE response, a REST request.

use std::sync::Arc;

use tokio::sync::watch;

use crate::hub::{Hub, RoomId, Versioned};
use crate::protocol::Frame;

/// Sees a room's newest frame; what was replaced before it looked is gone, as for every viewer. Leaves the room when dropped.
#[derive(Debug)]
pub struct Watcher {
    hub: Arc<Hub>,
    room: RoomId,
    frames: watch::Receiver<Option<Versioned>>,
    status: watch::Receiver<Option<Frame>>,
}

/// What a watcher waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// A new snapshot.
    Frame(Versioned),
    /// Whether numbers may be old.
    Status(Frame),
}

impl Watcher {
    pub(super) fn new(
        hub: Arc<Hub>,
        room: RoomId,
        mut frames: watch::Receiver<Option<Versioned>>,
        mut status: watch::Receiver<Option<Frame>>,
        stale: bool,
    ) -> Self {
        // The current frame counts as unseen; so does a status that says «stale».
        frames.mark_changed();
        if stale {
            status.mark_changed();
        }
        Self {
            hub,
            room,
            frames,
            status,
        }
    }

    /// The next frame or status. Cancel-safe.
    pub async fn next(&mut self) -> Update {
        loop {
            tokio::select! {
                biased;
                Ok(()) = self.frames.changed() => {
                    if let Some(frame) = self.frames.borrow_and_update().clone() {
                        return Update::Frame(frame);
                    }
                }
                Ok(()) = self.status.changed() => {
                    if let Some(status) = self.status.borrow_and_update().clone() {
                        return Update::Status(status);
                    }
                }
                else => std::future::pending().await,
            }
        }
    }

    /// The next snapshot, passing over statuses. Cancel-safe.
    pub async fn next_frame(&mut self) -> Versioned {
        loop {
            if let Update::Frame(frame) = self.next().await {
                return frame;
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.hub.unwatch(self.room);
    }
}
