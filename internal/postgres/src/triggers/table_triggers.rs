//! Builds the triggers that a table needs. Pure.
//!
//! There is one function for each table of a stream, and four triggers on the table and on each of
//! its partitions, because a statement that names a partition fires only that partition's triggers.
//! Statement triggers are on the tables that it is a part of as well (`ancestor`).
//! They are ALWAYS triggers, because restore tools and replication scripts disable the others.
//!
//! There are two kinds ([`TriggerKind`]). With the interest gate, a plain table whose rows hold
//! their keys has row triggers. They cost a writer of one row a third of what statement triggers
//! do, and no more for many rows. They run as the writer and use only rights that every writer has.
//! All other tables have statement triggers, which name every key once. Those that cannot tell the
//! keys from the row alone ask first whether any key of the stream is watched (`Gate`).

use crate::quote::{quote_ident, quote_qualified};
use crate::triggers::ancestor::TriggerColumns;
use crate::triggers::column_note::{columns_note, lookup_note};
use crate::triggers::function_body::FunctionBody;
use crate::triggers::function_parts::FunctionParts;
use crate::triggers::lookup_function::lookup_function;
use crate::triggers::moves::move_sets;
use crate::triggers::script::{COMMENT_PREFIX, ScriptSection, fill_template, sha256_hex};
use crate::triggers::stream_gate::is_watched_sql;
use crate::triggers::trigger_event::{TRIGGER_EVENTS, TriggerEvent, TriggerKind};
use crate::triggers::trigger_set::{ExpectedTrigger, TriggerSet, when_sql};
use crate::triggers::watched_table::WatchedTable;

/// Returns the triggers that find changes of the table, then those that find moves of the rows that
/// its lookup passes through.
pub(super) fn trigger_sets(table: &WatchedTable) -> Vec<TriggerSet> {
    let mut sets = vec![TableTriggers(table).trigger_set()];
    let ancestors = table.ancestor_parts();
    sets.extend(
        ancestors
            .iter()
            .map(|part| TableTriggers(part).trigger_set()),
    );
    sets.extend(move_sets(table));
    sets
}

/// Returns the section that installs everything of the table.
pub(super) fn script_section(table: &WatchedTable) -> ScriptSection {
    let sets = trigger_sets(table);
    let sql = sets.iter().map(|set| set.sql(&table.instance));
    ScriptSection {
        subject: table.qualified_name(),
        sql: sql.collect(),
    }
}

/// The triggers that find changes of a table.
struct TableTriggers<'a>(&'a WatchedTable);

impl TableTriggers<'_> {
    fn function_parts<'a>(&'a self, columns: &'a TriggerColumns) -> FunctionParts<'a> {
        FunctionParts {
            instance: &self.0.instance,
            stream: &self.0.stream,
            route: &self.0.route,
            gate: self.0.gate,
            change_columns: &columns.names,
            column_types: &columns.types,
            trigger_kind: self.0.trigger_kind,
        }
    }

    fn trigger_set(&self) -> TriggerSet {
        let columns = self.0.trigger_columns();
        let parts = self.function_parts(&columns);
        let source = FunctionBody(parts).source(&self.0.lookup_name());
        let lookup = lookup_function(self.0);
        let when = self.when();
        let hash = sha256_hex(&format!(
            "{}{}{source}{}{when}{}",
            // The template as earlier versions had it: the version of what is installed must not
            // change without need.
            include_str!("function.sql").replace("{title}", "Stream {stream}, table {table}"),
            parts.rights(),
            columns.types.join(","),
            lookup.as_ref().map_or("", |lookup| &lookup.comment)
        ));
        let comment = format!(
            "{COMMENT_PREFIX} changes of {} for stream {}{}{}; sha256:{hash}",
            self.0.qualified_name(),
            self.0.stream,
            self.0.lookup_facts().map(lookup_note).unwrap_or_default(),
            columns_note(&self.0.column_numbers)
        );
        let trigger = |(schema, table): &(String, String), event: TriggerEvent| ExpectedTrigger {
            schema: schema.clone(),
            table: table.clone(),
            name: self.0.trigger_name(event),
            tgtype: event.tgtype(self.0.trigger_kind),
        };
        let triggers = self
            .0
            .trigger_relations()
            .into_iter()
            .flat_map(|relation| TRIGGER_EVENTS.map(|event| trigger(&relation, event)));
        TriggerSet {
            function: self.0.function_name(),
            source,
            comment,
            rights: parts.rights(),
            title: format!(
                "Stream {}, table {}",
                self.0.stream,
                self.0.qualified_name()
            ),
            triggers: triggers.collect(),
            lookup,
            triggers_sql: self.triggers_sql(&when),
        }
    }

    /// Returns the condition of the triggers, with the word WHEN, or nothing.
    fn when(&self) -> String {
        match self.0.has_stream_gate() {
            true => when_sql(&[is_watched_sql(&self.0.instance, &self.0.stream)]),
            false => String::new(),
        }
    }

    fn triggers_sql(&self, when: &str) -> String {
        let function = quote_qualified(self.0.instance.as_str(), &self.0.function_name());
        let template = match self.0.trigger_kind {
            TriggerKind::Rows => include_str!("row_triggers.sql"),
            TriggerKind::Statements => include_str!("triggers.sql"),
        };
        let mut sql = String::new();
        for (schema, name) in &self.0.trigger_relations() {
            let [ins, upd, del, tru] =
                TRIGGER_EVENTS.map(|event| quote_ident(&self.0.trigger_name(event)));
            let table = quote_qualified(schema, name);
            let values = [
                ("table", table.as_str()),
                ("function", &function),
                ("when", when),
                ("ins", &ins),
                ("upd", &upd),
                ("del", &del),
                ("tru", &tru),
            ];
            sql.push_str(&fill_template(template, &values));
        }
        sql
    }
}
