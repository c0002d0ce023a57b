//! The time of single-row updates of a partitioned table, in sessions whose first update wrote one
//! row or many. A session keeps the plans of its first call of a trigger; if they depended on its
//! size, every later update would pay for it.

use std::time::Instant;

use crate::cluster::{BenchCluster, BenchDatabase, Durability, connect};
use crate::database::citas;
use crate::database::durations::Durations;
use crate::report::{Goal, GoalBound};
use crate::runner::{BenchContext, Scenario};
use crate::server::{self, LatidoSettings};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "partitions",
    about: "a single-row update of a partitioned table, after a first update of 1 or 5,000 rows",
    run,
};

const CITAS: usize = 20_000;
const NONE: &str = "no trigger";
const SMALL: &str = "after an update of 1 row";
const LARGE: &str = "after an update of 5,000 rows";
const MEASURE: &str = "single-row update";

const PARTITION_SQL: &str = "ALTER TABLE citas RENAME TO enteras;
    CREATE TABLE citas (LIKE enteras INCLUDING DEFAULTS) PARTITION BY RANGE (fecha);
    CREATE TABLE citas_todas PARTITION OF citas FOR VALUES FROM ('2000-01-01') TO ('2100-01-01');
    INSERT INTO citas SELECT * FROM enteras;
    CREATE INDEX ON citas (id)";

fn run(bench: &mut BenchContext) -> anyhow::Result<()> {
    let store = BenchCluster::start(Durability::Memory, None)?;
    let database = citas::database(&store, bench.runtime(), "partitions", 100, CITAS)?;
    let fill = [PARTITION_SQL, "VACUUM (ANALYZE) citas"];
    citas::run_sql(bench.runtime(), &database, &fill)?;
    server::install(&LatidoSettings::new(&database))?;
    let updates = bench.count(500);
    bench.interleave(&[NONE, SMALL, LARGE], |bench, variant| {
        let able = if *variant == NONE {
            "DISABLE"
        } else {
            "ENABLE"
        };
        let able = format!("ALTER TABLE citas {able} TRIGGER USER");
        citas::run_sql(bench.runtime(), &database, &[&able, "VACUUM citas"])?;
        let first = if *variant == LARGE { 5_000 } else { 1 };
        let times = bench
            .runtime()
            .block_on(update_times(&database, first, updates))?;
        bench.sample(variant, MEASURE, "µs", times.quantile(0.5));
        Ok(())
    })?;
    bench.goal(Goal::ratio(LARGE, MEASURE, SMALL, GoalBound::AtMost(1.5)));
    bench.goal(Goal::ratio(SMALL, MEASURE, NONE, GoalBound::Unlimited));
    bench.note(
        "statement triggers with the interest gate, and nobody watches; jit is on in the database",
    );
    Ok(())
}

/// Updates `first` rows at once, then one at a time.
async fn update_times(
    database: &BenchDatabase,
    first: usize,
    updates: usize,
) -> anyhow::Result<Durations> {
    let client = connect(&database.url).await?;
    client.batch_execute("SET synchronous_commit = off").await?;
    let id = |n: usize| format!("'00000000-0000-4000-9000-{n:012x}'");
    let many = format!(
        "UPDATE citas SET estado = 'cancelada' WHERE id < {}",
        id(first)
    );
    client.batch_execute(&many).await?;
    let mut times = Durations::default();
    for turn in 0..updates {
        let update = citas::toggle_sql(fastrand::usize(..CITAS));
        let began = Instant::now();
        client.batch_execute(&update).await?;
        if turn > 0 {
            times.add(began.elapsed());
        }
    }
    Ok(times)
}
