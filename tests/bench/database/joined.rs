//! The cost of triggers that look keys up, for writers of a joined table: `pgbench` with one row per
//! transaction, from eight connections.

use std::path::PathBuf;

use crate::cluster::{BenchCluster, BenchDatabase, Durability};
use crate::database::citas::run_sql;
use crate::database::pgbench::{PgbenchScript, find_pgbench};
use crate::database::prepared_table::{TriggerVariant, prepare_table};
use crate::database::viewer::BenchViewer;
use crate::report::{Goal, GoalBound};
use crate::runner::{BenchContext, Scenario};
use crate::server::{LatidoServer, LatidoSettings};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "via",
    about: "transactions per second on a joined table whose trigger looks its keys up",
    run,
};

const BRANCHES: usize = 10_000;
const WATCHED: usize = 100;
const CLIENTS: usize = 8;
const LINES: usize = 50 * BRANCHES;
const NONE: &str = "no trigger";
const EMPTY: &str = "a trigger that does nothing";
const UNWATCHED: &str = "nobody watches";
const PARTLY_WATCHED: &str = "100 of 10,000 keys watched";
const ALWAYS_NOTIFY: &str = "a trigger that always tells";

const CONFIGURATION: &str = r#"
builtin_streams = false
[streams.unidades]
query = """
SELECT u.id, s.* FROM unnest($1::bigint[], $2::date[]) AS u (id, hoy)
CROSS JOIN LATERAL (SELECT coalesce(sum(l.cantidad), 0) AS unidades
                    FROM pedidos p JOIN lineas l ON l.pedido_id = p.id WHERE p.tienda_id = u.id) s"""
key_field = "tienda_id"
[[streams.unidades.tables]]
table = "pedidos"
key = "tienda_id"
columns = ["id", "tienda_id"]
[[streams.unidades.tables]]
table = "lineas"
via = "SELECT p.tienda_id FROM changed c JOIN pedidos p ON p.id = c.pedido_id"
columns = ["pedido_id", "cantidad"]
"#;

/// Removes the empty trigger.
const NO_EMPTY_TRIGGER: &str = "DROP FUNCTION IF EXISTS nothing() CASCADE";
/// Creates the empty trigger, beside those of the installation.
const EMPTY_TRIGGER: &str = "DROP FUNCTION IF EXISTS nothing() CASCADE;
     CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
     CREATE TRIGGER nothing AFTER UPDATE ON lineas REFERENCING OLD TABLE AS o NEW TABLE AS n
         FOR EACH STATEMENT EXECUTE FUNCTION nothing()";

fn run(bench: &mut BenchContext) -> anyhow::Result<()> {
    let Some(pgbench) = find_pgbench() else {
        bench.report_skipped(
            "latido",
            "there is no pgbench in PATH nor in /usr/lib/postgresql",
        );
        return Ok(());
    };
    let store = BenchCluster::start(Durability::Disk, None)?;
    let database = store.database(bench.runtime(), "via", 1, 0)?;
    fill(bench, &database)?;
    let file = configuration_file()?;
    let variables = [
        ("LATIDO_CONFIG", file.to_str().unwrap_or_default()),
        ("READ_INTERVAL_MS", "40"),
    ];
    let settings = LatidoSettings {
        core: None,
        variables: &variables,
        ..LatidoSettings::new(&database)
    };
    let latido = LatidoServer::start(&settings)?;
    let script = PgbenchScript::new(
        "via",
        &format!(
            "\\set n random(1, {LINES})\nUPDATE lineas SET cantidad = cantidad + 1 WHERE id = :n;\n"
        ),
    )?;
    let seconds = bench.seconds(2.0).max(1.0);
    let measure = format!("{CLIENTS} clients");
    let variants = [PARTLY_WATCHED, ALWAYS_NOTIFY, UNWATCHED, EMPTY, NONE];
    bench.interleave(&variants, |bench, variant| {
        prepare_table(bench, &settings, "lineas", triggers_of(variant))?;
        let watched = if *variant == PARTLY_WATCHED {
            WATCHED
        } else {
            0
        };
        let channels: Vec<_> = (1..=watched)
            .map(|n| format!("unidades:{}", n * (BRANCHES / WATCHED)))
            .collect();
        let viewer = BenchViewer::connect_to(latido.port, &channels);
        let mut viewer = bench.runtime().block_on(viewer)?;
        let listening = bench
            .runtime()
            .spawn(async move { while viewer.next().await.is_ok() {} });
        let tps = script.run(&pgbench, &database, CLIENTS, seconds)?;
        bench.sample(variant, &measure, "tx/s", tps);
        listening.abort();
        Ok(())
    })?;
    bench.goal(Goal::ratio(
        UNWATCHED,
        &measure,
        EMPTY,
        GoalBound::AtLeast(0.95),
    ));
    bench.goal(Goal::ratio(
        PARTLY_WATCHED,
        &measure,
        ALWAYS_NOTIFY,
        GoalBound::AtLeast(2.0),
    ));
    bench.goal(Goal::ratio(UNWATCHED, &measure, NONE, GoalBound::Unlimited));
    bench.note(
        "fsync on, one UPDATE by primary key a transaction, prepared; counted from the third second; pgbench shares the cores",
    );
    Ok(())
}

fn fill(bench: &BenchContext, database: &BenchDatabase) -> anyhow::Result<()> {
    let tables = format!(
        "CREATE TABLE pedidos (id bigint PRIMARY KEY, tienda_id bigint);
         CREATE TABLE lineas (id bigint PRIMARY KEY, pedido_id bigint REFERENCES pedidos, cantidad bigint, precio bigint);
         INSERT INTO pedidos SELECT n, 1 + n % {BRANCHES} FROM generate_series(1, {}) AS n;
         INSERT INTO lineas SELECT n, 1 + n % {}, 1, 10 FROM generate_series(1, {LINES}) AS n;
         CREATE INDEX ON pedidos (tienda_id);
         CREATE INDEX ON lineas (pedido_id)",
        10 * BRANCHES,
        10 * BRANCHES - 1
    );
    let durable = "ALTER DATABASE via SET synchronous_commit = on";
    let statements = [&*tables, "VACUUM (ANALYZE)", durable, "CHECKPOINT"];
    run_sql(bench.runtime(), database, &statements)
}

fn configuration_file() -> anyhow::Result<PathBuf> {
    let path = crate::output::output_folder()?.join("via.toml");
    std::fs::write(&path, CONFIGURATION)?;
    Ok(path.canonicalize()?)
}

fn triggers_of(variant: &str) -> TriggerVariant<'static> {
    TriggerVariant {
        has_gate: variant != ALWAYS_NOTIFY,
        is_enabled: ![NONE, EMPTY].contains(&variant),
        is_unwatched: variant == UNWATCHED,
        extra: match variant {
            EMPTY => EMPTY_TRIGGER,
            _ => NO_EMPTY_TRIGGER,
        },
    }
}
