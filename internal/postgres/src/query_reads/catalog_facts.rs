//! Reads the catalog entries that the search for a query's reads asks for.

use tokio_postgres::types::Type;
use tokio_postgres::{Error, Row};

use crate::error::DatabaseError;
use crate::query_reads::session::{InferenceSession, to_error};
use latido_inference::{FunctionFacts, OperatorFacts, RelationFacts};

pub(super) async fn relations(
    session: &InferenceSession,
    oids: &[u32],
) -> Result<Vec<RelationFacts>, DatabaseError> {
    rows(session, include_str!("relations.sql"), oids, |row| {
        let (numbers, names): (Vec<i32>, Vec<String>) = (row.try_get(6)?, row.try_get(7)?);
        let mut facts = RelationFacts {
            oid: row.try_get(0)?,
            schema: row.try_get(1)?,
            name: row.try_get(2)?,
            kind: row.try_get(3)?,
            is_temporary: row.try_get(4)?,
            has_children: row.try_get(5)?,
            columns: numbers.into_iter().zip(names).collect(),
            view_tree: row.try_get(10)?,
            policy_trees: row.try_get(11)?,
            ..RelationFacts::default()
        };
        let (columns, bases): (Vec<i32>, Vec<i32>) = (row.try_get(8)?, row.try_get(9)?);
        for (column, base) in columns.into_iter().zip(bases) {
            facts.virtual_columns.entry(column).or_default().push(base);
        }
        Ok(facts)
    })
    .await
}

pub(super) async fn functions(
    session: &InferenceSession,
    oids: &[u32],
) -> Result<Vec<FunctionFacts>, DatabaseError> {
    rows(session, include_str!("functions.sql"), oids, |row| {
        Ok(FunctionFacts {
            oid: row.try_get(0)?,
            schema: row.try_get(1)?,
            name: row.try_get(2)?,
            language: row.try_get(3)?,
            is_immutable: row.try_get(4)?,
            is_of_extension: row.try_get(5)?,
            argument_count: row.try_get(6)?,
            arguments: row.try_get(7)?,
            body_tree: row.try_get(8)?,
            aggregate_of: row.try_get(9)?,
        })
    })
    .await
}

pub(super) async fn operators(
    session: &InferenceSession,
    oids: &[u32],
) -> Result<Vec<OperatorFacts>, DatabaseError> {
    let sql = "SELECT oid, oprcode::oid FROM pg_operator WHERE oid = ANY ($1)";
    rows(session, sql, oids, |row| {
        Ok(OperatorFacts {
            oid: row.try_get(0)?,
            function: row.try_get(1)?,
        })
    })
    .await
}

async fn rows<T>(
    session: &InferenceSession,
    sql: &str,
    oids: &[u32],
    read: impl Fn(&Row) -> Result<T, Error>,
) -> Result<Vec<T>, DatabaseError> {
    if oids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = session.query(sql, &[(&oids, Type::OID_ARRAY)]).await?;
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(to_error)
}
