//! Asks the database what a lookup reads and returns, in a transaction that is rolled back.
//!
//! `changed` is a temporary table there, and the lookup a function over it whose body PostgreSQL
//! parses at once, so that its own record of dependencies is exact.

use std::collections::BTreeSet;

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::error::DatabaseError;
use crate::key_kind::{KEY_COLUMN_TYPES, KeyKind};
use crate::pool::Database;
use crate::statement_text::single_statement;
use crate::triggers::lookup_session::{LookupSession, to_error};
use crate::triggers::table_route::{LookupArgument, LookupFacts, MoveKey, PathTable, TableLookup};
use crate::triggers::watched_table::WatchedTable;
use crate::triggers::{DiscoveryError, TableProblem};

/// Whether the lookup names a whole row: a variable without a column in its parse tree.
const WHOLE_ROW_SQL: &str = "SELECT prosqlbody::text LIKE '%:varattno 0 %' FROM pg_proc
WHERE proname = 'latido_lookup' AND pronamespace = pg_my_temp_schema()";

/// Whether the lookup locks what it reads, also inside a subquery.
const LOCKS_SQL: &str = "SELECT prosqlbody::text LIKE '%:hasForUpdate true%' FROM pg_proc
WHERE proname = 'latido_lookup' AND pronamespace = pg_my_temp_schema()";

/// The tables, columns and functions that the lookup depends on.
const USES_SQL: &str = concat!(
    include_str!("lookup_uses.sql"),
    include_str!("find_lookup_uses.sql")
);

/// Whether a row may get a key because another row is absent.
const GAINS_SQL: &str = concat!(
    include_str!("lookup_uses.sql"),
    include_str!("find_lookup_gains.sql")
);

/// Finds what a table's lookup reads and returns. `fields` are the names of the stream's key parts.
/// The ways of moved rows to their keys are not known yet.
///
/// # Errors
/// Returns an error if the lookup has not the form that the stream needs, or if the database fails.
pub(super) async fn examine_lookup(
    database: &Database,
    table: &WatchedTable,
    lookup: &TableLookup,
    fields: &[String],
) -> Result<LookupFacts, DiscoveryError> {
    LookupSession::run(database, table, lookup, async |session: &LookupSession| {
        let examination = Examination {
            session,
            table,
            lookup,
            fields,
        };
        examination.facts().await
    })
    .await
}

/// The examination of one lookup.
struct Examination<'a> {
    session: &'a LookupSession,
    table: &'a WatchedTable,
    lookup: &'a TableLookup,
    fields: &'a [String],
}

impl Examination<'_> {
    async fn facts(&self) -> Result<LookupFacts, DiscoveryError> {
        let sql = single_statement(&self.lookup.sql)
            .map_err(|_| self.problem("it is more than one statement".to_owned()))?;
        // Only a query can stand there. The text may end with a comment.
        let query = format!("SELECT v.* FROM (\n{sql}\n) AS v");
        let client = self.session.client();
        let prepared = client.prepare(&query).await;
        let statement = prepared.map_err(|error| self.explain(error))?;
        if !statement.params().is_empty() {
            return Err(self.problem("it has parameters".to_owned()));
        }
        let columns: Vec<_> = statement
            .columns()
            .iter()
            .map(|column| (column.name().to_owned(), column.type_().clone()))
            .collect();
        let parts = self.check_columns(&columns)?;
        // The extended protocol refuses several statements.
        let create = format!(
            "CREATE FUNCTION pg_temp.latido_lookup() RETURNS SETOF record LANGUAGE sql STABLE BEGIN ATOMIC {query}; END"
        );
        let created = client.query_typed(&create, &[]).await;
        created.map_err(|error| self.explain(error))?;
        let path = "SET LOCAL search_path = pg_catalog";
        self.session.execute(path).await?;
        self.check_locks().await?;
        let uses = self.uses().await?;
        self.check_kinds(&uses)?;
        let functions = uses.iter().filter(|found| found.kind == "function");
        let mut facts = LookupFacts {
            parts,
            names: columns.into_iter().map(|(name, _)| name).collect(),
            // An ordering has an operator for each direction, with one function or two.
            functions: functions
                .map(|found| found.name.clone())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            arguments: self.arguments(&uses).await?,
            path: Vec::new(),
        };
        let gains = self.gains_keys().await?;
        for found in uses.iter().filter(|found| found.is_path()) {
            facts.path.push(self.path_table(found, &uses, gains).await?);
        }
        Ok(facts)
    }

    /// Checks that the lookup does not lock rows: it runs in every write.
    async fn check_locks(&self) -> Result<(), DiscoveryError> {
        let locks = self.session.query(LOCKS_SQL, &[]).await?;
        let locks = locks.first().map(|row| row.try_get::<_, bool>(0));
        match locks.transpose().map_err(to_error)? {
            Some(true) => Err(self.problem("it locks rows (FOR UPDATE or FOR SHARE)".to_owned())),
            _ => Ok(()),
        }
    }

    /// Checks that triggers can see the changes of everything that the lookup reads.
    fn check_kinds(&self, uses: &[Use]) -> Result<(), DiscoveryError> {
        for found in uses {
            let kind = match found.kind.as_str() {
                "m" => "materialized view",
                "f" => "foreign table",
                _ => continue,
            };
            return Err(self.problem(format!(
                "it reads the {kind} {}, whose changes no trigger sees",
                found.name
            )));
        }
        Ok(())
    }

    /// Checks that the lookup returns one column for each key part, of types that keys have.
    fn check_columns(&self, columns: &[(String, Type)]) -> Result<Vec<KeyKind>, DiscoveryError> {
        let forms: Option<Vec<_>> = columns.iter().map(|(_, of)| KeyKind::of_type(of)).collect();
        match forms {
            Some(forms) if forms.len() == self.fields.len() && !forms.is_empty() => Ok(forms),
            _ => {
                let found: Vec<_> = columns
                    .iter()
                    .map(|(name, of)| format!("{name} {}", of.name()))
                    .collect();
                Err(self.problem(format!("it returns ({})", found.join(", "))))
            }
        }
    }

    fn problem(&self, problem: String) -> DiscoveryError {
        let expected = match self.fields {
            [] => {
                "no `via`: every change concerns the only key of a stream without a key".to_owned()
            }
            fields => format!(
                "one SELECT over `changed` that returns one column for each key part ({}), each {KEY_COLUMN_TYPES}",
                fields.join(", ")
            ),
        };
        TableProblem::Lookup {
            stream: self.table.stream.clone(),
            table: self.table.table.clone(),
            problem,
            expected,
        }
        .into()
    }

    /// Returns a problem for what the server says about the lookup itself, or else the error.
    fn explain(&self, error: tokio_postgres::Error) -> DiscoveryError {
        match to_error(error) {
            DatabaseError::Rejected {
                sqlstate, message, ..
            } => self.problem(format!(
                "the database refuses it: {message} (SQLSTATE {sqlstate})"
            )),
            error => error.into(),
        }
    }

    async fn uses(&self) -> Result<Vec<Use>, DatabaseError> {
        let rows = self.session.query(USES_SQL, &[]).await?;
        // PostgreSQL records no dependency for a whole row beside columns of it.
        let tree = self.session.query(WHOLE_ROW_SQL, &[]).await?;
        let has_whole_row = tree
            .first()
            .is_none_or(|row| row.try_get(0).unwrap_or(true));
        let of_row = |row: &Row| {
            let (kind, schema): (String, String) = (row.try_get(0)?, row.try_get(2)?);
            let name: String = row.try_get(3)?;
            let columns: Vec<String> = row.try_get(4)?;
            Ok(Use {
                is_changed: name == "changed" && schema.starts_with("pg_temp"),
                kind,
                oid: row.try_get(1)?,
                schema,
                name,
                columns: columns.into_iter().filter(|_| !has_whole_row).collect(),
            })
        };
        rows.iter()
            .map(of_row)
            .collect::<Result<_, _>>()
            .map_err(to_error)
    }

    /// Returns whether a row may get a key because another row is absent, as with an outer join. What
    /// cannot be told counts as such.
    async fn gains_keys(&self) -> Result<bool, DatabaseError> {
        let rows = self.session.query(GAINS_SQL, &[]).await?;
        Ok(rows
            .first()
            .is_none_or(|row| row.try_get(0).unwrap_or(true)))
    }

    /// Returns what the lookup reads of `changed`: columns, or else the whole row.
    async fn arguments(&self, uses: &[Use]) -> Result<Vec<LookupArgument>, DiscoveryError> {
        let Some(changed) = uses.iter().find(|found| found.is_changed) else {
            return Err(self.problem("it does not read `changed`".to_owned()));
        };
        let oid = [(&changed.oid as &(dyn ToSql + Sync), Type::OID)];
        let rows = self
            .session
            .query(include_str!("find_lookup_columns.sql"), &oid)
            .await?;
        let (mut arguments, mut all, mut are_simple) = (Vec::new(), Vec::new(), true);
        for row in &rows {
            let name: String = row.try_get(0).map_err(to_error)?;
            if changed.columns.contains(&name) {
                are_simple &= row.try_get::<_, bool>(3).map_err(to_error)?;
                arguments.push(LookupArgument::Column {
                    name: name.clone(),
                    data_type: row.try_get(1).map_err(to_error)?,
                    collation: row.try_get(2).map_err(to_error)?,
                    is_compared_as_text: row.try_get(4).map_err(to_error)?,
                });
            }
            all.push(name);
        }
        if arguments.is_empty() || !are_simple {
            return Ok(vec![LookupArgument::Row {
                schema: self.table.schema.clone(),
                table: self.table.table.clone(),
                columns: all,
            }]);
        }
        Ok(arguments)
    }

    async fn path_table(
        &self,
        found: &Use,
        uses: &[Use],
        gains_keys: bool,
    ) -> Result<PathTable, DatabaseError> {
        let oid = [(&found.oid as &(dyn ToSql + Sync), Type::OID)];
        let rows = self
            .session
            .query(include_str!("find_children.sql"), &oid)
            .await?;
        let mut relations: Vec<(String, String)> = Vec::new();
        let mut is_partitioned = false;
        for row in &rows {
            relations.push((
                row.try_get(0).map_err(to_error)?,
                row.try_get(1).map_err(to_error)?,
            ));
            is_partitioned |= row.try_get::<_, bool>(2).map_err(to_error)?;
        }
        let keys = self
            .session
            .query(include_str!("find_foreign_keys.sql"), &oid)
            .await?;
        let is_guarded = keys
            .iter()
            .any(|row| self.is_guard(found, uses, row).unwrap_or(false));
        Ok(PathTable {
            schema: found.schema.clone(),
            table: found.name.clone(),
            columns: found.columns.clone(),
            relations,
            // An UPDATE that moves a row to another partition is an INSERT there.
            is_moved_by_insert: !is_guarded || is_partitioned,
            is_moved_by_delete: gains_keys && !is_guarded,
            moves_elsewhere: gains_keys,
            key: MoveKey::Unknown,
        })
    }

    /// Returns whether a foreign key makes sure that no row below a new row was there before: it must
    /// be from a table of the lookup, over columns that the lookup reads.
    fn is_guard(
        &self,
        found: &Use,
        uses: &[Use],
        key: &Row,
    ) -> Result<bool, tokio_postgres::Error> {
        let (schema, table): (String, String) = (key.try_get(0)?, key.try_get(1)?);
        let (own, others): (Vec<String>, Vec<String>) = (key.try_get(3)?, key.try_get(2)?);
        let from = uses.iter().find(|other| match other.is_changed {
            true => (&schema, &table) == (&self.table.schema, &self.table.table),
            false => (&schema, &table) == (&other.schema, &other.name),
        });
        Ok(from.is_some_and(|from| from.reads(&others)) && found.reads(&own))
    }
}

/// Something that a lookup depends on.
struct Use {
    /// One of `pg_class.relkind`, or `function`.
    kind: String,
    oid: u32,
    schema: String,
    /// The name of a relation, or the function with its arguments.
    name: String,
    /// The columns that are read; empty for the whole row.
    columns: Vec<String>,
    /// True for the changed rows themselves.
    is_changed: bool,
}

impl Use {
    /// Returns whether it is a table that the lookup passes through.
    fn is_path(&self) -> bool {
        matches!(self.kind.as_str(), "r" | "p") && !self.is_changed
    }

    fn reads(&self, columns: &[String]) -> bool {
        self.columns.is_empty() || columns.iter().all(|column| self.columns.contains(column))
    }
}
