//! What the database's side costs: writers, reads, bursts, history.

use crate::campaign::Scenario;

/// In the order they run.
pub(crate) const ALL: &[Scenario] = &[];
