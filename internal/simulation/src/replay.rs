//! Running a script.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::script::Script;
use crate::violation::Violation;
use crate::world::SimWorld;

/// Runs a script from beginning to end.
pub(super) fn run(script: &Script) -> Result<u64, Violation> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        fastrand::seed(script.seed);
        let mut world = SimWorld::new(script);
        for (number, step) in script.steps.iter().enumerate() {
            world
                .apply_step(step)
                .map_err(|violation| format!("step {number}, {step:?}: {violation}"))?;
        }
        world
            .recover()
            .map_err(|violation| format!("once all has healed: {violation}"))
    }));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(format!(
            "a panic: {}",
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default()
        ))
    })
}
