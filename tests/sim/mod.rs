//! The server without a network, a database or a clock: a seeded scheduler plays all three, against the real code.
//!
//! What runs is what serves: the engine's actor, the hub, a shard with its framing and its sessions, the declarations of interest. What
//! is played is what can fail: the database with its transactions, locks, notifications and clock; the listener's and the keeper's
//! connections; the answers of the desk; time; the clients. The shard's sockets are socket pairs, so the kernel's answers are real too,
//! and the same in every run. After every step the invariants of [`invariants`] hold, and at the end, when all has healed, every viewer
//! sees what the model of the database says.
//!
//! `LATIDO_SEED=n make sim` replays one run; `make sim SEEDS=m` tries that many, `LATIDO_SEED=n SEEDS=m` those from there on. What fails is
//! shrunk to the steps that it takes.

mod database;
mod faults;
mod invariants;
mod reads;
mod script;
mod shrink;
mod viewer;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use script::Script;
use world::World;

/// Seeds of an ordinary test run: what a slow machine does within a minute.
const SLICE: u64 = 1_000;
/// Seeds are counted from here, unless one is asked for.
const FIRST: u64 = 1;

/// What went wrong, for people.
type Violation = String;

/// Runs a script from beginning to end.
fn run(script: &Script) -> Result<u64, Violation> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        fastrand::seed(script.seed);
        let mut world = World::new(script);
        for (number, step) in script.steps.iter().enumerate() {
            world
                .take(step)
                .map_err(|violation| format!("step {number}, {step:?}: {violation}"))?;
        }
        world
            .heal()
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

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Each seed a server's life of some minutes, with everything that can go wrong in it.
#[test]
fn every_viewer_converges_whatever_fails() {
    let (first, count) = match (number("LATIDO_SEED"), number("SEEDS")) {
        (Some(seed), count) => (seed, count.unwrap_or(1)),
        (None, count) => (FIRST, count.unwrap_or(SLICE)),
    };
    let seeds = first..first + count;
    let (next, failed) = (AtomicU64::new(seeds.start), Mutex::new(None::<u64>));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || failed.lock().unwrap().is_some() {
                        return;
                    }
                    if run(&Script::of(seed)).is_err() {
                        failed.lock().unwrap().get_or_insert(seed);
                    }
                }
            });
        }
    });
    if let Some(seed) = failed.into_inner().unwrap() {
        let (script, violation) = shrink::smallest(Script::of(seed));
        let Script {
            lossy,
            zones,
            before_midnight_s,
            crowd,
            crowded,
            steps,
            ..
        } = script;
        let steps: String = steps.iter().map(|step| format!("  {step:?}\n")).collect();
        panic!(
            "LATIDO_SEED={seed} make sim\n{violation}\nlossy {lossy}, zones {zones}, midnight in {before_midnight_s} s, crowd {crowd} of key {crowded}\n{steps}"
        );
    }
}

/// What seed 15,674 came down to: the wall clock is set back over midnight, and clients have the world look at the engine's deadline more often
/// than that comes.
#[test]
fn a_clock_set_back_over_midnight_is_noticed() {
    use script::{Step, Write};
    let steps = vec![
        Step::Connect(0, 3600),
        Step::Subscribe(0, 160, false),
        Step::Answer(0, true),
        Step::Change(88, Write::Book(-1)),
        Step::Advance(202),
        Step::Deliver,
        Step::Write(65, 3, Write::Book(-1)),
        Step::Cure(42),
        Step::WallJump(-67),
    ];
    let script = Script {
        seed: 15_674,
        lossy: false,
        zones: false,
        before_midnight_s: 0,
        crowd: 0,
        crowded: 0,
        steps,
    };
    assert_eq!(run(&script).err(), None);
}

/// A run is a function of its seed: else nothing that was found could be looked at.
#[test]
fn a_seed_is_replayed_to_the_letter() {
    for seed in [3, 77] {
        let script = Script::of(seed);
        assert_eq!(run(&script), run(&script), "LATIDO_SEED={seed}");
    }
}
