//! The seed of a test with random steps.

/// Returns `LATIDO_SEED`, or a random seed. Prints it, so that a failed run can be replayed.
#[expect(
    clippy::print_stderr,
    reason = "the runner prints the seed of a failed test, which replays the run"
)]
pub(crate) fn replayable_seed() -> u64 {
    let seed = std::env::var("LATIDO_SEED").ok();
    let seed = seed.and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("LATIDO_SEED={seed}");
    seed
}
