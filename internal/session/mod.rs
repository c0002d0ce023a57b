//! One client's life as a state machine: messages in, effects out. No socket, no task, no clock.

mod bucket;
mod close;
mod conversation;
mod limits;

pub use bucket::{Bucket, Verdict};
pub use close::CloseReason;
pub use conversation::{Context, Conversation, Effect, Seat, Unverified};
pub use limits::Limits;
