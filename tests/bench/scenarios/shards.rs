//! The effect of a second core on the delay of the last viewer of a large topic.

use crate::load::{ConnectionGroup, LoadProcess};
use crate::pacer::PublishSchedule;
use crate::report::{Goal, GoalBound};
use crate::runner::{BenchContext, MeasuredSubject as _, Scenario};
use crate::subject::BenchSubject;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "shards",
    about: "a 10,000-viewer broadcast by one shard and by two, neither bound to a core",
    run,
};

const DELAY: &str = "delay p99";

fn run(bench: &mut BenchContext) -> anyhow::Result<()> {
    let one = BenchSubject::Hub { shards: 1 };
    bench.interleave(
        &[one, BenchSubject::Hub { shards: 2 }],
        |bench, contender| {
            let name = contender.name();
            let viewers = bench.count(10_000);
            let mut running = contender.start_unpinned(&[PublishSchedule::new(1, 3.0)])?;
            let (mut load, _) =
                LoadProcess::open_anywhere(&running.plan(vec![ConnectionGroup::new(viewers, 1)]))?;
            running.publish()?;
            let counted = load.count_in_pauses(1.0, bench.seconds(4.0))?;
            let Some(group) = counted.groups.first() else {
                return Ok(());
            };
            bench.sample(&name, DELAY, "ms", group.delay_ms.p99);
            bench.sample(&name, "delay p50", "ms", group.delay_ms.p50);
            bench.sample(&name, "server CPU a frame", "µs", counted.cpu_us());
            Ok(())
        },
    )?;
    bench.goal(Goal::ratio(
        "latido (hub, 2 shards)",
        DELAY,
        "latido (hub)",
        GoalBound::AtMost(0.7),
    ));
    bench.note("the clients read between the broadcasts, since both cores are the server's here; the kernel stamps what arrives");
    Ok(())
}
