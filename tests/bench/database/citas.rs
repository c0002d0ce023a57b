//! The citas of the benchmark, with predictable ids.

use anyhow::Context as _;
use tokio::runtime::Runtime;

use crate::cluster::{BenchCluster, BenchDatabase, connect};
use crate::keys;

/// Creates a database with this many businesses and citas, dealt out in turn over ten months.
pub(crate) fn database(
    store: &BenchCluster,
    runtime: &Runtime,
    name: &str,
    businesses: usize,
    citas: usize,
) -> anyhow::Result<BenchDatabase> {
    let database = store.database(runtime, name, businesses, 0)?;
    let sql = format!(
        "INSERT INTO citas (id, negocio_id, fecha, hora_inicio, hora_fin, estado)
           SELECT ('00000000-0000-4000-9000-' || lpad(to_hex(n), 12, '0'))::uuid,
                  ('00000000-0000-4000-8000-' || lpad(to_hex(n % {businesses}), 12, '0'))::uuid,
                  current_date - 300 + n / {businesses} % 300, '10:00', '10:30', 'pendiente'
             FROM generate_series(0, {citas} - 1) AS n"
    );
    run_sql(
        runtime,
        &database,
        &[&sql, "VACUUM (ANALYZE) citas", "CHECKPOINT"],
    )?;
    Ok(database)
}

/// Runs statements one after the other on a separate connection.
pub(crate) fn run_sql(
    runtime: &Runtime,
    database: &BenchDatabase,
    statements: &[&str],
) -> anyhow::Result<()> {
    runtime.block_on(async {
        let client = connect(&database.url).await?;
        for sql in statements {
            client
                .batch_execute(sql)
                .await
                .with_context(|| (*sql).to_owned())?;
        }
        Ok(())
    })
}

/// Returns SQL that changes the state of one cita, and with it the numbers of its business.
pub(crate) fn toggle_sql(cita: usize) -> String {
    format!(
        "UPDATE citas SET estado = CASE estado WHEN 'pendiente' THEN 'atendida'::estado_cita ELSE 'pendiente' END
          WHERE id = '00000000-0000-4000-9000-{cita:012x}'"
    )
}

/// Returns the statement that the server reads with, to measure its cost alone.
pub(crate) fn read_sql() -> String {
    reading_sql(include_str!("../../../sql/estadisticas.sql"))
}

/// Returns the reading statement for a server with this query.
pub(crate) fn reading_sql(query: &str) -> String {
    let query = query.trim_end().trim_end_matches(';');
    format!(
        "SELECT d.negocio_id::text, (SELECT row_to_json(r.*) FROM (SELECT d.citas_hoy, d.total_citas, d.citas_completadas, d.citas_canceladas) AS r)::text,
                (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) FROM ({query}) AS d"
    )
}

/// Returns the parameters of that statement for today and the next day, for one key.
pub(crate) fn days() -> [Vec<jiff::civil::Date>; 2] {
    let today = jiff::Zoned::now().date();
    [vec![today], vec![today.tomorrow().unwrap_or(today)]]
}

/// Returns the keys of these businesses as parameters of that statement.
pub(crate) fn ids(businesses: impl IntoIterator<Item = usize>) -> anyhow::Result<Vec<uuid::Uuid>> {
    businesses
        .into_iter()
        .map(|n| keys::key(n).parse().context("a key"))
        .collect()
}
