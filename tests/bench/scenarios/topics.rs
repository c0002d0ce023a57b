//! Many small topics, and small topics next to a large one.

use crate::load::{ConnectionGroup, LoadProcess};
use crate::pacer::PublishSchedule;
use crate::peers;
use crate::report::{Goal, GoalBound};
use crate::runner::{BenchContext, MeasuredSubject as _, Scenario};
use crate::subject::BenchSubject;

pub(crate) const SCENARIOS: [Scenario; 2] = [
    Scenario {
        name: "topics",
        about: "1,000 topics of 10 viewers, each changing once a second",
        run: run_many,
    },
    Scenario {
        name: "fairness",
        about: "100 topics of 10 viewers, alone and beside one of 10,000 viewers that changes 5 times a second",
        run: run_beside,
    },
];

const CPU: &str = "server CPU a frame";
const DELAY: &str = "small topics' delay p99";

fn run_many(bench: &mut BenchContext) -> anyhow::Result<()> {
    let contenders = [
        BenchSubject::Floor { verifies: false },
        BenchSubject::Hub { shards: 1 },
        BenchSubject::Peer(peers::UWEBSOCKETS),
    ];
    bench.interleave(&contenders, |bench, contender| {
        let name = contender.name();
        let topics = bench.count(1_000);
        let mut running = contender.start(None, &[PublishSchedule::new(topics, 1.0)])?;
        let (mut load, _) =
            LoadProcess::open(&running.plan(vec![ConnectionGroup::new(topics * 10, topics)]))?;
        running.publish()?;
        let counted = load.count(1.5, bench.seconds(3.0))?;
        bench.sample(&name, CPU, "µs", counted.cpu_us());
        let Some(group) = counted.groups.first() else {
            return Ok(());
        };
        bench.sample(&name, "delay p99", "ms", group.delay_ms.p99);
        Ok(())
    })?;
    bench.goal(Goal::ratio(
        "latido (hub)",
        CPU,
        "uWebSockets",
        GoalBound::AtMost(1.0),
    ));
    bench.goal(Goal::ratio(
        "latido (hub)",
        CPU,
        "floor",
        GoalBound::Unlimited,
    ));
    Ok(())
}

fn run_beside(bench: &mut BenchContext) -> anyhow::Result<()> {
    let small = (
        PublishSchedule::new(100, 1.0),
        ConnectionGroup::new(1_000, 100),
    );
    let large = (
        PublishSchedule {
            first: 100,
            channels: 1,
            rate: 5.0,
        },
        ConnectionGroup::new(10_000, 1).starting_at(100),
    );
    let contender = BenchSubject::Hub { shards: 1 };
    bench.interleave(
        &["latido (hub), alone", "latido (hub), beside"],
        |bench, subject| {
            let mut parts = vec![small.clone()];
            if subject.ends_with("beside") {
                parts.push(large.clone());
            }
            let (beats, groups): (Vec<PublishSchedule>, Vec<ConnectionGroup>) =
                parts.into_iter().unzip();
            let mut running = contender.start(None, &beats)?;
            let (mut load, _) = LoadProcess::open(&running.plan(groups))?;
            running.publish()?;
            let counted = load.count(1.0, bench.seconds(4.0))?;
            let Some(small) = counted.groups.first() else {
                return Ok(());
            };
            bench.sample(subject, DELAY, "ms", small.delay_ms.p99);
            bench.sample(subject, "small topics' delay p50", "ms", small.delay_ms.p50);
            if let Some(large) = counted.groups.get(1) {
                bench.sample(subject, "large topic's delay p99", "ms", large.delay_ms.p99);
            }
            Ok(())
        },
    )?;
    bench.goal(Goal::ratio(
        "latido (hub), beside",
        DELAY,
        "latido (hub), alone",
        GoalBound::AtMost(2.0),
    ));
    bench.note("for the small topics' sake small topics go first, and wait for at most 16 frames of the large one");
    Ok(())
}
