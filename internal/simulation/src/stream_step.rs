//! The steps of event streams. Numbers of topics are taken modulo the number of topics.

/// A step of the client of an event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamStep {
    /// Follows one more channel, by one of its two names.
    Follow(u8, u8, bool),
    /// Gives a channel up.
    GiveUp(u8, u8),
    /// The client is gone, with all its channels.
    Close(u8),
    /// The client reads nothing.
    Pause(u8),
    /// The client reads again.
    Resume(u8),
}
