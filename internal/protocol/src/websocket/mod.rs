//! The server side of RFC 6455 as pure functions: bytes in, messages out. It uses no socket, no
//! clock and no task.
//!
//! [`FrameReader`] turns the bytes of a socket into messages, [`handshake`] checks the upgrade
//! request, and the functions `*_frame` encode the few frames that are not broadcasts (those are
//! [`crate::Frame`]s). There are no extensions and no compression, so a set reserved bit
//! is always an error.

mod control_frames;
mod fragments;
mod framing;
pub mod handshake;
mod header;
mod mask;
mod protocol_error;

#[cfg(test)]
mod framing_tests;

pub use control_frames::{close_frame, echo_close_frame, ping_frame, pong_frame};
pub use framing::{Chunk, FrameReader, WsMessage};
pub use protocol_error::ProtocolError;
