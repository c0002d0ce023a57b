//! The read time of one business as its history grows: with the index that the doctor proposes,
//! with an index on the key alone, and with closed days. Also the cost of these for writers.

use std::time::Instant;

use tokio_postgres::types::Type;

use crate::cluster::{BenchCluster, BenchDatabase, Durability, connect};
use crate::database::citas;
use crate::database::durations::Durations;
use crate::report::{Goal, GoalBound};
use crate::runner::{BenchContext, Scenario};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "history",
    about: "a read of one business with 10³ to 10⁶ citas: covering index, none, closed days",
    run,
};

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const COVERING: &str = "covering index";
const PLAIN: &str = "index on the key";
/// The variant with the covering index and all but the last week closed.
const CLOSED: &str = "closed days";
/// The number of citas of today; the others are on closed days.
const TODAY: u64 = 5_000;
const CITAS: u64 = 100_000;
const WRITES: [(&str, std::ops::Range<u64>); 2] = [
    ("updates of estado, today", 0..TODAY),
    ("updates of estado, closed days", TODAY..CITAS),
];

fn run(bench: &mut BenchContext) -> anyhow::Result<()> {
    let store = BenchCluster::start(Durability::Memory, None)?;
    let database = citas::database(
        &store,
        bench.runtime(),
        "history",
        100,
        usize::try_from(CITAS)?,
    )?;
    let sizes: Vec<_> = SIZES
        .into_iter()
        .take(if bench.is_quick() { 3 } else { 4 })
        .collect();
    let mut fill: Vec<_> = sizes
        .iter()
        .enumerate()
        .map(|(business, size)| grow(business, *size))
        .collect();
    fill.push(format!(
        "UPDATE citas SET fecha = current_date WHERE id < '{}'",
        id(TODAY)
    ));
    fill.push("VACUUM (ANALYZE) citas".to_owned());
    citas::run_sql(
        bench.runtime(),
        &database,
        &fill.iter().map(String::as_str).collect::<Vec<_>>(),
    )?;
    bench.interleave(&[COVERING, PLAIN, CLOSED], |bench, index| {
        let make: &[&str] = if *index == PLAIN {
            &["CREATE INDEX IF NOT EXISTS plain ON citas (negocio_id)", "DROP INDEX IF EXISTS citas_negocio_fecha_estado"]
        } else {
            &[
                "CREATE INDEX IF NOT EXISTS citas_negocio_fecha_estado ON citas (negocio_id, fecha, estado)",
                "DROP INDEX IF EXISTS plain",
            ]
        };
        citas::run_sql(bench.runtime(), &database, make)?;
        citas::run_sql(bench.runtime(), &database, &[include_str!("../../../sql/history/remove.sql"), "VACUUM citas"])?;
        let query = if *index == CLOSED { close(bench, &database)? } else { citas::read_sql() };
        for (business, size) in sizes.iter().enumerate() {
            let times = bench.runtime().block_on(read(&database, &query, business, (200_000 / size).clamp(3, 50)))?;
            bench.sample(index, &format!("{size} citas"), "µs", times.quantile(0.5));
        }
        for (measure, ids) in WRITES {
            let tps = bench.runtime().block_on(write(&database, ids, bench.seconds(2.0)))?;
            bench.sample(index, measure, "tx/s", tps);
        }
        Ok(())
    })?;
    for size in sizes {
        for other in [PLAIN, CLOSED] {
            bench.goal(Goal::ratio(
                other,
                &format!("{size} citas"),
                COVERING,
                GoalBound::Unlimited,
            ));
        }
    }
    for (measure, _) in WRITES {
        bench.goal(Goal::ratio(COVERING, measure, PLAIN, GoalBound::Unlimited));
        bench.goal(Goal::ratio(CLOSED, measure, COVERING, GoalBound::Unlimited));
    }
    Ok(())
}

/// Closes all days but the last week. Returns the query that uses the summary.
fn close(bench: &mut BenchContext, database: &BenchDatabase) -> anyhow::Result<String> {
    citas::run_sql(
        bench.runtime(),
        database,
        &[include_str!("../../../sql/history/install.sql")],
    )?;
    let began = Instant::now();
    citas::run_sql(
        bench.runtime(),
        database,
        &["CALL latido_history.close_before(current_date - 7)"],
    )?;
    bench.sample(
        CLOSED,
        "the first closing",
        "ms",
        began.elapsed().as_secs_f64() * 1e3,
    );
    Ok(citas::reading_sql(include_str!(
        "../../../sql/history/estadisticas.sql"
    )))
}

fn id(cita: u64) -> String {
    format!("00000000-0000-4000-9000-{cita:012x}")
}

fn grow(business: usize, size: usize) -> String {
    format!(
        "DELETE FROM citas WHERE negocio_id = '{0}';
         INSERT INTO citas (negocio_id, fecha, hora_inicio, hora_fin, estado)
           SELECT '{0}', current_date - n % 1000, '10:00', '10:30', (enum_range(NULL::estado_cita))[1 + n % 3] FROM generate_series(1, {size}) AS n",
        crate::keys::key(business)
    )
}

async fn read(
    database: &BenchDatabase,
    query: &str,
    business: usize,
    times: usize,
) -> anyhow::Result<Durations> {
    let client = connect(&database.url).await?;
    client.batch_execute("SET jit = off").await?;
    let statement = client
        .prepare_typed(query, &[Type::UUID_ARRAY, Type::DATE_ARRAY])
        .await?;
    let (ids, [today, tomorrow]) = (citas::ids([business])?, citas::days());
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&ids, &today, &tomorrow];
    // The summary's query takes no next day.
    let params = &params[..statement.params().len()];
    let mut taken = Durations::default();
    for turn in 0..times + 1 {
        let began = Instant::now();
        client.query(&statement, params).await?;
        if turn > 0 {
            taken.add(began.elapsed());
        }
    }
    Ok(taken)
}

/// Returns the updates per second of these citas over one connection. The updated column is in one
/// index and not in the other.
async fn write(
    database: &BenchDatabase,
    ids: std::ops::Range<u64>,
    seconds: f64,
) -> anyhow::Result<f64> {
    let client = connect(&database.url).await?;
    client.batch_execute("SET synchronous_commit = off").await?;
    let update = client.prepare_typed(
        "UPDATE citas SET estado = CASE estado WHEN 'pendiente' THEN 'atendida'::estado_cita ELSE 'pendiente' END WHERE id = $1",
        &[Type::UUID],
    );
    let update = update.await?;
    let (began, mut done) = (Instant::now(), 0u32);
    while began.elapsed().as_secs_f64() < seconds {
        // The citas of the first businesses are gone, because their histories were created again.
        let id: uuid::Uuid = id(fastrand::u64(ids.clone())).parse()?;
        client.execute(&update, &[&id]).await?;
        done += 1;
    }
    Ok(f64::from(done) / began.elapsed().as_secs_f64())
}
