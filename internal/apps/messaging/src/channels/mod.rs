//! The channel session of one socket: its joined channels, the operation in progress, and queued
//! pushes. Pure: takes pushes and store responses, returns effects.
//!
//! One operation runs at a time, and later pushes wait in order. A client that sends three messages
//! in a row therefore has them stored in that order. Heartbeats are answered at once, so that a
//! slow database does not look like a dead server.

mod channel_pushes;
mod effect;
#[cfg(any(test, fuzzing, feature = "testing"))]
mod fuzzing;
mod parse_push;
mod reply;
mod session;

pub(super) use effect::{ChannelEffect, OperationError};
#[cfg(any(test, fuzzing, feature = "testing"))]
pub use fuzzing::fuzz_channel_session;
pub(super) use session::ChannelSession;

#[cfg(test)]
mod tests;
