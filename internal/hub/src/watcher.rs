//! A viewer that runs as a Tokio task: an SSE response or a REST request.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{Hub, RoomId, Versioned};
use latido_protocol::Frame;

/// A viewer of one room that yields the newest frame. Frames replaced before it polls are lost, as
/// for every viewer. Dropping it removes it from the room.
#[derive(Debug)]
pub struct Watcher {
    hub: Arc<Hub>,
    room: RoomId,
    frames: watch::Receiver<Option<Versioned>>,
    status: watch::Receiver<Option<Frame>>,
}

/// A frame or a status that an [`AsyncSubscriber`] received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// A frame with a new snapshot of the topic.
    Frame(Versioned),
    /// A status frame: the data is stale, or fresh again.
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
        // The current frame counts as unseen, and so does a status that reports stale data.
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

    /// Waits for the next frame or status. Cancel-safe.
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

    /// Waits for the next snapshot and skips status frames. Cancel-safe.
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
