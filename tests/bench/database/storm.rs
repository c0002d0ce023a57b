//! One key under 5,000 commits per second, and its effect on other keys.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::cluster::{BenchCluster, BenchDatabase, Durability, connect};
use crate::database::citas;
use crate::database::durations::Durations;
use crate::database::quiet_keys::QuietKeys;
use crate::database::viewer::{BenchViewer, field};
use crate::report::{Goal, GoalBound};
use crate::runner::{BenchContext, Scenario};
use crate::server::{LatidoServer, LatidoSettings};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "one-hot-key",
    about: "5,000 commits/s of one key: reads of it, its last frame, and other keys' times",
    run,
};

const BUSINESSES: usize = 1_000;
const CITAS: usize = 100_000;
const HOT_BUSINESS: usize = 0;
/// The key of the same number of commits without a viewer. It shows the cost of the commits
/// themselves.
const UNWATCHED: usize = 1;
const ALONE: &str = "others alone";
const BESIDE: &str = "others beside the hot key";
const BESIDE_UNWATCHED: &str = "others beside an unwatched key";
const RATE: u64 = 5_000;
/// The quiet keys, which are changed independently of each other.
const QUIET: std::ops::Range<usize> = 10..30;

fn run(bench: &mut BenchContext) -> anyhow::Result<()> {
    let store = BenchCluster::start(Durability::Memory, None)?;
    let database = citas::database(&store, bench.runtime(), "storm", BUSINESSES, CITAS)?;
    let settings = LatidoSettings {
        core: None,
        variables: &[("READ_INTERVAL_MS", "40")],
        ..LatidoSettings::new(&database)
    };
    let latido = LatidoServer::start(&settings)?;
    let seconds = bench.seconds(10.0);
    for _ in 0..bench.rounds() {
        let alone =
            bench
                .runtime()
                .block_on(measure_quiet_keys(&database, latido.port, seconds / 2.0))?;
        sample(bench, ALONE, &alone);
        let (unwatched, beside_unwatched) = bench.runtime().block_on(async {
            let storm = tokio::spawn(storm(database.url.clone(), UNWATCHED, seconds / 2.0));
            let beside_unwatched =
                measure_quiet_keys(&database, latido.port, seconds / 2.0).await?;
            anyhow::Ok((storm.await??, beside_unwatched))
        })?;
        bench.sample(
            BESIDE_UNWATCHED,
            "commits",
            "/s",
            unwatched.0 as f64 / unwatched.1,
        );
        sample(bench, BESIDE_UNWATCHED, &beside_unwatched);
        let hot = bench
            .runtime()
            .block_on(beside_the_hot_key(&database, &latido, seconds))?;
        bench.sample(
            "latido",
            "reads of the hot key",
            "/s",
            hot.reads / hot.seconds,
        );
        bench.sample(
            "latido",
            "frames of the hot key",
            "/s",
            hot.frames as f64 / hot.seconds,
        );
        bench.sample(
            "latido",
            "last frame right",
            "of 1",
            f64::from(u8::from(hot.is_right)),
        );
        bench.sample(BESIDE, "commits", "/s", hot.commits as f64 / hot.seconds);
        sample(bench, BESIDE, &hot.others);
    }
    set_goals(bench);
    Ok(())
}

fn set_goals(bench: &mut BenchContext) {
    bench.goal(Goal::value(
        "latido",
        "reads of the hot key",
        GoalBound::AtMost(25.0),
    ));
    bench.note("a sweep of all keys may be counted among the hot key's reads");
    bench.goal(Goal::value(
        "latido",
        "last frame right",
        GoalBound::AtLeast(1.0),
    ));
    bench.goal(Goal::ratio(BESIDE, "p99", ALONE, GoalBound::AtMost(2.0)));
    bench.goal(Goal::ratio(BESIDE, "p50", ALONE, GoalBound::Unlimited));
    bench.goal(Goal::ratio(
        BESIDE_UNWATCHED,
        "p99",
        ALONE,
        GoalBound::Unlimited,
    ));
    bench.goal(Goal::ratio(
        BESIDE,
        "commits",
        BESIDE_UNWATCHED,
        GoalBound::Unlimited,
    ));
    bench.note(
        "the hot key's commits come over 8 connections with synchronous_commit off; clients, Postgres and Latido share the cores",
    );
}

/// The results of one storm of commits.
struct StormResult {
    commits: u64,
    /// The duration of the storm, in seconds.
    seconds: f64,
    /// The reads of the hot key during the storm.
    reads: f64,
    frames: usize,
    /// True if the last frame matches the database.
    is_right: bool,
    others: Durations,
}

async fn beside_the_hot_key(
    database: &BenchDatabase,
    latido: &LatidoServer,
    seconds: f64,
) -> anyhow::Result<StormResult> {
    let mut viewer = BenchViewer::connect(latido.port, &[HOT_BUSINESS]).await?;
    let mut others = QuietKeys::connect(database, latido.port, QUIET, citas::toggle_sql).await?;
    let before = latido.metric("latido_reads_total")?;
    let storm = tokio::spawn(storm(database.url.clone(), HOT_BUSINESS, seconds));
    let seen = tokio::spawn(async move {
        let mut frames = Vec::new();
        while let Ok(Ok(frame)) = tokio::time::timeout(Duration::from_secs(2), viewer.next()).await
        {
            frames.push(frame);
        }
        frames
    });
    let others = others.measure(seconds).await?;
    let (commits, took) = storm.await??;
    // Each change of another key is read once.
    let reads = latido.metric("latido_reads_total")? - before - others.len() as f64;
    let frames = seen.await?;
    let truth = query_total(&connect(&database.url).await?).await?;
    let last = frames.last().and_then(|frame| field(frame, "total_citas"));
    Ok(StormResult {
        commits,
        seconds: took,
        reads,
        frames: frames.len(),
        is_right: last == Some(truth),
        others,
    })
}

fn sample(bench: &mut BenchContext, subject: &str, times: &Durations) {
    bench.sample(subject, "p99", "µs", times.quantile(0.99));
    bench.sample(subject, "p50", "µs", times.quantile(0.5));
}

async fn query_total(client: &Client) -> anyhow::Result<i64> {
    let sql = format!(
        "SELECT count(*) FROM citas WHERE negocio_id = '{}'",
        crate::keys::key(HOT_BUSINESS)
    );
    Ok(client.query_one(&sql, &[]).await?.try_get(0)?)
}

/// Commits to one key for that long. Returns the number of commits and the duration in seconds.
async fn storm(url: String, business: usize, seconds: f64) -> anyhow::Result<(u64, f64)> {
    const CONNECTIONS: u64 = 8;
    let began = Instant::now();
    let writers = (0..CONNECTIONS).map(|_| {
        let url = url.clone();
        tokio::spawn(async move {
            let client = connect(&url).await?;
            client.batch_execute("SET synchronous_commit = off").await?;
            let sql = format!(
                "INSERT INTO citas (negocio_id, fecha, hora_inicio, hora_fin) VALUES ('{}', current_date, '11:00', '11:30')",
                crate::keys::key(business)
            );
            let insert = client.prepare(&sql).await?;
            let mut commits = 0;
            let mut due = tokio::time::interval(Duration::from_millis(5));
            while began.elapsed().as_secs_f64() < seconds {
                due.tick().await;
                // Catches up after late ticks, but never exceeds the requested rate.
                let owed = (began.elapsed().as_secs_f64() * (RATE / CONNECTIONS) as f64) as u64;
                while commits < owed && began.elapsed().as_secs_f64() < seconds {
                    client.execute(&insert, &[]).await?;
                    commits += 1;
                }
            }
            anyhow::Ok(commits)
        })
    });
    let mut commits = 0;
    for writer in writers.collect::<Vec<_>>() {
        commits += writer.await??;
    }
    Ok((commits, began.elapsed().as_secs_f64()))
}

/// Commits to quiet keys one after the other and measures the times to the frames.
async fn measure_quiet_keys(
    database: &BenchDatabase,
    port: u16,
    seconds: f64,
) -> anyhow::Result<Durations> {
    QuietKeys::connect(database, port, QUIET, citas::toggle_sql)
        .await?
        .measure(seconds)
        .await
}
