//! A thousand choices of parameters of one key, beside a thousand keys: the cost of a topic with
//! parameters.

use std::time::Instant;

use crate::cluster::{BenchCluster, BenchDatabase, Durability, connect};
use crate::database::citas::run_sql;
use crate::database::durations::Durations;
use crate::database::viewer::BenchViewer;
use crate::report::{Goal, GoalBound};
use crate::runner::{BenchContext, Scenario};
use crate::server::{LatidoServer, LatidoSettings};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "parameters",
    about: "1,000 choices of parameters of one key, all changed by one commit, beside 1,000 keys",
    run,
};

const TOPICS: usize = 1_000;
const KEYS: &str = "1,000 keys";
const CHOICES: &str = "1,000 choices of one key";
const LAST_FRAME: &str = "all frames after";
const SERVER_CPU: &str = "server's CPU a frame";

const CONFIGURATION: &str = r#"
builtin_streams = false
[streams.llaves]
query = """
SELECT u.id, s.* FROM unnest($1::bigint[], $2::date[]) AS u (id, hoy)
CROSS JOIN LATERAL (SELECT coalesce(sum(v.total), 0) AS total FROM ventas v WHERE v.tienda_id = u.id) s"""
key_field = "tienda_id"
[[streams.llaves.tables]]
table = "ventas"
key = "tienda_id"
[streams.rangos]
query = """
SELECT u.id, u.n, s.* FROM unnest($1::bigint[], $2::date[], $3::bigint[]) AS u (id, hoy, n)
CROSS JOIN LATERAL (SELECT coalesce(sum(v.total), 0) + u.n AS total FROM ventas v WHERE v.tienda_id = u.id) s"""
keys = ["tienda_id"]
[streams.rangos.params]
n = { type = "integer" }
[[streams.rangos.tables]]
table = "ventas"
key = "tienda_id"
"#;

fn run(bench: &mut BenchContext) -> anyhow::Result<()> {
    let store = BenchCluster::start(Durability::Memory, None)?;
    let database = store.database(bench.runtime(), "parameters", 1, 0)?;
    let table = format!(
        "CREATE TABLE ventas (tienda_id bigint PRIMARY KEY, total bigint);
         INSERT INTO ventas SELECT n, 0 FROM generate_series(1, {TOPICS}) AS n"
    );
    run_sql(bench.runtime(), &database, &[&table, "VACUUM (ANALYZE)"])?;
    let file = crate::output::output_folder()?.join("parameters.toml");
    std::fs::write(&file, CONFIGURATION)?;
    let file = file.canonicalize()?;
    let variables = [
        ("LATIDO_CONFIG", file.to_str().unwrap_or_default()),
        ("MAX_PARAM_SETS_PER_KEY", "1000"),
        ("MAX_CHANNELS", "1000"),
        // All subscriptions come at once.
        ("MESSAGE_BURST", "2000"),
        ("SWEEP_SECONDS", "3600"),
    ];
    let settings = LatidoSettings {
        variables: &variables,
        ..LatidoSettings::new(&database)
    };
    let latido = LatidoServer::start(&settings)?;
    let commits = bench.count(50);
    bench.interleave(&[KEYS, CHOICES], |bench, subject| {
        let is_keys = *subject == KEYS;
        let channel = |n: usize| match is_keys {
            true => format!("llaves:{n}"),
            false => format!("rangos:1?n={n}"),
        };
        let change = match is_keys {
            true => "UPDATE ventas SET total = total + 1",
            false => "UPDATE ventas SET total = total + 1 WHERE tienda_id = 1",
        };
        let channels: Vec<_> = (1..=TOPICS).map(channel).collect();
        let before = latido.process.cpu_ns();
        let times = bench.runtime().block_on(frame_times(
            &database,
            latido.port,
            &channels,
            (change, commits),
        ))?;
        let cpu_ns = latido.process.cpu_ns().saturating_sub(before);
        let frames = (commits * TOPICS) as f64;
        bench.sample(subject, LAST_FRAME, "ms", times.quantile(0.5) / 1e3);
        bench.sample(subject, SERVER_CPU, "µs", cpu_ns as f64 / 1e3 / frames);
        Ok(())
    })?;
    bench.goal(Goal::ratio(
        CHOICES,
        SERVER_CPU,
        KEYS,
        GoalBound::AtMost(1.1),
    ));
    bench.goal(Goal::ratio(CHOICES, LAST_FRAME, KEYS, GoalBound::Unlimited));
    bench.note("one viewer of all topics; the CPU includes its subscriptions, in both alike");
    Ok(())
}

/// Returns the times from each commit to the last frame of all channels.
async fn frame_times(
    database: &BenchDatabase,
    port: u16,
    channels: &[String],
    (change, commits): (&str, usize),
) -> anyhow::Result<Durations> {
    let mut viewer = BenchViewer::connect_to(port, channels).await?;
    let writer = connect(&database.url).await?;
    let mut times = Durations::default();
    for _ in 0..commits {
        let began = Instant::now();
        writer.batch_execute(change).await?;
        for _ in channels {
            viewer.next().await?;
        }
        times.add(began.elapsed());
    }
    Ok(times)
}
