//! Modules that speak for themselves: over the raw WebSocket `/esp32`, and over the Socket.IO dialects of older firmware.

pub(super) mod conversation;
pub(super) mod frame;
pub(super) mod password;
