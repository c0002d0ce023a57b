//! What the socket's side costs: fan-out, memory, handshakes, fairness, overload, restarts, size.

mod fanout;
mod size;

use crate::campaign::Scenario;

/// In the order they run.
pub(crate) const ALL: &[Scenario] = &[fanout::SCENARIOS[0], fanout::SCENARIOS[1], size::SCENARIO];
