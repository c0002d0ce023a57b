//! The session of Engine.IO as a state machine: packets, polls and times in, packets and payloads
//! out. Pure.
//!
//! A session is open from its first packet until its end, which comes once. It starts with one of
//! the two transports and may move from polling to a WebSocket once. Packets to the client wait in
//! one queue, whatever the transport is, so that none is lost, doubled or overtaken by the upgrade.

mod heartbeat;
#[cfg(test)]
mod model_tests;
mod outgoing;
mod session;
#[cfg(test)]
mod session_tests;

pub(crate) use heartbeat::{Millis, Timing};
#[cfg(test)]
use outgoing::OutPacket;
pub(crate) use outgoing::PollBody;
pub(crate) use session::{EngineSession, Message, PollStart, SessionEnd};
