//! The packets of Engine.IO (revisions 3 and 4) and Socket.IO (revisions 4 and 5), between bytes
//! and values.
//!
//! [`engineio`] has the packets of a connection and the payloads of polling. [`socketio`] has the
//! packets inside Engine.IO's messages. Everything here is a pure function. Packets borrow from
//! the bytes they were read from, and encoders append to the caller's buffer.
//!
//! The documents are `docs/engine.io-protocol` and `docs/socket.io-protocol` of the repository
//! `socketio/socket.io`. Where they are silent, the reference server's parsers decide.

pub mod engineio;
mod json;
pub mod socketio;
