//! All limits attacked at once: the memory cost, and the effect on a well-behaved viewer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;

use crate::campaign::{Bench, Scenario};
use crate::database::others::Others;
use crate::database::quantile::Times;
use crate::report::{Bound, Goal};
use crate::scenarios::attackers::{self, MIB, Target};
use crate::server::{Latido, Settings};
use crate::store::{Database, Durability, Store};
use crate::{server, writer};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "siege",
    about: "every limit at once, small ones: memory beside the ceiling that the limits make, and a viewer beside it all",
    run,
};

const CONNECTIONS: u64 = 600;
const MESSAGE_BYTES: u64 = 16_384;
const CHANNELS: u64 = 100;
/// The frame size of the most attacked stream, in bytes.
const FRAME: u64 = 16_000;
/// The number of keys of that stream.
const KEYS: u64 = 2_000;
const SECONDS: f64 = 12.0;
/// The number of businesses of the well-behaved viewer.
const VIEWED: usize = 20;
/// The time until the server is idle again: slow connections are closed after 5 s.
const REST: Duration = Duration::from_secs(8);
/// The memory that is used independently of the limits, in bytes. It holds mainly 100,000 cached
/// permissions.
const ROOM: u64 = 96 << 20;

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

fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let store = Store::start(Durability::Memory, None)?;
    let database = store.database(bench.runtime(), "siege", VIEWED, 20)?;
    let folder = crate::folder()?.join("siege");
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
    let settings = Settings {
        core: None,
        variables: &variables,
        ..Settings::new(&database)
    };
    server::install(&settings)?;
    let latido = Latido::start_installed(&settings)?;
    besiege(bench, &latido, &database)
}

fn besiege(bench: &mut Bench, latido: &Latido, database: &Database) -> anyhow::Result<()> {
    let seconds = bench.seconds(SECONDS);
    let others = Others::watching(database, latido.port, 0..VIEWED, writer::toggle);
    let mut others = bench.runtime().block_on(others)?;
    let alone = bench.runtime().block_on(others.measure(seconds / 4.0))?;
    let before = latido.process.rss();
    let (attacked, peak) = assault(bench, latido, &mut others, seconds)?;
    std::thread::sleep(REST);
    let after = latido.process.rss();
    let (_, peak_again) = assault(bench, latido, &mut others, seconds)?;
    std::thread::sleep(REST);
    let after_again = latido.process.rss();
    for (measure, bytes) in [
        ("RSS before", before),
        ("RSS at its peak", peak),
        ("RSS after", after),
        ("RSS at the peak of a second siege", peak_again),
        ("RSS after it", after_again),
        ("ceiling", ceiling(before)),
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
    let wrong = bench.runtime().block_on(others.wrong())?;
    bench.sample(
        "the viewer",
        "businesses shown wrong at the end",
        "",
        wrong as f64,
    );
    tell(bench, latido)?;
    bench.goal(Goal::between(
        "latido",
        "RSS at its peak",
        ("latido", "ceiling"),
        Bound::AtMost(1.0),
    ));
    bench.goal(Goal::between(
        "latido",
        "RSS at the peak of a second siege",
        ("latido", "ceiling"),
        Bound::AtMost(1.0),
    ));
    bench.goal(Goal::value(
        "the viewer",
        "businesses shown wrong at the end",
        Bound::AtMost(0.0),
    ));
    bench.goal(Goal::value(
        "latido",
        "connections left",
        Bound::AtMost(1.0),
    ));
    bench.goal(Goal::value(
        "latido",
        "subscriptions left",
        Bound::AtMost(VIEWED as f64),
    ));
    bench.goal(Goal::between(
        "the viewer",
        "p99 beside",
        ("the viewer", "p99 alone"),
        Bound::Shown,
    ));
    Ok(())
}

/// Runs all attacks for that long. Returns the viewer's times and the peak memory of the server.
fn assault(
    bench: &Bench,
    latido: &Latido,
    others: &mut Others,
    seconds: f64,
) -> anyhow::Result<(Times, u64)> {
    let (over, peak) = (AtomicBool::new(false), AtomicU64::new(latido.process.rss()));
    let attacked = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                peak.fetch_max(latido.process.rss(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let attacked = bench.runtime().block_on(async {
            let attack = attackers::attack(&Target {
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
fn tell(bench: &mut Bench, latido: &Latido) -> anyhow::Result<()> {
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

/// Returns the memory limit by the formula of docs/operations, for these limits.
fn ceiling(before: u64) -> u64 {
    let each = 160 * 1024 + 2 * MESSAGE_BYTES + 2 * FRAME + CHANNELS * 256;
    before + ROOM + CONNECTIONS * each + KEYS * 3 * FRAME
}
