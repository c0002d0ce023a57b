//! The session of a native client as a state machine: messages in, effects out. It uses no socket,
//! no task and no clock.

mod close;
mod limits;
mod rate_limit;
mod session;
mod settings;

pub use close::CloseReason;
pub use limits::SessionLimits;
pub use rate_limit::{MessageRateLimit, RateDecision};
pub use session::{
    PermissionAnswer, ReauthError, RoomPosition, Session, SessionContext, SessionEffect,
};
pub use settings::VARIABLES;
