//! The frames of a room, and the room's identity.

use latido_base::ident::Version;
use latido_protocol::Frame;

/// An encoded frame with its place in the order of its topic's frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionedFrame {
    /// The version of the snapshot in the frame, or for an error the version that it took instead
    /// of one.
    pub version: Version,
    /// The frame, encoded under the room's name.
    pub frame: Frame,
    /// The content of the frame.
    pub content: FrameContent,
}

/// The content of a topic's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameContent {
    /// A snapshot of the topic.
    Snapshot,
    /// The error that the topic cannot be read. Its next snapshot follows once it can.
    Unreadable {
        /// The time since when the numbers are old that viewers have, in Unix seconds. `None` if
        /// the topic had no snapshot.
        stale_since: Option<i64>,
    },
}

/// The id of a room: a channel name with viewers. Ids are never reused, so a late message for a
/// closed room has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(pub(super) u64);

/// The outcome of publishing a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The topic has no viewers any more.
    Unwatched,
    /// The row equals the last snapshot, so nothing was sent.
    Unchanged,
    /// The row is the topic's first snapshot; it was sent to all viewers.
    First(Version),
    /// The row differs from the last snapshot and was sent to all viewers.
    Changed(Version),
    /// The topic could not be read before. The row was sent to all viewers, even if it equals the
    /// last snapshot, because they were told of the failure.
    Recovered(Version),
}
