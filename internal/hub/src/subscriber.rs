//! A viewer that runs as a Tokio task: an SSE response or a REST request.

use std::sync::Arc;

use tokio::sync::watch;

use crate::frame::{FrameContent, RoomId, VersionedFrame};
use crate::hub::Hub;
use crate::param_sets::TooManyParamSets;
use latido_base::ident::Channel;
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

/// The error for a topic that cannot be read now, although the database answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

/// A frame or a status that an [`AsyncSubscriber`] received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriberEvent {
    /// A frame with a new snapshot of the topic.
    Frame(VersionedFrame),
    /// The error that the topic cannot be read now. A frame follows once it can.
    /// The numbers that the viewer has are old since that time (Unix seconds), unless the topic had
    /// none.
    Unreadable(Frame, Option<i64>),
    /// A status frame: the database cannot be read, or can be read again.
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
                        return match frame.content {
                            FrameContent::Snapshot => SubscriberEvent::Frame(frame),
                            FrameContent::Unreadable { stale_since } => {
                                SubscriberEvent::Unreadable(frame.frame, stale_since)
                            }
                        };
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
    ///
    /// # Errors
    /// Returns an error if the topic cannot be read now.
    pub async fn next_readable_frame(&mut self) -> Result<VersionedFrame, Unreadable> {
        loop {
            match self.next().await {
                SubscriberEvent::Frame(frame) => return Ok(frame),
                SubscriberEvent::Unreadable(..) => return Err(Unreadable),
                SubscriberEvent::Status(_) => {}
            }
        }
    }

    /// Waits for the next snapshot and skips status frames and errors. Cancel-safe.
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

impl Hub {
    /// Adds a viewer that runs as a Tokio task. It is removed when it is dropped.
    ///
    /// # Errors
    /// The channel's key has too many topics.
    pub fn subscribe_async(
        self: &Arc<Self>,
        channel: &Channel,
    ) -> Result<AsyncSubscriber, TooManyParamSets> {
        let mut rooms = self.lock();
        let (room, first) = rooms.add_viewer(channel, None)?;
        if first {
            self.observer.on_watched(&channel.topic);
        }
        // Encode first, so that the receiver already holds the newest frame.
        let _ = rooms.latest_frame(room, |snapshot| self.encode(channel, snapshot));
        let (frames, status) = rooms.receivers(room);
        let stale = rooms.staleness_frame().is_some();
        let hub = Arc::clone(self);
        Ok(AsyncSubscriber::new(hub, room, frames, status, stale))
    }

    fn unsubscribe_async(&self, room: RoomId) {
        let mut rooms = self.lock();
        if let Some(topic) = rooms.remove_viewer(room, None) {
            self.observer.on_unwatched(&topic);
        }
    }
}
