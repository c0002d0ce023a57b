//! RFC 6455, the server's side, as pure functions: bytes in, messages out. No socket, no clock, no task.
//!
//! [`Reader`] turns what came off a socket into messages, [`handshake`] judges the request that asks for the upgrade, and the writers
//! encode the few frames that are not broadcasts (those are [`crate::protocol::Frame`]s). There are no extensions: nothing here
//! compresses, so the three reserved bits are always an error.

mod assembly;
mod framing;
pub mod handshake;
mod header;
mod mask;
mod writing;

#[cfg(test)]
mod framing_tests;

pub use framing::{Chunk, Message, ProtocolError, Reader};
pub use writing::{close_frame, echo_close_frame, ping_frame, pong_frame};
