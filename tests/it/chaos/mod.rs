//! A real server, a real database and everything that can go wrong between them: after every fault the viewers see what SQL says.
//!
//! Two servers stand on one database, each behind proxies that misbehave: one is a process of its own, whose sweep is off, so that nothing
//! hides what was missed; the other is in this process, whose clock can jump. Writers write, hooks are called, viewers come back. After
//! every fault all is healed and the writers rest, and every viewer must get there; in between no version may fall and no frame may be
//! another's.
//!
//! `make chaos` runs for ten minutes; an ordinary test run takes a slice. `LATIDO_SEED=n` repeats the order of faults, `make churn` looks
//! for memory that does not come back.

mod arena;
mod churn;
mod faults;
mod viewer;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arena::Arena;
use faults::Fault;

/// Seconds of an ordinary test run.
const SLICE_S: u64 = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// How often a fault was survived, and how long it took to be right again after it ended.
#[derive(Default)]
struct Survived {
    times: u32,
    total: Duration,
    longest: Duration,
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::print_stderr,
    reason = "the table is what this run is for; a seed is what repeats it"
)]
async fn nothing_is_lost_and_nobody_sees_anothers() {
    let seed = number("LATIDO_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("LATIDO_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let until =
        Instant::now() + Duration::from_secs(number("LATIDO_CHAOS_SECONDS").unwrap_or(SLICE_S));
    let mut arena = Arena::open(random.fork()).await;
    let mut table: BTreeMap<&str, Survived> = BTreeMap::new();
    let mut bag = Vec::new();
    while Instant::now() < until {
        // Each fault once before any comes again.
        if bag.is_empty() {
            bag = Fault::ALL.to_vec();
            random.shuffle(&mut bag);
        }
        let Some(fault) = bag.pop() else { break };
        let took = arena.survive(fault, &mut random).await;
        let survived = table.entry(fault.name()).or_default();
        survived.times += 1;
        survived.total += took;
        survived.longest = survived.longest.max(took);
    }
    let seen = arena.close().await;
    eprintln!(
        "| fault | survived | right again after, mean | longest |\n| --- | --- | --- | --- |"
    );
    for (fault, survived) in &table {
        let mean = survived.total / survived.times;
        eprintln!(
            "| {fault} | {} | {mean:.1?} | {:.1?} |",
            survived.times, survived.longest
        );
    }
    eprintln!("{seen}");
}
