//! The messages between clients and the server, independent of their transport: pure functions
//! between bytes and messages.

mod frame;
mod message;
pub mod native;
pub mod phoenix;
pub mod websocket;

pub use frame::{Frame, put_frame_header};
pub use message::{ClientCommand, ErrorCode, ServerReply, Staleness};
