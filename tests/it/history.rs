//! Closed days: the query that skips them returns the same as the plain query, despite concurrent
//! writes.

mod races;
mod scripts;
mod served;
mod writers;

use tokio_postgres::Client;

use crate::harness::cluster::TestDatabase;

const INSTALL_FILE: &str = "sql/history/install.sql";
const SUMMARY_QUERY: &str = include_str!("../../sql/history/estadisticas.sql");
const PLAIN_QUERY: &str = include_str!("../../sql/estadisticas.sql");

/// A schema like the real one, but as lenient as possible: every column may be NULL.
const SCHEMA: &str = "CREATE TYPE estado AS ENUM ('pendiente', 'atendida', 'cancelada');
    CREATE TABLE citas (id bigserial PRIMARY KEY, negocio_id uuid, fecha date, estado estado, escritor int, nota text);
    CREATE INDEX ON citas (negocio_id, fecha, estado);";

const BUSINESSES: i32 = 5;

/// Creates a database with [`SCHEMA`] and no closed days.
async fn create_database() -> TestDatabase {
    let home = TestDatabase::create(&[]).await;
    home.client().await.batch_execute(SCHEMA).await.unwrap();
    run_file(&home.client().await, INSTALL_FILE).await;
    home
}

async fn run_file(client: &Client, file: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let sql = std::fs::read_to_string(path).unwrap();
    if let Err(error) = client.batch_execute(&sql).await {
        // The failed statement would leave the transaction open.
        client.batch_execute("ROLLBACK").await.unwrap();
        panic!("{error:?}");
    }
}

fn business(n: i32) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

/// Compares both queries for every business at one moment, each business with its own day. Returns
/// the differences. `around`: the offsets in days from today that are used as today in turn.
async fn query_differences(
    client: &Client,
    around: &[i32],
) -> Result<Vec<String>, tokio_postgres::Error> {
    let keys: Vec<_> = (0..BUSINESSES)
        .map(|n| format!("'{}'::uuid", business(n)))
        .collect();
    let days: Vec<_> = (0..keys.len())
        .map(|n| format!("current_date + ({})", around[n % around.len()]))
        .collect();
    let fill = |query: &str| {
        let days_after: Vec<_> = days.iter().map(|day| format!("{day} + 1")).collect();
        let [days, days_after] =
            [&days, &days_after].map(|days| format!("ARRAY[{}]", days.join(", ")));
        query
            .replace("$1", &format!("ARRAY[{}]", keys.join(", ")))
            .replace("$2::pg_catalog.date[]", &format!("{days}::date[]"))
            .replace("$2", &format!("{days}::date[]"))
            .replace("$3", &format!("{days_after}::date[]"))
    };
    let sql = format!(
        "SELECT coalesce(a.*, b.*)::text || ' for ' || coalesce(b.*::text, 'nothing') FROM ({}) AS a FULL JOIN ({}) AS b USING (negocio_id) WHERE a.* IS DISTINCT FROM b.*",
        fill(SUMMARY_QUERY),
        fill(PLAIN_QUERY)
    );
    let sql = sql.replace("coalesce(a.*, b.*)::text", "coalesce(a.*::text, 'nothing')");
    let rows = client.query(sql.as_str(), &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn assert_queries_agree(client: &Client) {
    for around in [[0], [-30], [1]] {
        let differences = query_differences(client, &around).await.unwrap();
        assert!(differences.is_empty(), "around {around:?}: {differences:?}");
    }
}

/// Closes all days before the one at this offset in days from today.
async fn close_days(client: &Client, days: i32) {
    client
        .batch_execute(&format!(
            "CALL latido_history.close_before(current_date + ({days}))"
        ))
        .await
        .unwrap();
}

async fn count_rows(client: &Client, table: &str) -> i64 {
    client
        .query_one(&format!("SELECT count(*) FROM {table}"), &[])
        .await
        .unwrap()
        .get(0)
}

async fn insert_cita(client: &Client, n: i32, days: &str, estado: &str) {
    let sql = format!(
        "INSERT INTO citas (negocio_id, fecha, estado) VALUES ('{}', {days}, '{estado}')",
        business(n)
    );
    client.batch_execute(&sql).await.unwrap();
}
