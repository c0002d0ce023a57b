//! Queries with names that mean temporary tables: PostgreSQL prints the body of a function, and leaves
//! the schema out where the search path finds the table.

use std::collections::BTreeSet;

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::examination::type_names;
use crate::quote::{quote_ident, quote_literal};

/// The purpose of the statements, for messages.
pub(super) const WHAT: &str = "the check of the keys that changes concern";

/// The tables and views that a function reads, also through views, which come after those that they
/// read.
const DEPENDENCIES_SQL: &str = "
WITH RECURSIVE d (oid, depth) AS (
  SELECT refobjid, 1 FROM pg_catalog.pg_depend
    WHERE classid = 'pg_catalog.pg_proc'::regclass AND refclassid = 'pg_catalog.pg_class'::regclass
      AND objid = (SELECT max(oid) FROM pg_catalog.pg_proc WHERE proname = 'latido_shadow' AND pronamespace = pg_my_temp_schema())
  UNION
  SELECT x.refobjid, d.depth + 1 FROM d
    JOIN pg_catalog.pg_rewrite r ON r.ev_class = d.oid
    JOIN pg_catalog.pg_depend x ON x.classid = 'pg_catalog.pg_rewrite'::regclass AND x.objid = r.oid
     AND x.refclassid = 'pg_catalog.pg_class'::regclass AND x.refobjid <> d.oid
)
SELECT n.nspname::text, c.relname::text, c.relkind::text FROM d
JOIN pg_catalog.pg_class c ON c.oid = d.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.oid <> pg_my_temp_schema() AND n.nspname <> 'pg_catalog' AND n.nspname <> 'information_schema'
GROUP BY 1, 2, 3 ORDER BY max(d.depth) DESC";

/// A table or a view by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Relation {
    pub(super) schema: String,
    pub(super) name: String,
    /// One of `pg_class.relkind`.
    pub(super) kind: String,
}

/// A query as PostgreSQL prints it, with what it reads.
#[derive(Debug)]
pub(super) struct PrintedQuery {
    pub(super) sql: String,
    pub(super) relations: Vec<Relation>,
}

/// Returns the query with unqualified names, as far as they are unique. `path_sql` sets the search
/// path by which its own names are found; that stays set to another one.
///
/// # Errors
/// Returns an error if this role may not create a temporary function, or if the query is refused.
pub(super) async fn print_query(
    client: &Client,
    sql: &str,
    types: &[Type],
    path_sql: &str,
) -> Result<PrintedQuery, DatabaseError> {
    let to_error = |error| DatabaseError::from_driver(WHAT, &error);
    let names = type_names(client, WHAT, types).await?;
    client.batch_execute(path_sql).await.map_err(to_error)?;
    // The extended protocol refuses several statements, so that a query cannot end the function.
    let create = format!(
        "CREATE FUNCTION pg_temp.latido_shadow({}) RETURNS SETOF record LANGUAGE sql BEGIN ATOMIC\n{sql}\n; END",
        names.join(", ")
    );
    client.query_typed(&create, &[]).await.map_err(to_error)?;
    let rows = client.query_typed(DEPENDENCIES_SQL, &[]).await;
    let mut relations = Vec::new();
    for row in rows.map_err(to_error)? {
        let text = |column| row.try_get(column).map_err(to_error);
        relations.push(Relation {
            schema: text(0)?,
            name: text(1)?,
            kind: text(2)?,
        });
    }
    let schemas: BTreeSet<_> = relations.iter().map(|of| quote_ident(&of.schema)).collect();
    set_path(client, schemas).await?;
    let body = "SELECT pg_catalog.pg_get_function_sqlbody(max(oid)) FROM pg_catalog.pg_proc
                WHERE proname = 'latido_shadow' AND pronamespace = pg_catalog.pg_my_temp_schema()";
    let rows = client.query_typed(body, &[]).await.map_err(to_error)?;
    let body: String = match rows.first() {
        Some(row) => row.try_get(0).map_err(to_error)?,
        None => String::new(),
    };
    let drop = "DROP FUNCTION pg_temp.latido_shadow";
    client.batch_execute(drop).await.map_err(to_error)?;
    let sql = body.trim().strip_prefix("BEGIN ATOMIC");
    let sql = sql.and_then(|rest| rest.strip_suffix("END"));
    let sql = sql.map(|rest| rest.trim().trim_end_matches(';'));
    Ok(PrintedQuery {
        sql: sql.unwrap_or_default().to_owned(),
        relations,
    })
}

/// Makes temporary tables, and tables of these schemas, visible without a schema.
pub(super) async fn set_path(
    client: &Client,
    schemas: impl IntoIterator<Item = String>,
) -> Result<(), DatabaseError> {
    let path: Vec<_> = schemas.into_iter().collect();
    let set = format!(
        "SELECT pg_catalog.set_config('search_path', {}, true)",
        quote_literal(&path.join(", "))
    );
    let done = client.batch_execute(&set).await;
    done.map_err(|error| DatabaseError::from_driver(WHAT, &error))
}
