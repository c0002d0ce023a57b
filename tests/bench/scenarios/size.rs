//! The size of the program and its start time.

use anyhow::Context as _;

use crate::cluster::{BenchCluster, Durability};
use crate::report::{Goal, GoalBound};
use crate::runner::{BenchContext, Scenario};
use crate::server::{BINARY, LatidoServer, LatidoSettings};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "size",
    about: "size of the binary, start to ready with a database at hand, memory at start",
    run,
};

fn run(bench: &mut BenchContext) -> anyhow::Result<()> {
    let store = BenchCluster::start(Durability::Disk, None)?;
    let database = store.database(bench.runtime(), "size", 10, 10)?;
    let settings = LatidoSettings::new(&database);
    crate::server::install(&settings)?;
    let bytes = std::fs::metadata(BINARY).context("the binary")?.len();
    for _ in 0..bench.rounds() {
        let latido = LatidoServer::start_installed(&settings)?;
        bench.sample("latido", "binary", "MB", bytes as f64 / 1e6);
        bench.sample(
            "latido",
            "start to ready",
            "ms",
            latido.ready_after.as_secs_f64() * 1e3,
        );
        bench.sample(
            "latido",
            "RSS when ready",
            "MiB",
            latido.process.rss() as f64 / f64::from(1 << 20),
        );
    }
    bench.goal(Goal::value(
        "latido",
        "start to ready",
        GoalBound::AtMost(100.0),
    ));
    Ok(())
}
