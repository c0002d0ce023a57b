//! Finds a minimal failing list of steps by delta debugging.

use crate::replay::run;
use crate::script::Script;
use crate::violation::Violation;

/// The maximum number of runs for one minimisation.
const MAX_RUNS: usize = 3_000;

/// Returns a script from which no part can be removed, as far as tried, and its failure.
pub(super) fn smallest(script: Script) -> (Script, Violation) {
    let mut violation = run(&script)
        .err()
        .unwrap_or_else(|| "it does not fail when it is run again".to_owned());
    let (mut script, mut tries) = (script, 0);
    let mut chunk = script.steps.len().div_ceil(2);
    while chunk > 0 && tries < MAX_RUNS {
        let mut from = 0;
        let mut shorter = false;
        while from < script.steps.len() && tries < MAX_RUNS {
            tries += 1;
            let mut without = script.clone();
            without
                .steps
                .drain(from..(from + chunk).min(script.steps.len()));
            match run(&without) {
                Err(found) => (script, violation, shorter) = (without, found, true),
                Ok(_) => from += chunk,
            }
        }
        chunk = if shorter && chunk == 1 { 1 } else { chunk / 2 };
    }
    (script, violation)
}
