//! Finds triggers that call a function of a table from a relation that is not the table's any more: a
//! detached partition, or a table that lacks columns which the function reads now.

use crate::quote::{quote_ident, quote_qualified};
use crate::triggers::inspect::InstalledTriggers;
use crate::triggers::script::ScriptSection;
use crate::triggers::table_triggers::trigger_sets;
use crate::triggers::watched_table::WatchedTable;

impl InstalledTriggers {
    /// Returns the section that removes such triggers of a table, if there are any.
    pub(super) fn stray_removals(&self, table: &WatchedTable) -> Option<ScriptSection> {
        let mut sql = String::new();
        for set in trigger_sets(table) {
            let own = self.functions.iter().filter(|f| f.name == set.function);
            for found in own.flat_map(|function| &function.triggers) {
                let is_expected = set
                    .triggers
                    .iter()
                    .any(|of| (&of.schema, &of.table) == (&found.schema, &found.table));
                if !is_expected {
                    sql.push_str(&format!(
                        "DROP TRIGGER IF EXISTS {} ON {};\n",
                        quote_ident(&found.name),
                        quote_qualified(&found.schema, &found.table)
                    ));
                }
            }
        }
        (!sql.is_empty()).then(|| ScriptSection {
            subject: table.qualified_name(),
            sql,
        })
    }
}
