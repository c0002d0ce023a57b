//! Chaos test: a real server, a real database and every fault that can happen between them. After
//! every fault the viewers must show the same as SQL.
//!
//! Two servers use one database, each behind proxies that inject faults. One is a separate process
//! whose sweep is off, so nothing hides a missed change. The other runs in this process, so its
//! clock can jump. Writers write, hooks are called, and viewers reconnect. After every fault all
//! faults are removed and the writers pause, and every viewer must become right. Meanwhile no
//! version may fall and no viewer may receive a frame of another business.
//!
//! `make chaos` runs for ten minutes; an ordinary test run takes a short slice. `LATIDO_SEED=n`
//! repeats the order of faults. `make churn` looks for memory leaks.

mod churn;
mod deployment;
mod fault;
mod faults;
mod viewer;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use deployment::Deployment;
use fault::Fault;

/// The duration of this test in an ordinary run, in seconds.
const SLICE_S: u64 = 60;

fn env_number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The number of survived faults of one kind, and the recovery times after they ended.
#[derive(Default)]
struct RecoveryStats {
    times: u32,
    total: Duration,
    longest: Duration,
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "the table is the result of this run")]
async fn no_change_is_lost_and_no_viewer_sees_foreign_data() {
    let seed = crate::harness::replayable_seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let until =
        Instant::now() + Duration::from_secs(env_number("LATIDO_CHAOS_SECONDS").unwrap_or(SLICE_S));
    let mut deployment = Deployment::start(random.fork()).await;
    let mut table: BTreeMap<&str, RecoveryStats> = BTreeMap::new();
    let mut bag = Vec::new();
    while Instant::now() < until {
        // Apply each fault once before any fault repeats.
        if bag.is_empty() {
            bag = Fault::ALL.to_vec();
            random.shuffle(&mut bag);
        }
        let Some(fault) = bag.pop() else { break };
        let took = deployment.apply_fault(fault, &mut random).await;
        let survived = table.entry(fault.name()).or_default();
        survived.times += 1;
        survived.total += took;
        survived.longest = survived.longest.max(took);
    }
    let seen = deployment.shut_down().await;
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
