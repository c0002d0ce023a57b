//! Whether one statement may change rows of two tables of a chain.
//!
//! A lookup runs after the statement. If it needs a row that the same statement deleted, it does not
//! find the key. While the last table of a chain tells the whole key this is no gap: of all changed
//! rows, the one next to the key finds it. But a key whose parts come from several tables may then be
//! found from none of them.

use std::collections::BTreeSet;

use crate::keys::chain::Chain;
use crate::keys::prover::Prover;

impl Prover<'_> {
    /// Returns whether two places of a chain read the same table, or tables that a foreign key with
    /// ON DELETE CASCADE or the like changes together.
    pub(crate) fn may_change_together(&self, chain: &Chain) -> bool {
        let mut seen = BTreeSet::new();
        for place in &chain.places {
            let Some(relation) = self.relation_at(*place) else {
                return true;
            };
            let Some(sources) = self.cascade_sources(relation) else {
                return true;
            };
            if sources.iter().any(|source| seen.contains(source)) {
                return true;
            }
            seen.extend(sources);
        }
        false
    }

    /// Returns the tables whose changes change a table through foreign keys, and the table itself.
    /// Returns `None` if one of them is not known.
    fn cascade_sources(&self, relation: u32) -> Option<BTreeSet<u32>> {
        let (mut found, mut rest) = (BTreeSet::new(), vec![relation]);
        while let Some(next) = rest.pop() {
            if found.insert(next) {
                let facts = self.catalog.relations.get(&next)?;
                let cascading = facts.foreign_keys.iter().filter(|key| key.cascades);
                rest.extend(cascading.map(|key| key.parent));
            }
        }
        Some(found)
    }
}
