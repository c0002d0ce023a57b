//! A thousand keys become dirty at once, without and with a heavy key among them.

use std::time::{Duration, Instant};

use tokio_postgres::types::Type;

use crate::cluster::{BenchCluster, BenchDatabase, Durability, connect};
use crate::database::citas;
use crate::database::durations::Durations;
use crate::database::viewer::BenchViewer;
use crate::report::{Goal, GoalBound};
use crate::runner::{BenchContext, Scenario};
use crate::server::{LatidoServer, LatidoSettings};
use crate::web;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "thousand-dirty",
    about: "1,000 keys changed by one statement: batches, their time, and one large key among them",
    run,
};

const BUSINESSES: usize = 1_000;
const CITAS: usize = 100_000;
/// The number of citas of the heavy key, far more than all others have together.
const HEAVY_KEY_CITAS: usize = 1_000_000;

fn run(bench: &mut BenchContext) -> anyhow::Result<()> {
    let store = BenchCluster::start(Durability::Memory, None)?;
    let database = citas::database(&store, bench.runtime(), "burst", BUSINESSES, CITAS)?;
    let settings = LatidoSettings {
        core: None,
        variables: &[("SWEEP_SECONDS", "3600"), ("STATEMENT_TIMEOUT_MS", "20000")],
        ..LatidoSettings::new(&database)
    };
    {
        let latido = LatidoServer::start(&settings)?;
        for _ in 0..bench.rounds() {
            let singles = bench.runtime().block_on(single_reads_ms(&database))?;
            bench.sample("1,000 single reads", "read time", "ms", singles);
            let (time, keys, last, _) = change_all(bench, &latido, &database)?;
            bench.sample("latido", "read time", "ms", time);
            bench.sample("latido", "keys a batch", "keys", keys);
            bench.sample("latido", "all frames after", "ms", last);
        }
    }
    let add_heavy_key = format!(
        "INSERT INTO citas (negocio_id, fecha, hora_inicio, hora_fin) SELECT '{}', current_date - n % 1000, '10:00', '10:30' FROM generate_series(1, {}) AS n",
        crate::keys::key(0),
        bench.count(HEAVY_KEY_CITAS)
    );
    citas::run_sql(
        bench.runtime(),
        &database,
        &[&add_heavy_key, "VACUUM (ANALYZE) citas"],
    )?;
    let latido = LatidoServer::start(&settings)?;
    for _ in 0..bench.rounds() {
        let (_, _, last, others) = change_all(bench, &latido, &database)?;
        bench.sample("latido with a large key", "all frames after", "ms", last);
        bench.sample(
            "latido with a large key",
            "all others' frames after",
            "ms",
            others,
        );
    }
    bench.goal(Goal::ratio(
        "latido",
        "read time",
        "1,000 single reads",
        GoalBound::AtMost(0.125),
    ));
    bench.goal(Goal::value(
        "latido",
        "keys a batch",
        GoalBound::AtLeast(200.0),
    ));
    bench.goal(Goal::between(
        "latido with a large key",
        "all others' frames after",
        ("latido", "all frames after"),
        GoalBound::Unlimited,
    ));
    bench.note(format!(
        "the large key has {HEAVY_KEY_CITAS} citas, every other key {}",
        CITAS / BUSINESSES
    ));
    Ok(())
}

/// Returns the time in ms of 1,000 prepared reads of one key each, one after the other.
async fn single_reads_ms(database: &BenchDatabase) -> anyhow::Result<f64> {
    let client = connect(&database.url).await?;
    client.batch_execute("SET jit = off").await?;
    let statement = client
        .prepare_typed(&citas::read_sql(), &[Type::UUID_ARRAY, Type::DATE_ARRAY])
        .await?;
    let [today, tomorrow] = citas::days();
    let mut times = Durations::default();
    for business in 0..BUSINESSES {
        let (ids, began) = (citas::ids([business])?, Instant::now());
        client.query(&statement, &[&ids, &today, &tomorrow]).await?;
        times.add(began.elapsed());
    }
    // The sum of the times only, without the time between them.
    Ok(times.sum() / 1e3)
}

/// Changes every business at once. Returns the reads' time in ms, the keys per batch, and the times
/// in ms until the last frame and until the last frame of a business other than 0.
fn change_all(
    bench: &BenchContext,
    latido: &LatidoServer,
    database: &BenchDatabase,
) -> anyhow::Result<(f64, f64, f64, f64)> {
    const EACH: usize = 100;
    let groups: Vec<Vec<usize>> = (0..BUSINESSES)
        .collect::<Vec<_>>()
        .chunks(EACH)
        .map(<[usize]>::to_vec)
        .collect();
    let mut viewers = bench.runtime().block_on(async {
        let mut viewers = Vec::new();
        for group in &groups {
            viewers.push(BenchViewer::connect(latido.port, group).await?);
        }
        // The first reads may leave a trailing read and the slot of a heavy key.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        anyhow::Ok(viewers)
    })?;
    let before = latido.metrics()?;
    let (last, others) = bench.runtime().block_on(async {
        let writer = connect(&database.url).await?;
        writer.batch_execute("BEGIN; INSERT INTO citas (negocio_id, fecha, hora_inicio, hora_fin) SELECT id, current_date, '12:00', '12:30' FROM negocios").await?;
        let began = Instant::now();
        let waiting: Vec<_> = viewers
            .drain(..)
            .map(|mut viewer| {
                tokio::spawn(async move {
                    let mut others = Duration::ZERO;
                    for _ in 0..EACH {
                        let frame = viewer.next().await?;
                        if !frame.contains(&crate::keys::key(0)) {
                            others = began.elapsed();
                        }
                    }
                    anyhow::Ok((began.elapsed(), others))
                })
            })
            .collect();
        writer.batch_execute("COMMIT").await?;
        let (mut last, mut others) = (Duration::ZERO, Duration::ZERO);
        for viewer in waiting {
            let (all, all_others) = viewer.await??;
            (last, others) = (last.max(all), others.max(all_others));
        }
        anyhow::Ok((last, others))
    })?;
    let after = latido.metrics()?;
    let grew = |name: &str| web::metric(&after, name) - web::metric(&before, name);
    let keys = grew("latido_batch_keys_sum") / grew("latido_batch_keys_count");
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    Ok((
        grew("latido_read_seconds_sum") * 1e3,
        keys,
        ms(last),
        ms(others),
    ))
}
