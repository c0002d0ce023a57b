//! Reads the catalog entries that the search for a query's reads asks for.

use tokio_postgres::types::Type;
use tokio_postgres::{Error, Row};

use crate::error::DatabaseError;
use crate::query_reads::session::{InferenceSession, to_error};
use latido_inference::{
    CatalogFacts, EqualityFacts, ForeignKeyFacts, FunctionFacts, OperatorFacts, PendingFacts,
    RelationFacts, TypeFacts,
};

/// Reads the entries that are pending.
pub(super) async fn read(
    session: &InferenceSession,
    pending: &PendingFacts,
) -> Result<CatalogFacts, DatabaseError> {
    let mut relations = relations(session, &pending.relations).await?;
    for (oid, key) in foreign_keys(session, &pending.relations).await? {
        if let Some(facts) = relations.iter_mut().find(|facts| facts.oid == oid) {
            facts.foreign_keys.push(key);
        }
    }
    Ok(CatalogFacts {
        relations,
        functions: functions(session, &pending.functions).await?,
        operators: operators(session, &pending.operators).await?,
        bodies: session.body_trees(&pending.bodies).await?,
        equalities: equalities(session, &pending.equalities).await?,
        types: types(session, &pending.types).await?,
    })
}

async fn relations(
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
            column_types: numbers
                .iter()
                .copied()
                .zip(row.try_get::<_, Vec<u32>>(12)?)
                .collect(),
            nondeterministic_columns: row.try_get::<_, Vec<i32>>(13)?.into_iter().collect(),
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

/// Returns the foreign keys of relations, each with the relation's OID.
async fn foreign_keys(
    session: &InferenceSession,
    oids: &[u32],
) -> Result<Vec<(u32, ForeignKeyFacts)>, DatabaseError> {
    rows(session, include_str!("foreign_keys.sql"), oids, |row| {
        let key = ForeignKeyFacts {
            parent: row.try_get(1)?,
            columns: row.try_get(2)?,
            parent_columns: row.try_get(3)?,
            cascades: row.try_get(4)?,
        };
        Ok((row.try_get(0)?, key))
    })
    .await
}

async fn equalities(
    session: &InferenceSession,
    oids: &[u32],
) -> Result<Vec<EqualityFacts>, DatabaseError> {
    rows(session, include_str!("equalities.sql"), oids, |row| {
        Ok(EqualityFacts {
            oid: row.try_get(0)?,
            families: row.try_get(1)?,
            is_immutable: row.try_get(2)?,
        })
    })
    .await
}

async fn types(session: &InferenceSession, oids: &[u32]) -> Result<Vec<TypeFacts>, DatabaseError> {
    rows(session, include_str!("types.sql"), oids, |row| {
        Ok(TypeFacts {
            oid: row.try_get(0)?,
            base: row.try_get(1)?,
            element: row.try_get(2)?,
            family: row.try_get(3)?,
            equality_schema: row.try_get(4)?,
        })
    })
    .await
}

async fn functions(
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

async fn operators(
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
