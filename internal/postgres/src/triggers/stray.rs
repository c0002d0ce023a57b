//! Finds what an installation removes: functions that no table needs, and triggers that call a function
//! of a table from a relation that is not the table's any more. That is a detached partition, a former
//! parent, a table that lacks columns which the function reads now, or one that has a foreign table
//! below it now.

use crate::quote::{quote_ident, quote_qualified};
use crate::triggers::generate::SHARED_FUNCTION;
use crate::triggers::inspect::{
    InstalledTrigger, InstalledTriggers, TriggerFunction, TriggerState,
};
use crate::triggers::script::ScriptSection;
use crate::triggers::stream_gate::GATE_FUNCTION;
use crate::triggers::table_triggers::trigger_sets;
use crate::triggers::trigger_set::TriggerSet;
use crate::triggers::watched_table::WatchedTable;

impl InstalledTriggers {
    /// Returns whether an installation would change nothing of a table.
    pub(super) fn is_as_installed(&self, table: &WatchedTable) -> bool {
        self.table_state(table) == TriggerState::Current && self.strays(table).is_empty()
    }

    /// Returns the section that removes such triggers of a table, if there are any.
    pub(super) fn stray_removals(&self, table: &WatchedTable) -> Option<ScriptSection> {
        let drop = |found: &InstalledTrigger| {
            format!(
                "DROP TRIGGER IF EXISTS {} ON {};\n",
                quote_ident(&found.name),
                quote_qualified(&found.schema, &found.table)
            )
        };
        let sql: String = self.strays(table).into_iter().map(drop).collect();
        (!sql.is_empty()).then(|| ScriptSection {
            subject: table.qualified_name(),
            sql,
        })
    }

    /// Returns the names of the relations with such triggers of a table.
    pub(super) fn stray_tables(&self, table: &WatchedTable) -> Vec<String> {
        let strays = self.strays(table).into_iter();
        let mut names: Vec<_> = strays
            .map(|found| quote_qualified(&found.schema, &found.table))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    fn strays(&self, table: &WatchedTable) -> Vec<&InstalledTrigger> {
        let mut strays = Vec::new();
        for set in trigger_sets(table) {
            let own = self.functions.iter().filter(|f| f.name == set.function);
            let found = own.flat_map(|function| &function.triggers);
            strays.extend(found.filter(|found| {
                let mut expected = set.triggers.iter();
                !expected.any(|of| (&of.schema, &of.table) == (&found.schema, &found.table))
            }));
        }
        strays
    }

    /// Returns the sections that remove lookup functions of a table, whose parameters and columns
    /// cannot be replaced.
    pub(super) fn lookup_removals(&self, table: &WatchedTable) -> Vec<ScriptSection> {
        let name = table.lookup_name();
        let functions = self.functions.iter().filter(|f| f.name == name);
        functions
            .map(|function| ScriptSection {
                subject: table.qualified_name(),
                ..function.removal_section()
            })
            .collect()
    }

    /// Returns the functions that belong to none of these tables.
    pub(super) fn unused_functions(&self, wanted: &[WatchedTable]) -> Vec<&TriggerFunction> {
        let sets: Vec<_> = wanted.iter().flat_map(trigger_sets).collect();
        let names = sets.iter().flat_map(TriggerSet::function_names);
        let mut names: Vec<_> = names.map(String::as_str).collect();
        names.extend([SHARED_FUNCTION, GATE_FUNCTION]);
        let unused = |f: &&TriggerFunction| !names.contains(&f.name.as_str());
        self.functions.iter().filter(unused).collect()
    }
}
