//! Compares the installed triggers with the expected ones.

use crate::error::DatabaseError;
use crate::install::generate::{
    EVENTS, Form, SCHEMA, SHARED, Section, Watched, shared_body, shared_comment,
};
use crate::install::resolve;
use crate::pool::Database;
use crate::quote::{ident, qualified};
use latido_base::ident::StreamId;
use latido_stream::Catalog;

/// The state of a table's triggers, compared with those that this version would install; the worst
/// is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TriggerState {
    /// Current triggers exist on the table and each of its partitions.
    Current,
    /// Some triggers are missing, disabled, or of another version or configuration.
    Outdated,
    /// The table has no triggers.
    Missing,
}

/// The triggers of one table of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableTriggers {
    /// The stream that the table belongs to.
    pub stream: StreamId,
    /// The table's name, as configured.
    pub table: String,
    /// The state of its triggers.
    pub state: TriggerState,
    /// The reason why the table cannot have triggers.
    pub mistake: Option<String>,
}

/// The triggers of a whole catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Triggers {
    /// The tables of all streams.
    pub tables: Vec<TableTriggers>,
    /// The installed functions that no table of the catalog needs.
    pub leftovers: Vec<String>,
}

impl Triggers {
    /// Returns the worst state among the stream's tables. A stream without tables counts as
    /// current.
    pub fn of(&self, stream: StreamId) -> TriggerState {
        self.tables
            .iter()
            .filter(|t| t.stream == stream)
            .map(|t| t.state)
            .max()
            .unwrap_or(TriggerState::Current)
    }

    /// Returns whether every change sends a notification.
    pub fn are_current(&self) -> bool {
        self.tables
            .iter()
            .all(|table| table.state == TriggerState::Current)
    }
}

impl Database {
    /// Compares the installed triggers with those that [`Database::install`] would create. A table
    /// that does not exist or cannot have triggers counts as missing them, with the reason.
    pub async fn triggers(&self, catalog: &Catalog) -> Result<Triggers, DatabaseError> {
        let found = Installed::read(self).await?;
        let (mut tables, mut wanted) = (Vec::new(), Vec::new());
        for (id, stream) in catalog.iter() {
            for table in &stream.tables {
                let (state, mistake) = match resolve::one(self, stream, table).await? {
                    Ok(watched) => {
                        let state = found.whole_state(&watched);
                        wanted.push(watched);
                        (state, None)
                    }
                    Err(mistake) => (TriggerState::Missing, Some(mistake)),
                };
                tables.push(TableTriggers {
                    stream: id,
                    table: table.name.clone(),
                    state,
                    mistake,
                });
            }
        }
        let leftovers = found
            .leftovers(&wanted)
            .iter()
            .map(|function| function.name.clone())
            .collect();
        Ok(Triggers { tables, leftovers })
    }
}

/// All functions that Latido installed in a database.
#[derive(Debug, Default)]
pub(super) struct Installed {
    pub(super) functions: Vec<Function>,
    pub(super) schema_is_ours: bool,
}

/// One installed function, with the triggers that call it.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: String,
    arguments: String,
    source: String,
    comment: String,
    triggers: Vec<Trigger>,
}

#[derive(Debug, PartialEq, Eq)]
struct Trigger {
    schema: String,
    table: String,
    name: String,
    /// The value of `tgenabled`; `A` means that it fires under any `session_replication_role`.
    enabled: String,
    tgtype: i16,
}

impl Installed {
    pub(super) async fn read(database: &Database) -> Result<Self, DatabaseError> {
        let what = "a look at the triggers";
        let schema = "SELECT obj_description(oid, 'pg_namespace') LIKE 'latido:%' FROM pg_namespace WHERE nspname = 'latido'";
        let rows = database.query(what, schema, &[]).await?;
        let schema_is_ours = rows
            .first()
            .and_then(|row| row.try_get::<_, Option<bool>>(0).ok().flatten())
            .unwrap_or(false);
        let mut installed = Self {
            functions: Vec::new(),
            schema_is_ours,
        };
        for row in database
            .query(what, include_str!("find_installed.sql"), &[])
            .await?
        {
            installed
                .add(&row)
                .map_err(|e| DatabaseError::of(what, &e))?;
        }
        Ok(installed)
    }

    fn add(&mut self, row: &tokio_postgres::Row) -> Result<(), tokio_postgres::Error> {
        let (name, arguments): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let same = |last: &Function| last.name == name && last.arguments == arguments;
        if !self.functions.last().is_some_and(same) {
            let (source, comment) = (row.try_get(2)?, row.try_get(3)?);
            self.functions.push(Function {
                name,
                arguments,
                source,
                comment,
                triggers: Vec::new(),
            });
        }
        if let (Some(function), Some(schema)) = (self.functions.last_mut(), row.try_get(4)?) {
            let (table, name) = (row.try_get(5)?, row.try_get(6)?);
            function.triggers.push(Trigger {
                schema,
                table,
                name,
                enabled: row.try_get(7)?,
                tgtype: row.try_get(8)?,
            });
        }
        Ok(())
    }

    /// Returns whether the shared function is the one that these settings need.
    pub(super) fn shared_is(&self, gated: bool) -> bool {
        let same = |f: &Function| {
            f.name == SHARED && f.source == shared_body(gated) && f.comment == shared_comment(gated)
        };
        self.schema_is_ours && self.functions.iter().any(same)
    }

    /// Accepts the shared function with or without a gate, since servers always declare the keys
    /// that they watch.
    fn shared_is_current(&self) -> bool {
        self.shared_is(true) || self.shared_is(false)
    }

    /// Returns the state of the table's own part and the shared one. The table may have a gate or
    /// not.
    fn whole_state(&self, table: &Watched) -> TriggerState {
        let [rows, statements] = [Form::Rows, Form::Statements].map(|form| {
            self.state(&Watched {
                form,
                ..table.clone()
            })
        });
        match rows.min(statements) {
            TriggerState::Current if !self.shared_is_current() => TriggerState::Outdated,
            state => state,
        }
    }

    /// Returns the state of the table's own part only: a new shared function needs no lock on
    /// tables.
    pub(super) fn state(&self, table: &Watched) -> TriggerState {
        let Some(function) = self.functions.iter().find(|f| f.name == table.function()) else {
            return TriggerState::Missing;
        };
        if function.triggers.is_empty() {
            return TriggerState::Missing;
        }
        let all = table.relations.iter().all(|(schema, name)| {
            EVENTS
                .iter()
                .all(|event| function.fires(table, schema, name, *event))
        });
        let same = function.source == table.body() && function.comment == table.comment();
        if all && same {
            TriggerState::Current
        } else {
            TriggerState::Outdated
        }
    }

    /// Returns the functions that belong to none of these tables.
    pub(super) fn leftovers(&self, wanted: &[Watched]) -> Vec<&Function> {
        let names: Vec<_> = wanted.iter().map(Watched::function).collect();
        self.functions
            .iter()
            .filter(|f| f.name != SHARED && !names.contains(&f.name))
            .collect()
    }
}

impl Function {
    fn fires(
        &self,
        of: &Watched,
        schema: &str,
        table: &str,
        event: super::generate::Event,
    ) -> bool {
        let expected = Trigger {
            schema: schema.to_owned(),
            table: table.to_owned(),
            name: of.trigger(event),
            enabled: "A".to_owned(),
            tgtype: event.tgtype(of.form),
        };
        self.triggers.contains(&expected)
    }

    /// Returns the section that removes the function. Without CASCADE, because other objects that
    /// depend on it are not Latido's to drop.
    pub(super) fn removal(&self) -> Section {
        let triggers = self.triggers.iter();
        let mut sql: String = triggers
            .map(|t| {
                format!(
                    "DROP TRIGGER IF EXISTS {} ON {};\n",
                    ident(&t.name),
                    qualified(&t.schema, &t.table)
                )
            })
            .collect();
        sql.push_str(&format!(
            "DROP FUNCTION IF EXISTS {}({});\n",
            qualified(SCHEMA, &self.name),
            self.arguments
        ));
        let tables: Vec<_> = self
            .triggers
            .iter()
            .map(|t| qualified(&t.schema, &t.table))
            .collect();
        let subject = tables
            .first()
            .cloned()
            .unwrap_or_else(|| format!("function {}", qualified(SCHEMA, &self.name)));
        Section { subject, sql }
    }
}
