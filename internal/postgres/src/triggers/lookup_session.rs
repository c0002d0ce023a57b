//! The transaction in which a lookup is examined: `changed` is a temporary table there. It is rolled
//! back.

use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::connect::DedicatedConnection;
use crate::error::DatabaseError;
use crate::examination::{FOLLOW_POLICIES_SQL, LIMITS_SQL};
use crate::pool::Database;
use crate::statement_text::single_statement;
use crate::triggers::table_route::TableLookup;
use crate::triggers::watched_table::WatchedTable;

/// The purpose of the statements, for messages.
const WHAT: &str = "a look at what a lookup reads";
/// The time-out of the whole examination of one lookup.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);

/// The definitions of a table's columns, as CREATE TABLE has them.
const COLUMNS_SQL: &str = "SELECT pg_catalog.string_agg(pg_catalog.format('%I %s', a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod))
           OPERATOR(pg_catalog.||) CASE WHEN c.oid IS NULL THEN '' ELSE pg_catalog.format(' COLLATE %I.%I', n.nspname, c.collname) END,
         ', ' ORDER BY a.attnum)
  FROM pg_catalog.pg_attribute a
  LEFT JOIN pg_catalog.pg_collation c ON c.oid OPERATOR(pg_catalog.=) a.attcollation
  LEFT JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.collnamespace
 WHERE a.attrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1) AND a.attnum OPERATOR(pg_catalog.>) 0::pg_catalog.int2 AND NOT a.attisdropped";

/// A connection with an open transaction, which ends without a trace.
pub(super) struct LookupSession {
    connection: DedicatedConnection,
}

impl LookupSession {
    /// Runs work in a new session for the lookup of a table.
    pub(super) async fn run<T, E: From<DatabaseError>>(
        database: &Database,
        table: &WatchedTable,
        lookup: &TableLookup,
        work: impl AsyncFnOnce(&Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let connection = database.open_dedicated_direct().await?;
        let session = Self { connection };
        let begin = format!(
            "BEGIN READ WRITE; {FOLLOW_POLICIES_SQL} {LIMITS_SQL} {}",
            lookup.path_sql
        );
        let examine = async {
            session.execute(&begin).await?;
            session.create_changed(table).await?;
            work(&session).await
        };
        let result = timeout(TOTAL_TIMEOUT, examine).await;
        // If the connection failed, the server does the same.
        let _ = session.execute("ROLLBACK").await;
        result.unwrap_or_else(|_| {
            let reason = "no answer while examining a lookup";
            Err(DatabaseError::unavailable(reason).into())
        })
    }

    /// Creates the table `changed`. LIKE would need the right to read all columns of the other.
    async fn create_changed(&self, table: &WatchedTable) -> Result<(), DatabaseError> {
        let name = table.qualified_name();
        let rows = self.query(COLUMNS_SQL, &[(&name, Type::TEXT)]).await?;
        let columns: Option<String> = match rows.first() {
            Some(row) => row.try_get(0).map_err(to_error)?,
            None => None,
        };
        let columns = columns.unwrap_or_default();
        let create = format!("CREATE TEMPORARY TABLE changed ({columns})");
        self.execute(&create).await
    }

    pub(super) fn client(&self) -> &Client {
        &self.connection.client
    }

    pub(super) async fn execute(&self, sql: &str) -> Result<(), DatabaseError> {
        self.client().batch_execute(sql).await.map_err(to_error)
    }

    pub(super) async fn query(
        &self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, DatabaseError> {
        let result = self.client().query_typed(sql, params).await;
        result.map_err(to_error)
    }
}

/// Returns the plan of a lookup as PostgreSQL's JSON, made as if no table were small: what it scans
/// whole cannot be found through an index.
///
/// # Errors
/// Returns an error if the lookup is refused, or if the database fails.
pub(crate) async fn plan_lookup(
    database: &Database,
    table: &WatchedTable,
    lookup: &TableLookup,
) -> Result<Value, DatabaseError> {
    LookupSession::run(database, table, lookup, async |session: &LookupSession| {
        let settings = "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_material = off";
        session.execute(settings).await?;
        let sql = single_statement(&lookup.sql).unwrap_or_default();
        let explain = format!("EXPLAIN (FORMAT JSON) {sql}");
        let rows = session.query(&explain, &[]).await?;
        let plan = rows.first().and_then(|row| row.try_get::<_, ExplainJson>(0).ok());
        Ok(plan.map_or(Value::Null, |ExplainJson(mut plan)| plan[0]["Plan"].take()))
    })
    .await
}

/// The result of EXPLAIN. The driver would need another feature to return JSON.
struct ExplainJson(Value);

impl<'a> FromSql<'a> for ExplainJson {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(serde_json::from_slice(raw)?))
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::JSON
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is used with map_err")]
pub(super) fn to_error(error: tokio_postgres::Error) -> DatabaseError {
    DatabaseError::from_driver(WHAT, &error)
}
