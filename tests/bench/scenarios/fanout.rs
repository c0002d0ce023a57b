//! One topic and all its viewers, next to the floor and every peer: the cost of a frame, the cost
//! of a connection, and the time to the last viewer.

use crate::cluster::{BenchCluster, BenchDatabase, Durability};
use crate::load::{ConnectionGroup, LoadProcess};
use crate::pacer::PublishSchedule;
use crate::peers;
use crate::report::{Goal, GoalBound};
use crate::runner::{BenchContext, MeasuredSubject as _, Scenario};
use crate::subject::BenchSubject;

pub(crate) const SCENARIOS: [Scenario; 2] = [
    Scenario {
        name: "fan-out-small",
        about: "one topic, 1,000 viewers, 50 changes a second",
        run: run_small,
    },
    Scenario {
        name: "fan-out-large",
        about: "one topic, 10,000 viewers, 5 changes a second; connecting, memory at rest",
        run: run_large,
    },
];

const CPU: &str = "server CPU a frame";
const MEMORY: &str = "memory a connection";
const CONNECT: &str = "server CPU a connect";
const DELAY: &str = "delay p99";
const SPREAD: &str = "first to last p99";

/// The number of viewers, the rate and the duration of a comparison.
struct FanoutCase {
    viewers: usize,
    rate: f64,
    seconds: f64,
}

fn run_small(bench: &mut BenchContext) -> anyhow::Result<()> {
    compare_subjects(
        bench,
        &FanoutCase {
            viewers: 1_000,
            rate: 50.0,
            seconds: 2.5,
        },
    )?;
    bench.goal(Goal::ratio("latido", CPU, "floor", GoalBound::AtMost(1.10)));
    bench.goal(Goal::ratio(
        "latido (hub)",
        CPU,
        "floor",
        GoalBound::AtMost(1.10),
    ));
    bench.goal(Goal::ratio(
        "latido",
        CPU,
        "uWebSockets",
        GoalBound::AtMost(1.0),
    ));
    Ok(())
}

fn run_large(bench: &mut BenchContext) -> anyhow::Result<()> {
    compare_subjects(
        bench,
        &FanoutCase {
            viewers: 10_000,
            rate: 5.0,
            seconds: 2.5,
        },
    )?;
    bench.goal(Goal::ratio("latido", CPU, "floor", GoalBound::AtMost(1.05)));
    bench.goal(Goal::ratio(
        "latido (hub)",
        CPU,
        "floor",
        GoalBound::AtMost(1.05),
    ));
    bench.goal(Goal::ratio(
        "latido",
        CPU,
        "uWebSockets",
        GoalBound::AtMost(1.0),
    ));
    bench.goal(Goal::value("latido", MEMORY, GoalBound::AtMost(1.0)));
    bench.goal(Goal::ratio(
        "latido (hub)",
        DELAY,
        "floor",
        GoalBound::AtMost(1.1),
    ));
    bench.goal(Goal::ratio(
        "latido",
        SPREAD,
        "floor",
        GoalBound::AtMost(1.1),
    ));
    Ok(())
}

fn compare_subjects(bench: &mut BenchContext, contest: &FanoutCase) -> anyhow::Result<()> {
    let store = BenchCluster::start(Durability::Memory, Some(crate::machine::LOAD_CORE))?;
    let database = store.database(bench.runtime(), "fanout", 1, 100)?;
    crate::server::install(&crate::server::LatidoSettings::new(&database))?;
    let subjects = [
        BenchSubject::Floor { verifies: false },
        BenchSubject::Latido,
        BenchSubject::Hub { shards: 1 },
        BenchSubject::Peer(peers::UWEBSOCKETS),
    ];
    bench.interleave(&subjects, |bench, contender| {
        measure(bench, contest, contender, &database)
    })?;
    // The other peers run only once: they are a reference, not a tuning target.
    let field = if bench.is_quick() {
        &peers::OTHERS[..0]
    } else {
        &peers::OTHERS
    };
    for peer in field.iter().copied().map(BenchSubject::Peer) {
        if let Err(error) = measure(bench, contest, &peer, &database) {
            bench.report_skipped(&peer.name(), format!("{error:#}"));
        }
    }
    bench.note("latido: the real binary, changed by commits; latido (hub): its library without a database, rows put straight into the hub");
    bench.note("NATS and nchan check no token here; memory and connects of the floor are without token, subscription or reading");
    Ok(())
}

fn measure(
    bench: &mut BenchContext,
    contest: &FanoutCase,
    contender: &BenchSubject,
    database: &BenchDatabase,
) -> anyhow::Result<()> {
    let name = contender.name();
    let viewers = bench.count(contest.viewers);
    let mut running = contender.start(Some(database), &[PublishSchedule::new(1, contest.rate)])?;
    let before = running.process().rss();
    let (mut load, opened) =
        LoadProcess::open(&running.plan(vec![ConnectionGroup::new(viewers, 1)]))?;
    load.rest(bench.seconds(1.0))?;
    let grown = running.process().rss().saturating_sub(before);
    running.publish()?;
    let counted = load.count(1.0, bench.seconds(contest.seconds))?;
    anyhow::ensure!(counted.frames > 0, "no frame came: {:?}", counted.trouble);
    bench.sample(&name, CPU, "µs", counted.cpu_us());
    if let Some(group) = counted.groups.first() {
        if group.delay_ms.of > 0 {
            bench.sample(&name, DELAY, "ms", group.delay_ms.p99);
        }
        bench.sample(&name, SPREAD, "ms", group.spread_ms.p99);
    }
    if counted.lost > 0 {
        bench.note(format!(
            "{name} lost {} connections: {}",
            counted.lost,
            counted.trouble.unwrap_or_default()
        ));
    }
    if contest.viewers >= 10_000 {
        bench.sample(&name, MEMORY, "KiB", grown as f64 / 1024.0 / viewers as f64);
        bench.sample(&name, CONNECT, "µs", opened.cpu_us());
    }
    Ok(())
}
