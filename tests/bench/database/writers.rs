//! The cost of the triggers for writers: `pgbench` with one row per transaction, from 1, 16 and 64
//! connections.

use crate::cluster::{BenchCluster, Durability};
use crate::database::citas;
use crate::database::pgbench::{PgbenchScript, find_pgbench};
use crate::database::prepared_table::{TriggerVariant, prepare_table};
use crate::database::viewer::BenchViewer;
use crate::report::{Goal, GoalBound};
use crate::runner::{BenchContext, Scenario};
use crate::server::{LatidoServer, LatidoSettings};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "writers",
    about: "transactions per second that pgbench keeps with triggers, of those without",
    run: |bench| run(bench, "0", &CLIENTS),
};

/// The same with a slower disk: the leader of a group commit first sleeps 2 ms while it holds the
/// log lock, as a flush of 2 ms would. `commit_delay` applies to every flush when `commit_siblings`
/// is 0.
pub(crate) const SLOW: Scenario = Scenario {
    name: "writers-slow-flush",
    about: "the same, with a flush that takes 2 ms longer",
    // A single client waits for the disk in any case.
    run: |bench| run(bench, "2000", &CLIENTS[1..]),
};

const BUSINESSES: usize = 10_000;
const CITAS: usize = 200_000;
const WATCHED: usize = 100;
const CLIENTS: [usize; 3] = [1, 16, 64];
const NONE: &str = "no trigger";
const UNWATCHED: &str = "nobody watches";
const PARTLY_WATCHED: &str = "100 of 10,000 keys watched";
const ALWAYS_NOTIFY: &str = "triggers that always tell";

fn run(bench: &mut BenchContext, commit_delay_us: &str, crowds: &[usize]) -> anyhow::Result<()> {
    let Some(pgbench) = find_pgbench() else {
        bench.report_skipped(
            "latido",
            "there is no pgbench in PATH nor in /usr/lib/postgresql",
        );
        return Ok(());
    };
    let store = BenchCluster::start(Durability::Disk, None)?;
    let database = citas::database(&store, bench.runtime(), "writers", BUSINESSES, CITAS)?;
    citas::run_sql(
        bench.runtime(),
        &database,
        &[
            "ALTER DATABASE writers SET synchronous_commit = on",
            "ALTER DATABASE writers SET commit_siblings = 0",
            &format!("ALTER DATABASE writers SET commit_delay = {commit_delay_us}"),
        ],
    )?;
    let settings = LatidoSettings {
        core: None,
        variables: &[("READ_INTERVAL_MS", "40")],
        ..LatidoSettings::new(&database)
    };
    let latido = LatidoServer::start(&settings)?;
    let script = PgbenchScript::new(
        "writers",
        &format!(
            "\\set n random(0, {CITAS} - 1)\n\
         UPDATE citas SET estado = CASE estado WHEN 'pendiente' THEN 'atendida'::estado_cita ELSE 'pendiente' END \
         WHERE id = ('00000000-0000-4000-9000-' || lpad(to_hex(:n::int), 12, '0'))::uuid;\n"
        ),
    )?;
    let seconds = bench.seconds(2.0).max(1.0);
    bench.interleave(
        &[PARTLY_WATCHED, ALWAYS_NOTIFY, UNWATCHED, NONE],
        |bench, variant| {
            let triggers = TriggerVariant {
                has_gate: *variant != ALWAYS_NOTIFY,
                is_enabled: *variant != NONE,
                is_unwatched: *variant == UNWATCHED,
                extra: "SELECT",
            };
            prepare_table(bench, &settings, "citas", triggers)?;
            let watched: Vec<_> = (0..WATCHED).map(|n| n * (BUSINESSES / WATCHED)).collect();
            let watched = if *variant == PARTLY_WATCHED {
                watched
            } else {
                Vec::new()
            };
            let viewer = bench
                .runtime()
                .block_on(BenchViewer::connect(latido.port, &watched))?;
            let listening = bench.runtime().spawn(follow(viewer));
            for &clients in crowds {
                let tps = script.run(&pgbench, &database, clients, seconds)?;
                bench.sample(variant, &format!("{clients} clients"), "tx/s", tps);
            }
            listening.abort();
            Ok(())
        },
    )?;
    add_goals(bench, crowds);
    bench.note(
        "synchronous_commit and fsync on, one UPDATE by primary key a transaction, prepared; counted from the third second; pgbench shares the cores",
    );
    Ok(())
}

fn add_goals(bench: &mut BenchContext, crowds: &[usize]) {
    for &clients in crowds {
        let measure = format!("{clients} clients");
        let promised = if clients == 1 { 0.93 } else { 0.90 };
        for variant in [UNWATCHED, PARTLY_WATCHED] {
            bench.goal(Goal::ratio(
                variant,
                &measure,
                NONE,
                GoalBound::AtLeast(promised),
            ));
        }
        bench.goal(Goal::ratio(
            ALWAYS_NOTIFY,
            &measure,
            NONE,
            GoalBound::Unlimited,
        ));
    }
}

/// Keeps reading, as a real viewer does.
async fn follow(mut viewer: BenchViewer) {
    while viewer.next().await.is_ok() {}
}
