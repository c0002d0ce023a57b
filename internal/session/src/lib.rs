//! The session of a native client as a state machine: messages in, effects out. It uses no socket,
//! no task and no clock.

mod close;
mod effect;
mod error_effect;
mod history;
mod limits;
mod rate_limit;
mod room_membership;
mod session;
mod session_context;
mod settings;
mod shared_limits;
mod stream_replacement;
mod subscription;

pub use close::CloseReason;
pub use effect::{PermissionAnswer, ReauthError, RoomPosition, SessionEffect};
pub use limits::SessionLimits;
pub use rate_limit::{MessageRateLimit, RateDecision, message_cost};
pub use session::Session;
pub use session_context::SessionContext;
pub use settings::VARIABLES;
pub use shared_limits::SharedLimits;
