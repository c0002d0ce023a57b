//! All limits attacked at once: the memory cost, and the effect on a well-behaved viewer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;

use crate::cluster::{BenchCluster, BenchDatabase, Durability};
use crate::database::durations::Durations;
use crate::database::quiet_keys::QuietKeys;
use crate::report::{Goal, GoalBound};
use crate::runner::{BenchContext, Scenario};
use crate::scenarios::attackers::{self, AttackTarget, MIB};
use crate::server::{LatidoServer, LatidoSettings};
use crate::{server, writer};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "mixed-abuse",
    about: "every limit at once, small ones: memory beside the ceiling that the limits make, and a viewer beside it all",
    run,
};

const CONNECTIONS: u64 = 600;
const MESSAGE_BYTES: u64 = 16_384;
const CHANNELS: u64 = 100;
/// The frame size of the most attacked stream, in bytes.
const FRAME_BYTES: u64 = 16_000;
/// The number of keys of that stream.
const KEYS: u64 = 2_000;
const SECONDS: f64 = 12.0;
/// The number of businesses of the well-behaved viewer.
const VIEWED: usize = 20;
/// The time until the server is idle again: slow connections are closed after 5 s.
const REST_TIME: Duration = Duration::from_secs(8);
/// The memory that is used independently of the limits, in bytes. It holds mainly 100,000 cached
/// permissions.
const BASE_MEMORY_BYTES: u64 = 96 << 20;

/// A stream of large frames that change with every read, and a slow permission query.
const STREAMS: &str = r#"
[streams.grande]
query     = "grande.sql"
authorize = "lento.sql"
key_field = "grande_id"
"#;
const GRANDE: &str =
    "SELECT u.grande_id, clock_timestamp()::text AS leido, repeat('x', 16000) AS relleno
  FROM unnest($1::int[], $2::date[]) AS u (grande_id, hoy)";
const LENTO: &str =
    "SELECT clave FROM unnest($2::text[]) AS clave, pg_sleep(0.2) WHERE $1::text = 'nadie'";

fn run(bench: &mut BenchContext) -> anyhow::Result<()> {
    let store = BenchCluster::start(Durability::Memory, None)?;
    let database = store.database(bench.runtime(), "mixed_abuse", VIEWED, 20)?;
    let folder = crate::output::output_folder()?.join("mixed-abuse");
    std::fs::create_dir_all(&folder)?;
    for (name, text) in [
        ("latido.toml", STREAMS),
        ("grande.sql", GRANDE),
        ("lento.sql", LENTO),
    ] {
        std::fs::write(folder.join(name), text).with_context(|| format!("writing {name}"))?;
    }
    let config = folder.join("latido.toml");
    let variables = [
        ("LATIDO_CONFIG", config.to_str().context("a path in UTF-8")?),
        ("MAX_CONNECTIONS", "600"),
        ("MAX_CONNECTIONS_PER_ADDRESS", "100"),
        ("MAX_CONNECTIONS_PER_USER", "20"),
        ("MAX_HANDSHAKES_PER_SECOND", "300"),
        ("SLOW_CLIENT_SECONDS", "5"),
        ("HANDSHAKE_SECONDS", "2"),
        ("NOTIFY_API_KEY", attackers::HOOK_KEY),
        ("RUST_LOG", "error"),
    ];
    let settings = LatidoSettings {
        core: None,
        variables: &variables,
        ..LatidoSettings::new(&database)
    };
    server::install(&settings)?;
    let latido = LatidoServer::start_installed(&settings)?;
    measure_attack(bench, &latido, &database)
}

fn measure_attack(
    bench: &mut BenchContext,
    latido: &LatidoServer,
    database: &BenchDatabase,
) -> anyhow::Result<()> {
    let seconds = bench.seconds(SECONDS);
    let others = QuietKeys::connect(database, latido.port, 0..VIEWED, writer::toggle_sql);
    let mut others = bench.runtime().block_on(others)?;
    let alone = bench.runtime().block_on(others.measure(seconds / 4.0))?;
    let before = latido.process.rss();
    let (attacked, peak) = run_attack(bench, latido, &mut others, seconds)?;
    std::thread::sleep(REST_TIME);
    let after = latido.process.rss();
    let (_, peak_again) = run_attack(bench, latido, &mut others, seconds)?;
    std::thread::sleep(REST_TIME);
    let after_again = latido.process.rss();
    for (measure, bytes) in [
        ("RSS before", before),
        ("RSS at its peak", peak),
        ("RSS after", after),
        ("RSS at the peak of a second round", peak_again),
        ("RSS after it", after_again),
        ("ceiling", memory_limit(before)),
    ] {
        bench.sample("latido", measure, "MiB", bytes as f64 / MIB);
    }
    bench.sample("the viewer", "frames, alone", "", alone.len() as f64);
    bench.sample("the viewer", "frames, beside", "", attacked.len() as f64);
    bench.sample("the viewer", "p99 alone", "ms", alone.quantile(0.99) / 1e3);
    bench.sample(
        "the viewer",
        "p99 beside",
        "ms",
        attacked.quantile(0.99) / 1e3,
    );
    bench.sample("the viewer", "p50 alone", "ms", alone.quantile(0.5) / 1e3);
    bench.sample(
        "the viewer",
        "p50 beside",
        "ms",
        attacked.quantile(0.5) / 1e3,
    );
    let wrong = bench.runtime().block_on(others.count_wrong())?;
    bench.sample(
        "the viewer",
        "businesses shown wrong at the end",
        "",
        wrong as f64,
    );
    report_leftovers(bench, latido)?;
    set_goals(bench);
    Ok(())
}

fn set_goals(bench: &mut BenchContext) {
    bench.goal(Goal::between(
        "latido",
        "RSS at its peak",
        ("latido", "ceiling"),
        GoalBound::AtMost(1.0),
    ));
    bench.goal(Goal::between(
        "latido",
        "RSS at the peak of a second round",
        ("latido", "ceiling"),
        GoalBound::AtMost(1.0),
    ));
    bench.goal(Goal::value(
        "the viewer",
        "businesses shown wrong at the end",
        GoalBound::AtMost(0.0),
    ));
    bench.goal(Goal::value(
        "latido",
        "connections left",
        GoalBound::AtMost(1.0),
    ));
    bench.goal(Goal::value(
        "latido",
        "subscriptions left",
        GoalBound::AtMost(VIEWED as f64),
    ));
    bench.goal(Goal::between(
        "the viewer",
        "p99 beside",
        ("the viewer", "p99 alone"),
        GoalBound::Unlimited,
    ));
}

/// Runs all attacks for that long. Returns the viewer's times and the peak memory of the server.
fn run_attack(
    bench: &BenchContext,
    latido: &LatidoServer,
    others: &mut QuietKeys,
    seconds: f64,
) -> anyhow::Result<(Durations, u64)> {
    let (over, peak) = (AtomicBool::new(false), AtomicU64::new(latido.process.rss()));
    let attacked = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                peak.fetch_max(latido.process.rss(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let attacked = bench.runtime().block_on(async {
            let attack = attackers::start_attack(&AttackTarget {
                port: latido.port,
                keys: KEYS,
            });
            let attacked = others.measure(seconds).await;
            attack.stop().await;
            attacked
        });
        over.store(true, Ordering::Relaxed);
        attacked
    })?;
    Ok((attacked, peak.into_inner()))
}

/// Reports the remaining connections after the attack, and the reasons of refusals.
fn report_leftovers(bench: &mut BenchContext, latido: &LatidoServer) -> anyhow::Result<()> {
    bench.sample(
        "latido",
        "connections left",
        "",
        latido.metric("latido_connections")?,
    );
    bench.sample(
        "latido",
        "subscriptions left",
        "",
        latido.metric("latido_subscribers")?,
    );
    let metrics = latido.metrics()?;
    for family in [
        "latido_refusals_total",
        "latido_closes_total",
        "latido_errors_sent_total",
    ] {
        let counts = metrics
            .lines()
            .filter_map(|line| line.strip_prefix(family)?.split_once(' '));
        let counts = counts
            .filter(|(_, count)| *count != "0")
            .map(|(labels, count)| {
                format!("{} {count}", labels.split('"').nth(1).unwrap_or_default())
            });
        bench.note(format!(
            "{family}: {}",
            counts.collect::<Vec<_>>().join(", ")
        ));
    }
    let coalesced = latido.metric("latido_changes_coalesced_total")?;
    bench.note(format!(
        "changes that cost no read of their own: {coalesced}"
    ));
    Ok(())
}

/// Returns the memory limit by the formula of docs/operations/sizing.md, for these limits.
fn memory_limit(before: u64) -> u64 {
    let each = 160 * 1024 + 2 * MESSAGE_BYTES + 2 * FRAME_BYTES + CHANNELS * 256;
    before + BASE_MEMORY_BYTES + CONNECTIONS * each + KEYS * 3 * FRAME_BYTES
}
