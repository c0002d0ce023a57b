//! The frames that the hub has ready for a shard.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::frame::{RoomId, VersionedFrame};
use latido_base::ident::IterMap;
use latido_protocol::Frame;

/// The index of a shard in the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShardFramesId(pub(super) usize);

/// The work that a shard has not yet taken: at most one frame per room, one status, and the request
/// to try waiting subscriptions again.
#[derive(Debug, Default)]
pub struct PendingFrames {
    /// The newest frame of each room that changed.
    pub frames: IterMap<RoomId, VersionedFrame>,
    /// The newest status frame, which goes to every session.
    pub status: Option<Frame>,
    /// True if streams were replaced, so that their subscriptions must go over to others.
    pub replaces_streams: bool,
    /// True if a stream works now, so that subscriptions that wait for one must be tried again.
    pub retries_subscriptions: bool,
}

impl PendingFrames {
    fn is_empty(&self) -> bool {
        self.frames.is_empty()
            && self.status.is_none()
            && !self.replaces_streams
            && !self.retries_subscriptions
    }
}

/// The state shared by publishers, which write it, and the shard's thread, which empties it. A
/// plain mutex suffices: it is held for one insertion or one swap.
pub(super) struct ShardFramesInner {
    frames: Mutex<PendingFrames>,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// A shard's handle to its pending frames.
#[derive(Clone)]
pub struct ShardFrames {
    id: ShardFramesId,
    inner: Arc<ShardFramesInner>,
}

impl ShardFrames {
    pub(super) fn new(id: usize, wake: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            id: ShardFramesId(id),
            inner: Arc::new(ShardFramesInner {
                frames: Mutex::default(),
                wake,
            }),
        }
    }

    /// Returns the id with which the shard subscribes.
    pub fn id(&self) -> ShardFramesId {
        self.id
    }

    /// Takes everything that is pending.
    pub fn take(&self) -> PendingFrames {
        std::mem::take(
            &mut *self
                .inner
                .frames
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    pub(super) fn put_frame(&self, room: RoomId, frame: VersionedFrame) {
        self.update(|pending| {
            pending.frames.insert(room, frame);
        });
    }

    pub(super) fn put_status(&self, status: &Frame) {
        self.update(|pending| pending.status = Some(status.clone()));
    }

    /// Also tries waiting subscriptions again: their streams may be others now.
    pub(super) fn put_replacement(&self) {
        self.update(|pending| {
            pending.replaces_streams = true;
            pending.retries_subscriptions = true;
        });
    }

    pub(super) fn put_retry(&self) {
        self.update(|pending| pending.retries_subscriptions = true);
    }

    /// Changes the pending frames. Wakes the shard only if nothing was pending before, so that a
    /// burst causes one wake-up.
    fn update(&self, change: impl FnOnce(&mut PendingFrames)) {
        let mut pending = self
            .inner
            .frames
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let was_empty = pending.is_empty();
        change(&mut pending);
        drop(pending);
        if was_empty {
            (self.inner.wake)();
        }
    }
}

impl fmt::Debug for ShardFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ShardFrames").field(&self.id.0).finish()
    }
}
