//! The tables that people made in a database.

use crate::pool::Database;
use crate::{DatabaseError, quote_if_needed};

/// The tables and foreign tables, without those of the system, of extensions and of other sessions.
const TABLES_SQL: &str = "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
    coalesce(n.nspname OPERATOR(pg_catalog.=) pg_catalog.current_schema(), false),
    coalesce(pg_catalog.starts_with(pg_catalog.obj_description(c.oid, 'pg_class'), 'latido '), false)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
 WHERE c.relkind::pg_catalog.text OPERATOR(pg_catalog.=) ANY ('{r,p,f}'::pg_catalog.text[])
   AND c.relpersistence OPERATOR(pg_catalog.<>) 't'
   AND NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_')
   AND n.nspname OPERATOR(pg_catalog.<>) 'information_schema'
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
                      AND d.objid OPERATOR(pg_catalog.=) c.oid AND d.deptype OPERATOR(pg_catalog.=) 'e')
 ORDER BY 1, 2";

/// One table of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseTable {
    /// The name of its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Whether it is in the first schema of the search path, where new tables go.
    pub is_in_home_schema: bool,
    /// Whether it has the comment that [`Database::install_app`] writes on a table of an app.
    pub is_app_mark: bool,
}

impl DatabaseTable {
    /// Returns the name as SQL has it, with its schema if the search path does not find it.
    #[must_use]
    pub fn sql_name(&self) -> String {
        let name = quote_if_needed(&self.name);
        match self.is_in_home_schema {
            true => name,
            false => format!("{}.{name}", quote_if_needed(&self.schema)),
        }
    }
}

impl Database {
    /// Returns the tables that people made, ordered by schema and name.
    ///
    /// # Errors
    /// Returns an error if the database is unavailable.
    pub async fn user_tables(&self) -> Result<Vec<DatabaseTable>, DatabaseError> {
        let what = "a look at the tables";
        let rows = self.query(what, TABLES_SQL, &[]).await?;
        let tables = rows.iter().map(|row| {
            Ok(DatabaseTable {
                schema: row.try_get(0)?,
                name: row.try_get(1)?,
                is_in_home_schema: row.try_get(2)?,
                is_app_mark: row.try_get(3)?,
            })
        });
        tables
            .collect::<Result<_, _>>()
            .map_err(|error| DatabaseError::from_driver(what, &error))
    }
}
