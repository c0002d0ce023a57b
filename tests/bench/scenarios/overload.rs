//! More than a core can send: every viewer stays connected and current, and nothing piles up.

use crate::load::{ConnectionGroup, LoadProcess};
use crate::pacer::PublishSchedule;
use crate::peers;
use crate::report::{Goal, GoalBound};
use crate::runner::{BenchContext, MeasuredSubject as _, Scenario};
use crate::subject::BenchSubject;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "overload",
    about: "1,000 viewers, 2,000 changes a second: 4 times what a core can send; also with 50 viewers who never read",
    run,
};

const VIEWERS: usize = 1_000;
const RATE: f64 = 2_000.0;
const STALLED: usize = 50;

const LOST: &str = "reading viewers lost";
const P50: &str = "delay p50";
const GROWTH: &str = "memory grown in the overload";

fn run(bench: &mut BenchContext) -> anyhow::Result<()> {
    let hub = BenchSubject::Hub { shards: 1 };
    let ways = [
        (hub, 0),
        (hub, STALLED),
        (BenchSubject::Peer(peers::UWEBSOCKETS), 0),
    ];
    let names = ways.map(|(contender, stalled)| match stalled {
        0 => contender.name(),
        _ => format!("{}, {stalled} stalled", contender.name()),
    });
    let subjects: Vec<&str> = names.iter().map(String::as_str).collect();
    bench.interleave(&subjects, |bench, subject| {
        let way = names
            .iter()
            .position(|name| name == subject)
            .map(|index| ways[index]);
        way.map_or(Ok(()), |(contender, stalled)| {
            measure(bench, &contender, stalled, subject)
        })
    })?;
    for name in &names[..2] {
        bench.goal(Goal::value(name, P50, GoalBound::AtMost(5.0)));
        bench.goal(Goal::value(name, LOST, GoalBound::AtMost(0.0)));
        bench.goal(Goal::value(name, GROWTH, GoalBound::AtMost(1.0)));
    }
    bench.note("memory flat: at most 1 MiB more at the end of the overload than when it began");
    Ok(())
}

fn measure(
    bench: &mut BenchContext,
    contender: &BenchSubject,
    stalled: usize,
    name: &str,
) -> anyhow::Result<()> {
    let mut running = contender.start(None, &[PublishSchedule::new(1, RATE)])?;
    let mut groups = vec![ConnectionGroup::new(VIEWERS - stalled, 1)];
    groups.extend((stalled > 0).then(|| ConnectionGroup {
        stalled: true,
        ..ConnectionGroup::new(stalled, 1)
    }));
    let (mut load, _) = LoadProcess::open(&running.plan(groups))?;
    running.publish()?;
    load.rest(1.0)?;
    let before = running.process().rss();
    let counted = load.count(0.0, bench.seconds(3.0))?;
    let Some(group) = counted.groups.first() else {
        return Ok(());
    };
    bench.sample(name, "delivered", "frames/s", counted.rate());
    bench.sample(name, "server CPU a frame", "µs", counted.cpu_us());
    bench.sample(name, P50, "ms", group.delay_ms.p50);
    bench.sample(name, "delay p99", "ms", group.delay_ms.p99);
    bench.sample(name, LOST, "viewers", counted.lost as f64);
    bench.sample(
        name,
        GROWTH,
        "MiB",
        (counted.server_rss as f64 - before as f64) / f64::from(1 << 20),
    );
    bench.sample(
        name,
        "frames of the worst ÷ of the best",
        "",
        counted.least as f64 / counted.most.max(1) as f64,
    );
    Ok(())
}
