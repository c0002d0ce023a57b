//! Devices that connect as modules: over the raw WebSocket `/esp32`, and over the Socket.IO events
//! of older firmware.

pub(super) mod frame;
pub(super) mod password;
pub(super) mod session;
