//! The parts of a watched table that its trigger function depends on. Pure.

use crate::instance::InstanceName;
use crate::quote::quote_ident;
use crate::triggers::table_route::{Gate, LookupArgument, TableRoute};
use crate::triggers::trigger_event::TriggerKind;

/// The rights and settings of functions that look keys up. The lock time-out is shorter than the
/// server's `deadlock_timeout` of 1 s, so that in a conflict with a migration both go on.
pub(super) const LOOKUP_RIGHTS: &str = "SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off \
     SET lock_timeout = '200ms' SET jit = off";
/// As [`LOOKUP_RIGHTS`]. Rows of a large UPDATE are compared as text, in which different numbers must
/// differ in every session.
const LOOKUP_FLOAT_RIGHTS: &str = "SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off \
     SET lock_timeout = '200ms' SET jit = off SET extra_float_digits = 1";
/// As [`LOOKUP_RIGHTS`]. A variable as argument would cost a plan at every call.
const LOOKUP_ROW_RIGHTS: &str = "SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off \
     SET lock_timeout = '200ms' SET jit = off SET plan_cache_mode = force_generic_plan";
/// The types that contain no floating-point number.
const EXACT_TYPES: [&str; 12] = [
    "int2",
    "int4",
    "int8",
    "numeric",
    "text",
    "varchar",
    "bpchar",
    "uuid",
    "bool",
    "date",
    "timestamp",
    "timestamptz",
];

/// The parts of a watched table that its function depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct FunctionParts<'a> {
    pub(super) instance: &'a InstanceName,
    pub(super) stream: &'a str,
    pub(super) route: &'a TableRoute,
    pub(super) gate: Gate,
    pub(super) change_columns: &'a [String],
    /// The types of the key and of the listed columns.
    pub(super) column_types: &'a [String],
    pub(super) trigger_kind: TriggerKind,
}

impl FunctionParts<'_> {
    /// Returns the rights and settings that the function runs with.
    ///
    /// A row function calls nothing that its writer may not call, and has no settings. It runs no
    /// query, so there is no plan that `jit` could concern. A statement's rows are sets of unknown
    /// size, whose kept plans must never be compiled. A lookup reads tables that its writer may not
    /// read: a policy that would hide rows is an error, and it does not wait for a migration.
    pub(super) fn rights(&self) -> &'static str {
        match (self.route, self.trigger_kind) {
            (TableRoute::Lookup(_), TriggerKind::Statements) if self.is_exact() => LOOKUP_RIGHTS,
            (TableRoute::Lookup(_), TriggerKind::Statements) => LOOKUP_FLOAT_RIGHTS,
            (TableRoute::Lookup(_), TriggerKind::Rows) => LOOKUP_ROW_RIGHTS,
            (_, TriggerKind::Rows) => "SECURITY INVOKER",
            (_, TriggerKind::Statements) => {
                "SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off"
            }
        }
    }

    /// Returns whether no column that counts has floating-point numbers. A setting costs a writer
    /// about a microsecond.
    fn is_exact(&self) -> bool {
        let is_exact = |of: &str| EXACT_TYPES.contains(&of);
        let facts = match self.route {
            TableRoute::Lookup(lookup) => lookup.facts.as_ref(),
            TableRoute::Columns(_) | TableRoute::EveryKey => None,
        };
        let arguments = facts.map_or(&[][..], |facts| &facts.arguments);
        !self.change_columns.is_empty()
            && self.column_types.iter().all(|of| is_exact(of))
            && arguments.iter().all(|argument| match argument {
                LookupArgument::Column {
                    data_type,
                    is_compared_as_text,
                    ..
                } => !is_compared_as_text || is_exact(data_type),
                LookupArgument::Row { .. } => false,
            })
    }

    /// Returns the SQL for the columns whose change counts, of rows under that alias.
    pub(super) fn columns_sql(&self, alias: &str) -> String {
        let columns: Vec<_> = self
            .change_columns
            .iter()
            .map(|name| format!("{alias}.{}", quote_ident(name)))
            .collect();
        if columns.is_empty() {
            format!("{alias}.*")
        } else {
            columns.join(", ")
        }
    }
}
