//! The session of a native client as a state machine: messages in, effects out. It uses no socket,
//! no task and no clock.

mod bucket;
mod close;
mod conversation;
mod limits;

pub use bucket::{MessageRateLimit, RateDecision};
pub use close::CloseReason;
pub use conversation::{SessionContext, Session, SessionEffect, RoomPosition, ReauthError};
pub use limits::SessionLimits;
