//! The effect of a second core on the delay of the last viewer of a large topic.

use crate::beat::Beat;
use crate::campaign::{Bench, Scenario, Subject as _};
use crate::contender::Contender;
use crate::load::{Group, Load};
use crate::report::{Bound, Goal};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "shards",
    about: "a 10,000-viewer broadcast by one shard and by two, neither bound to a core",
    run,
};

const DELAY: &str = "delay p99";

fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let one = Contender::Hub { shards: 1 };
    bench.interleave(&[one, Contender::Hub { shards: 2 }], |bench, contender| {
        let name = contender.name();
        let viewers = bench.count(10_000);
        let mut running = contender.start_anywhere(&[Beat::new(1, 3.0)])?;
        let (mut load, _) = Load::open_anywhere(&running.plan(vec![Group::new(viewers, 1)]))?;
        running.publish()?;
        let counted = load.count_in_pauses(1.0, bench.seconds(4.0))?;
        let Some(group) = counted.groups.first() else {
            return Ok(());
        };
        bench.sample(&name, DELAY, "ms", group.delay_ms.p99);
        bench.sample(&name, "delay p50", "ms", group.delay_ms.p50);
        bench.sample(&name, "server CPU a frame", "µs", counted.cpu_us());
        Ok(())
    })?;
    bench.goal(Goal::ratio(
        "latido (hub, 2 shards)",
        DELAY,
        "latido (hub)",
        Bound::AtMost(0.7),
    ));
    bench.note("the clients read between the broadcasts, since both cores are the server's here; the kernel stamps what arrives");
    Ok(())
}
