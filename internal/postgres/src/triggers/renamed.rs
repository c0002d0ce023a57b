//! Finds the present names of columns that were renamed since the triggers were installed.
//!
//! A trigger cannot follow a rename: what would let it (a function over the row type) also makes
//! PostgreSQL refuse DROP TABLE and DROP COLUMN. But the comment of each function notes the numbers
//! of the columns, which stay, so the server can say what happened.

use std::collections::BTreeMap;

use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::pool::Database;
use crate::triggers::TableProblem;
use crate::triggers::column_note::parse_note;

/// The comments of this installation's functions whose triggers are on a table.
const COMMENTS_SQL: &str = "SELECT DISTINCT pg_catalog.obj_description(p.oid, 'pg_proc')
  FROM pg_catalog.pg_trigger t
  JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid
  JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
 WHERE t.tgrelid OPERATOR(pg_catalog.=) $1 AND n.nspname OPERATOR(pg_catalog.=) $2";

/// Adds the present names of missing columns to the problem of a table. `numbers` are those of the
/// table's present columns.
pub(super) async fn add_renamed_columns(
    database: &Database,
    problem: TableProblem,
    table: u32,
    numbers: &BTreeMap<String, i16>,
) -> Result<TableProblem, DatabaseError> {
    let TableProblem::NoColumn {
        stream,
        table: name,
        missing,
        existing,
        ..
    } = problem
    else {
        return Ok(problem);
    };
    let instance = database.instance().as_str();
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&table, Type::OID), (&instance, Type::NAME)];
    let rows = database
        .query("a look at the tables", COMMENTS_SQL, &params)
        .await?;
    let comments = rows
        .iter()
        .filter_map(|row| row.try_get::<_, Option<&str>>(0).ok().flatten());
    let renamed: BTreeMap<_, _> = comments
        .flat_map(parse_note)
        .filter(|(old, _)| missing.split(", ").any(|one| one == old))
        .filter_map(|(old, number)| {
            let now = numbers.iter().find(|(_, now)| **now == number)?;
            Some((old, now.0.clone()))
        })
        .collect();
    Ok(TableProblem::NoColumn {
        stream,
        table: name,
        missing,
        existing,
        renamed: renamed.into_iter().collect(),
    })
}
