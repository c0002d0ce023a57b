//! Compares the installed triggers with the expected ones.

use std::fmt;

use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::pool::Database;
use crate::quote::{quote_ident, quote_qualified};
use crate::triggers::column_note::parse_lookup_note;
use crate::triggers::generate::{SHARED_FUNCTION, shared_body, shared_comment};
use crate::triggers::script::ScriptSection;
use crate::triggers::stream_gate::{GATE_FUNCTION, gate_body, gate_comment};
use crate::triggers::table_route::Gate;
use crate::triggers::table_triggers::trigger_sets;
use crate::triggers::trigger_event::TriggerKind;
use crate::triggers::trigger_set::{ExpectedTrigger, TriggerSet};
use crate::triggers::watched_table::WatchedTable;
use crate::triggers::{DiscoveryError, TableProblem, discover};
use latido_base::ident::StreamId;
use latido_stream::Catalog;

/// The state of a table's triggers, compared with those that this version would install; the worst
/// is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TriggerState {
    /// Current triggers exist on the table and each of its partitions.
    Current,
    /// As current, but some triggers do not fire in sessions with `session_replication_role =
    /// replica`: someone disabled them and enabled them again without ALWAYS.
    NotAlways,
    /// Some triggers are missing, disabled, or of another version or configuration.
    Outdated,
    /// The table has no triggers.
    Missing,
}

impl fmt::Display for TriggerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Current => "current",
            Self::NotAlways => "not always enabled",
            Self::Outdated => "outdated",
            Self::Missing => "missing",
        })
    }
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
    /// The tables that have such triggers and should not: it is no part of them any more, or a foreign
    /// table below them makes its writes fail.
    pub strays: Vec<String>,
    /// The reason why the table cannot have triggers.
    pub problem: Option<TableProblem>,
}

/// The triggers of a whole catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerReport {
    /// The tables of all streams.
    pub tables: Vec<TableTriggers>,
    /// The installed functions that no table of the catalog needs.
    pub unused_functions: Vec<String>,
}

impl TriggerReport {
    /// Returns the worst state among the stream's tables. A stream without tables counts as
    /// current.
    pub fn stream_state(&self, stream: StreamId) -> TriggerState {
        self.tables
            .iter()
            .filter(|t| t.stream == stream)
            .map(|t| t.state)
            .max()
            .unwrap_or(TriggerState::Current)
    }

    /// Returns whether every change sends a notification, at least in ordinary sessions.
    pub fn are_current(&self) -> bool {
        self.tables
            .iter()
            .all(|table| table.state <= TriggerState::NotAlways)
    }
}

impl Database {
    /// Compares the installed triggers with those that [`Database::install`] would create. A table
    /// that does not exist or cannot have triggers counts as missing them, with the reason.
    pub async fn triggers(&self, catalog: &Catalog) -> Result<TriggerReport, DatabaseError> {
        let found = InstalledTriggers::read(self).await?;
        let (mut tables, mut wanted) = (Vec::new(), Vec::new());
        for (id, stream) in catalog.iter() {
            for table in &stream.tables {
                let mut triggers = TableTriggers {
                    stream: id,
                    table: table.name.clone(),
                    state: TriggerState::Missing,
                    strays: Vec::new(),
                    problem: None,
                };
                match discover::discover_table(self, stream, table).await {
                    Ok(watched) => {
                        let watched = found.with_noted_facts(watched);
                        (triggers.state, triggers.strays) = found.full_state(&watched);
                        wanted.push(watched);
                    }
                    Err(DiscoveryError::Table(problem)) => triggers.problem = Some(problem),
                    Err(DiscoveryError::Database(error)) => return Err(error),
                }
                tables.push(triggers);
            }
        }
        let leftovers = found
            .unused_functions(&wanted)
            .iter()
            .map(|function| function.name.clone())
            .collect();
        Ok(TriggerReport {
            tables,
            unused_functions: leftovers,
        })
    }
}

/// The beginning of the handler in the source of a function that fails no write.
const FAILURE_HANDLER: &str = "EXCEPTION WHEN OTHERS";

/// All functions that Latido installed in a database.
#[derive(Debug, Default)]
pub(super) struct InstalledTriggers {
    pub(super) functions: Vec<TriggerFunction>,
    pub(super) owns_schema: bool,
}

/// One installed function, with the triggers that call it.
#[derive(Debug)]
pub(super) struct TriggerFunction {
    schema: String,
    pub(super) name: String,
    arguments: String,
    source: String,
    comment: String,
    /// True if everybody may call it.
    is_public: bool,
    pub(super) triggers: Vec<InstalledTrigger>,
}

#[derive(Debug)]
pub(super) struct InstalledTrigger {
    pub(super) schema: String,
    pub(super) table: String,
    pub(super) name: String,
    /// The value of `tgenabled`: `A` fires under any `session_replication_role`, `O` under its
    /// default.
    enabled: String,
    tgtype: i16,
}

impl InstalledTriggers {
    pub(super) async fn read(database: &Database) -> Result<Self, DatabaseError> {
        let what = "a look at the triggers";
        let schema = "SELECT pg_catalog.starts_with(pg_catalog.obj_description(oid, 'pg_namespace'), 'latido:') \
                      FROM pg_catalog.pg_namespace WHERE nspname OPERATOR(pg_catalog.=) $1";
        let instance = database.instance().as_str();
        let params = [(&instance as _, Type::NAME)];
        let rows = database.query(what, schema, &params).await?;
        let marked: Option<bool> = rows.first().and_then(|row| row.try_get(0).ok().flatten());
        let has_unmarked_schema = !rows.is_empty() && marked.is_none();
        let mut installed = Self {
            functions: Vec::new(),
            owns_schema: marked.unwrap_or(false),
        };
        for row in database
            .query(what, include_str!("find_installed.sql"), &params)
            .await?
        {
            installed
                .add_row(instance, &row)
                .map_err(|e| DatabaseError::from_driver(what, &e))?;
        }
        // Triggers depend on it, so it goes after them.
        installed.functions.sort_by_key(|f| f.name == GATE_FUNCTION);
        // Restored without comments; it is dropped only if nothing else is in it.
        installed.owns_schema |= has_unmarked_schema && !installed.functions.is_empty();
        Ok(installed)
    }

    fn add_row(
        &mut self,
        instance: &str,
        row: &tokio_postgres::Row,
    ) -> Result<(), tokio_postgres::Error> {
        let (name, arguments): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let same = |last: &TriggerFunction| last.name == name && last.arguments == arguments;
        if !self.functions.last().is_some_and(same) {
            let (source, comment) = (row.try_get(2)?, row.try_get(3)?);
            self.functions.push(TriggerFunction {
                schema: instance.to_owned(),
                name,
                arguments,
                source,
                comment,
                is_public: row.try_get(9)?,
                triggers: Vec::new(),
            });
        }
        if let (Some(function), Some(schema)) = (self.functions.last_mut(), row.try_get(4)?) {
            let (table, name) = (row.try_get(5)?, row.try_get(6)?);
            function.triggers.push(InstalledTrigger {
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
    pub(super) fn shared_function_matches(&self, gated: bool) -> bool {
        let same = |f: &TriggerFunction| {
            f.name == SHARED_FUNCTION
                && f.source == shared_body(gated)
                && f.comment == shared_comment(gated)
        };
        self.owns_schema && self.functions.iter().any(same)
    }

    /// Returns whether the gate that the table's triggers ask is there and fails no write, if any.
    pub(super) fn has_gate_of(&self, table: &WatchedTable) -> bool {
        let is_gate = |f: &TriggerFunction| {
            f.name == GATE_FUNCTION
                && f.is_public
                && f.source == gate_body()
                && f.comment == gate_comment()
        };
        !table.needs_stream_gate() || self.functions.iter().any(is_gate)
    }

    /// Accepts the shared function with or without a gate, since servers always declare the keys
    /// that they watch.
    fn is_shared_function_current(&self) -> bool {
        self.shared_function_matches(true) || self.shared_function_matches(false)
    }

    /// Returns the table with what its installed function notes about its lookup.
    fn with_noted_facts(&self, table: WatchedTable) -> WatchedTable {
        let name = table.function_name();
        let installed = self.functions.iter().find(|f| f.name == name);
        let facts = installed.and_then(|function| parse_lookup_note(&function.comment));
        table.with_facts(facts)
    }

    /// Returns the state of the table's own part and the shared one, and the tables that should not
    /// have its triggers. The table may have a gate or not.
    fn full_state(&self, table: &WatchedTable) -> (TriggerState, Vec<String>) {
        let gates = [Gate::InWhen, Gate::None];
        let forms = [TriggerKind::Rows, TriggerKind::Statements]
            .into_iter()
            .flat_map(|kind| {
                gates.into_iter().map(move |gate| WatchedTable {
                    trigger_kind: kind,
                    gate,
                    ..table.clone()
                })
            });
        let states = forms.map(|form| match self.table_state(&form) {
            TriggerState::Current | TriggerState::NotAlways if !self.has_gate_of(&form) => {
                (TriggerState::Outdated, Vec::new())
            }
            state => (state, self.stray_tables(&form)),
        });
        let best = states.min_by_key(|(state, _)| *state);
        match best.unwrap_or((TriggerState::Missing, Vec::new())) {
            (TriggerState::Current | TriggerState::NotAlways, strays)
                if !self.is_shared_function_current() =>
            {
                (TriggerState::Outdated, strays)
            }
            found => found,
        }
    }

    /// Returns the state of the table's own part only: a new shared function needs no lock on
    /// tables.
    pub(super) fn table_state(&self, table: &WatchedTable) -> TriggerState {
        let sets = trigger_sets(table);
        let states: Vec<_> = sets.iter().map(|set| self.set_state(set)).collect();
        match states.first() {
            // The others only tell moves.
            Some(TriggerState::Missing) | None => TriggerState::Missing,
            Some(_) if states.contains(&TriggerState::Missing) => TriggerState::Outdated,
            Some(_) => states.into_iter().max().unwrap_or(TriggerState::Missing),
        }
    }

    fn set_state(&self, set: &TriggerSet) -> TriggerState {
        let found = self.functions.iter().find(|f| f.name == set.function);
        let has_triggers = |f: &&TriggerFunction| set.triggers.is_empty() || !f.triggers.is_empty();
        let Some(function) = found.filter(has_triggers) else {
            return TriggerState::Missing;
        };
        let all = |states: &[&str]| {
            let mut expected = set.triggers.iter();
            expected.all(|trigger| function.has_trigger(trigger, states))
        };
        let has_lookup = set.lookup.as_ref().is_none_or(|lookup| {
            let mut functions = self.functions.iter();
            functions.any(|f| f.name == lookup.name && f.comment == lookup.comment)
        });
        let same = function.source == set.source && function.comment == set.comment && has_lookup;
        if same && all(&["A"]) {
            TriggerState::Current
        } else if same && all(&["A", "O"]) {
            TriggerState::NotAlways
        } else {
            TriggerState::Outdated
        }
    }

    /// Returns the functions of versions that did not catch their errors, which could fail a write.
    pub(super) fn failing_functions(&self) -> Vec<&TriggerFunction> {
        let fails = |function: &&TriggerFunction| {
            !function.triggers.is_empty() && !function.source.contains(FAILURE_HANDLER)
        };
        self.functions.iter().filter(fails).collect()
    }
}

impl TriggerFunction {
    fn has_trigger(&self, expected: &ExpectedTrigger, states: &[&str]) -> bool {
        let ExpectedTrigger {
            schema,
            table,
            name,
            tgtype,
        } = expected;
        self.triggers.iter().any(|found| {
            (&found.schema, &found.table) == (schema, table)
                && (&found.name, &found.tgtype) == (name, tgtype)
                && states.contains(&found.enabled.as_str())
        })
    }

    /// Returns the section that removes the function. Without CASCADE, because other objects that
    /// depend on it are not Latido's to drop.
    pub(super) fn removal_section(&self) -> ScriptSection {
        let triggers = self.triggers.iter();
        let mut sql: String = triggers
            .map(|t| {
                format!(
                    "DROP TRIGGER IF EXISTS {} ON {};\n",
                    quote_ident(&t.name),
                    quote_qualified(&t.schema, &t.table)
                )
            })
            .collect();
        sql.push_str(&format!(
            "DROP FUNCTION IF EXISTS {}({});\n",
            quote_qualified(&self.schema, &self.name),
            self.arguments
        ));
        let tables: Vec<_> = self
            .triggers
            .iter()
            .map(|t| quote_qualified(&t.schema, &t.table))
            .collect();
        let subject = tables
            .first()
            .cloned()
            .unwrap_or_else(|| format!("function {}", quote_qualified(&self.schema, &self.name)));
        ScriptSection { subject, sql }
    }
}
