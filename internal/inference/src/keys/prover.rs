//! The state of a proof.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use crate::block::{BlockId, Blocks};
use crate::keys::catalog::KeyCatalog;
use crate::keys::class::Classes;
use crate::keys::fact::{BlockFacts, Fact};
use crate::keys::source::{Place, SourceColumn};

/// The largest number of steps of one proof.
const MAX_STEPS: usize = 2_000_000;

/// The state of a proof.
pub(crate) struct Prover<'a> {
    pub(crate) blocks: Blocks<'a>,
    pub(crate) catalog: KeyCatalog<'a>,
    /// The facts of each block that was entered.
    pub(crate) regions: HashMap<BlockId, Rc<BlockFacts<'a>>>,
    /// The equalities of `x IN (…)` that hold for every row of the sub-select that matters.
    pub(crate) tests: HashMap<BlockId, Vec<Fact<'a>>>,
    pub(crate) classes: HashMap<Place, Rc<Classes>>,
    /// The columns that hold the values of each key part.
    pub(crate) key: Vec<BTreeSet<SourceColumn>>,
    /// The type of each key part.
    pub(crate) key_types: Vec<u32>,
    steps_left: usize,
}

impl<'a> Prover<'a> {
    pub(crate) fn new(blocks: Blocks<'a>, catalog: KeyCatalog<'a>) -> Self {
        Self {
            blocks,
            catalog,
            regions: HashMap::new(),
            tests: HashMap::new(),
            classes: HashMap::new(),
            key: Vec::new(),
            key_types: Vec::new(),
            steps_left: MAX_STEPS,
        }
    }

    /// Counts a step. Returns `None` if there were too many.
    pub(crate) fn spend(&mut self) -> Option<()> {
        self.steps_left = self.steps_left.checked_sub(1)?;
        Some(())
    }

    /// Returns whether there were too many steps.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.steps_left == 0
    }
}
