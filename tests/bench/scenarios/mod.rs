//! What the socket's side costs: fan-out, memory, handshakes, fairness, overload, restarts, size.

mod size;

use crate::campaign::Scenario;

/// In the order they run.
pub(crate) const ALL: &[Scenario] = &[size::SCENARIO];
