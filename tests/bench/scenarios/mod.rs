//! The scenarios of the socket side: fan-out, memory, handshakes, fairness, overload, restarts,
//! mass disconnects, Socket.IO, abuse and size.

mod attackers;
mod disconnects;
mod fanout;
mod handshake;
mod idle;
mod invalid_subscriptions;
mod mixed_abuse;
mod overload;
mod shards;
mod size;
mod socketio;
mod storm;
mod topics;

use crate::runner::Scenario;

/// The scenarios in the order of their runs.
pub(crate) const ALL: &[Scenario] = &[
    fanout::SCENARIOS[0],
    fanout::SCENARIOS[1],
    handshake::SCENARIO,
    shards::SCENARIO,
    topics::SCENARIOS[0],
    topics::SCENARIOS[1],
    overload::SCENARIO,
    storm::SCENARIO,
    disconnects::SCENARIO,
    idle::SCENARIO,
    socketio::SCENARIO,
    invalid_subscriptions::SCENARIO,
    mixed_abuse::SCENARIO,
    size::SCENARIO,
];
