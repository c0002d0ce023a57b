//! What clients and server say to each other, apart from how it travels: pure functions between bytes and messages.

mod frame;
mod message;
pub mod native;
pub mod phoenix;

pub use frame::{Frame, put_header};
pub use message::{Command, ErrorCode, Reply, Staleness};
