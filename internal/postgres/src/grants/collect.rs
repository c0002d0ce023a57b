//! Collects the privileges that the streams and the apps of a server need.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::types::Type;

use super::grant::{Grant, GrantObject};
use super::query_tables::query_tables;
use super::table_grant::TableGrant;
use crate::error::DatabaseError;
use crate::pool::Database;
use crate::read_gap::ReadTable;
use crate::triggers::{AppSchema, DiscoveryError, InstallError, discover};
use latido_stream::Catalog;

/// The functions in a table's schema that have one of these names, with their argument types.
const FUNCTIONS_SQL: &str = "SELECT pg_catalog.format('%I.%I(%s)', n.nspname, p.proname, pg_catalog.oidvectortypes(p.proargtypes))
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
 WHERE n.nspname::pg_catalog.text OPERATOR(pg_catalog.=) $1 AND p.proname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($2) ORDER BY 1";

/// Everything that a server needs privileges for.
#[derive(Debug, Clone, Copy)]
pub struct ServingNeeds<'a> {
    /// The streams, with the tables that they name.
    pub catalog: &'a Catalog,
    /// Tables that permission queries read.
    pub tables: &'a [TableGrant],
    /// The schemas of the enabled apps.
    pub apps: &'a [&'a AppSchema],
}

/// The columns of each table and privilege. Without columns the whole table is meant.
#[derive(Default)]
struct TableColumns(BTreeMap<(String, String, &'static str), Option<BTreeSet<String>>>);

impl TableColumns {
    /// Adds columns; an empty list means the whole table.
    fn add(&mut self, schema: &str, table: &str, privilege: &'static str, columns: &[String]) {
        let key = (schema.to_owned(), table.to_owned(), privilege);
        let known = self.0.entry(key).or_insert_with(|| Some(BTreeSet::new()));
        if columns.is_empty() {
            *known = None;
        } else if let Some(known) = known {
            known.extend(columns.iter().cloned());
        }
    }

    /// Adds what a query reads. One that reads no column, such as `count(*)`, needs any column, so
    /// the whole table counts only if nothing else is read of it.
    fn add_reads(&mut self, reads: Vec<ReadTable>) {
        let (unnamed, named): (Vec<_>, Vec<_>) = reads
            .into_iter()
            .partition(|read| read.columns.as_ref().is_some_and(BTreeSet::is_empty));
        for read in named {
            let columns: Vec<_> = read.columns.into_iter().flatten().collect();
            self.add(&read.schema, &read.table, "SELECT", &columns);
        }
        for read in unnamed {
            let key = (read.schema, read.table, "SELECT");
            self.0.entry(key).or_insert(None);
        }
    }

    fn into_grants(self) -> Vec<Grant> {
        let schemas: BTreeSet<_> = self.0.keys().map(|key| key.0.clone()).collect();
        let usage = schemas.into_iter().map(|schema| Grant {
            object: GrantObject::Schema(schema),
            privilege: "USAGE".to_owned(),
            columns: Vec::new(),
        });
        let tables = self
            .0
            .into_iter()
            .map(|((schema, name, privilege), columns)| Grant {
                object: GrantObject::Table { schema, name },
                privilege: privilege.to_owned(),
                columns: columns.unwrap_or_default().into_iter().collect(),
            });
        usage.chain(tables).collect()
    }
}

impl Database {
    /// Returns the privileges that a server with these streams and apps needs.
    ///
    /// # Errors
    /// Returns an error if a table is missing, or if the database is unavailable.
    pub async fn serving_grants(
        &self,
        needs: ServingNeeds<'_>,
    ) -> Result<Vec<Grant>, InstallError> {
        let mut tables = TableColumns::default();
        let (watched_tables, missing) = discover::discover_tables(self, needs.catalog).await?;
        if !missing.is_empty() {
            return Err(InstallError::UnsupportedTables(missing));
        }
        for watched in watched_tables {
            let mut columns = watched.change_columns.clone();
            if !columns.is_empty() {
                columns.extend(watched.key_columns().iter().map(|key| key.name.clone()));
            }
            tables.add(&watched.schema, &watched.table, "SELECT", &columns);
        }
        for (_, stream) in needs.catalog.iter() {
            tables.add_reads(query_tables(self, stream).await?);
        }
        let mut problems = Vec::new();
        let mut functions = Vec::new();
        let apps = needs.apps.iter().flat_map(|app| {
            let owner = app.app;
            app.grants.iter().map(move |grant| (owner, grant))
        });
        let others = needs.tables.iter().map(|grant| ("authorize", grant));
        for (owner, grant) in others.chain(apps) {
            match discover::find_relation(self, owner, grant.table).await {
                Ok((schema, name)) => {
                    let columns: Vec<_> = grant.columns.iter().map(ToString::to_string).collect();
                    tables.add(&schema, &name, grant.privilege, &columns);
                }
                Err(DiscoveryError::Table(problem)) => problems.push(problem),
                Err(DiscoveryError::Database(error)) => return Err(error.into()),
            }
        }
        for app in needs.apps {
            functions.extend(self.app_functions(app).await?);
        }
        if !problems.is_empty() {
            problems.dedup();
            return Err(InstallError::UnsupportedTables(problems));
        }
        let mut grants = vec![self.connect_grant().await?];
        grants.extend(tables.into_grants());
        grants.extend(functions);
        Ok(grants)
    }

    async fn connect_grant(&self) -> Result<Grant, DatabaseError> {
        let sql = "SELECT pg_catalog.current_database()::pg_catalog.text";
        let rows = self.query("the database's name", sql, &[]).await?;
        let name = rows.first().and_then(|row| row.try_get(0).ok());
        Ok(Grant {
            object: GrantObject::Database(name.unwrap_or_default()),
            privilege: "CONNECT".to_owned(),
            columns: Vec::new(),
        })
    }

    /// Returns the privileges to call the functions of an app that is installed.
    async fn app_functions(&self, app: &AppSchema) -> Result<Vec<Grant>, DatabaseError> {
        let schema = match discover::find_relation(self, app.app, app.version_table).await {
            Ok((schema, _)) => schema,
            Err(DiscoveryError::Table(_)) => return Ok(Vec::new()),
            Err(DiscoveryError::Database(error)) => return Err(error),
        };
        let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] = [
            (&schema, Type::TEXT),
            (&app.called_functions, Type::TEXT_ARRAY),
        ];
        let rows = self
            .query("the app's functions", FUNCTIONS_SQL, &params)
            .await?;
        let grant = |row: &tokio_postgres::Row| {
            Some(Grant {
                object: GrantObject::Function(row.try_get(0).ok()?),
                privilege: "EXECUTE".to_owned(),
                columns: Vec::new(),
            })
        };
        Ok(rows.iter().filter_map(grant).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_table_includes_its_columns() {
        let column = |name: &str| vec![name.to_owned()];
        let mut tables = TableColumns::default();
        tables.add("s", "a", "SELECT", &column("x"));
        tables.add("s", "a", "SELECT", &column("y"));
        tables.add("s", "b", "SELECT", &column("x"));
        tables.add("s", "b", "SELECT", &[]);
        tables.add("s", "b", "SELECT", &column("y"));
        let grants: Vec<_> = tables
            .into_grants()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            grants,
            [
                r#"USAGE ON SCHEMA "s""#,
                r#"SELECT ("x", "y") ON TABLE "s"."a""#,
                r#"SELECT ON TABLE "s"."b""#,
            ]
        );
    }
}
