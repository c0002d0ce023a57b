//! The session of a native client as a state machine: messages in, effects out. It uses no socket,
//! no task and no clock.

mod bucket;
mod close;
mod conversation;
mod limits;

pub use bucket::{Bucket, Verdict};
pub use close::CloseReason;
pub use conversation::{Context, Conversation, Effect, Seat, Unverified};
pub use limits::Limits;
