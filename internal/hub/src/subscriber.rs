//! A viewer that runs as a Tokio task: an SSE response or a REST request.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{Hub, RoomId, VersionedFrame};
use latido_protocol::Frame;

/// A viewer of one room that yields the newest frame. Frames replaced before it polls are lost, as
/// for every viewer. Dropping it removes it from the room.
#[derive(Debug)]
pub struct AsyncSubscriber {
    hub: Arc<Hub>,
    room: RoomId,
    frames: watch::Receiver<Option<VersionedFrame>>,
    status: watch::Receiver<Option<Frame>>,
}

/// A frame or a status that an [`AsyncSubscriber`] received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriberEvent {
    /// A frame with a new snapshot of the topic.
    Frame(VersionedFrame),
    /// A status frame: the data is stale, or fresh again.
    Status(Frame),
}

impl AsyncSubscriber {
    pub(super) fn new(
        hub: Arc<Hub>,
        room: RoomId,
        mut frames: watch::Receiver<Option<VersionedFrame>>,
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
    pub async fn next(&mut self) -> SubscriberEvent {
        loop {
            tokio::select! {
                biased;
                Ok(()) = self.frames.changed() => {
                    if let Some(frame) = self.frames.borrow_and_update().clone() {
                        return SubscriberEvent::Frame(frame);
                    }
                }
                Ok(()) = self.status.changed() => {
                    if let Some(status) = self.status.borrow_and_update().clone() {
                        return SubscriberEvent::Status(status);
                    }
                }
                else => std::future::pending().await,
            }
        }
    }

    /// Waits for the next snapshot and skips status frames. Cancel-safe.
    pub async fn next_frame(&mut self) -> VersionedFrame {
        loop {
            if let SubscriberEvent::Frame(frame) = self.next().await {
                return frame;
            }
        }
    }
}

impl Drop for AsyncSubscriber {
    fn drop(&mut self) {
        self.hub.unsubscribe_async(self.room);
    }
}
