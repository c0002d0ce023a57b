//! A million subscriptions to missing or forbidden channels.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::cluster::{BenchCluster, Durability};
use crate::database::durations::Durations;
use crate::database::quiet_keys::QuietKeys;
use crate::report::{Goal, GoalBound};
use crate::runner::{BenchContext, Scenario};
use crate::scenarios::attackers::{
    AttackTarget, AttackerRights, MIB, open, subscribe, unknown_channel,
};
use crate::server::{self, LatidoServer, LatidoSettings};
use crate::writer;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "invalid-subscriptions",
    about: "a million subscriptions over 20 connections to what is not there or is another's: memory, and a viewer beside them",
    run,
};

const SUBSCRIPTIONS: usize = 1_000_000;
const CONNECTIONS: usize = 20;
/// The subscriptions that are sent before their responses are read.
const BATCH: usize = 100;

fn run(bench: &mut BenchContext) -> anyhow::Result<()> {
    let store = BenchCluster::start(Durability::Memory, None)?;
    let database = store.database(bench.runtime(), "invalid_subscriptions", 20, 20)?;
    // The message limits are off: the scenario measures the remains of the subscriptions, not the
    // slow-down.
    let variables = [
        ("MAX_MESSAGES_PER_SECOND", "100000"),
        ("MESSAGE_BURST", "1000000"),
    ];
    let settings = LatidoSettings {
        core: None,
        variables: &variables,
        ..LatidoSettings::new(&database)
    };
    server::install(&settings)?;
    let latido = LatidoServer::start_installed(&settings)?;
    let mut others = bench.runtime().block_on(QuietKeys::connect(
        &database,
        latido.port,
        0..20,
        writer::toggle_sql,
    ))?;
    let alone = bench
        .runtime()
        .block_on(others.measure(bench.seconds(3.0)))?;
    let before = latido.process.rss();
    let each = bench.count(SUBSCRIPTIONS) / CONNECTIONS;
    let target = AttackTarget {
        port: latido.port,
        keys: 0,
    };
    let over = AtomicBool::new(false);
    let (asked, attacked) = bench.runtime().block_on(async {
        let all =
            (0..CONNECTIONS).map(|n| tokio::spawn(subscribe_in_batches(target, n as u64, each)));
        let all = async {
            let asked = futures_util::future::try_join_all(all).await;
            over.store(true, Ordering::Relaxed);
            asked
        };
        tokio::join!(all, others.measure_while(|| !over.load(Ordering::Relaxed)))
    });
    let (asked, attacked) = (
        asked
            .context("an attacker panicked")?
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?,
        attacked?,
    );
    let peak = latido.process.rss();
    std::thread::sleep(std::time::Duration::from_secs(2));
    bench.sample(
        "latido",
        "invalid subscriptions",
        "",
        asked.iter().sum::<usize>() as f64,
    );
    bench.sample("latido", "RSS before", "MiB", before as f64 / MIB);
    bench.sample("latido", "RSS at the end", "MiB", peak as f64 / MIB);
    bench.sample(
        "latido",
        "RSS when they have gone",
        "MiB",
        latido.process.rss() as f64 / MIB,
    );
    bench.sample("latido", "topics left", "", latido.metric("latido_topics")?);
    report_viewer(bench, &alone, &attacked);
    Ok(())
}

/// Reports the times of the viewer, and sets the goals.
fn report_viewer(bench: &mut BenchContext, alone: &Durations, attacked: &Durations) {
    for (measure, times) in [("alone", alone), ("beside", attacked)] {
        bench.sample(
            "the viewer",
            &format!("frames {measure}"),
            "",
            times.len() as f64,
        );
        bench.sample(
            "the viewer",
            &format!("p50 {measure}"),
            "ms",
            times.quantile(0.5) / 1e3,
        );
        bench.sample(
            "the viewer",
            &format!("p99 {measure}"),
            "ms",
            times.quantile(0.99) / 1e3,
        );
    }
    bench.goal(Goal::value(
        "latido",
        "topics left",
        GoalBound::AtMost(20.0),
    ));
    bench.goal(Goal::between(
        "the viewer",
        "p99 beside",
        ("the viewer", "p99 alone"),
        GoalBound::Unlimited,
    ));
    bench.note("measured once, whatever the rounds; half for no such stream, four tenths for no key of its kind, a tenth for a stranger's business, of which the database is asked");
}

/// Subscribes `count` times in batches. Returns the number of responses.
async fn subscribe_in_batches(target: AttackTarget, n: u64, count: usize) -> anyhow::Result<usize> {
    let mut stream = open(
        &target,
        2,
        None,
        &format!("invalid-{n}"),
        AttackerRights::Nothing,
    )
    .await?;
    let (mut answered, mut buffer) = (0, vec![0; 64 * 1024]);
    let mut asked: usize = 0;
    while asked < count {
        let batch: Vec<u8> = (asked..asked + BATCH)
            .flat_map(|turn| subscribe(&invalid_channel(n, turn as u64)))
            .collect();
        stream.write_all(&batch).await?;
        asked += BATCH;
        while answered < asked {
            let read = stream.read(&mut buffer).await?;
            anyhow::ensure!(read > 0, "ended by the server after {answered} answers");
            // Each response is an error and contains the word once. A word that two reads split is
            // compensated by waiting for fewer responses.
            answered += buffer[..read]
                .windows(8)
                .filter(|window| *window == b"\"error\",")
                .count();
            if asked - answered < BATCH / 10 {
                break;
            }
        }
    }
    Ok(asked)
}

fn invalid_channel(n: u64, turn: u64) -> String {
    match turn % 10 {
        0 => unknown_channel(n, turn),
        1..=5 => format!("nada:{turn}"),
        _ => format!("estadisticas:x{turn}"),
    }
}
