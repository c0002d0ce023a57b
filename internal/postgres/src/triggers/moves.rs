//! Builds the triggers that tell moves: changes of the tables that a lookup passes through. Pure.
//!
//! No trigger below such a table can see that another transaction moves a row's parent to a new key
//! before its own transaction commits. So the parent's table tells the server the new key of a moved
//! row, as `["stream!", key]`, and the server reads it again later.

use crate::quote::{quote_ident, quote_literal, quote_qualified};
use crate::triggers::function_parts::LOOKUP_RIGHTS;
use crate::triggers::key_part::{KeyColumn, KeySql, has_key_sql};
use crate::triggers::payload_sql::{
    MAX_NAMED_KEYS, MAY_NOTIFY_SQL, every_key_sql, failure_handler, payload_head,
};
use crate::triggers::script::{COMMENT_PREFIX, fill_template, sha256_hex, truncate_name};
use crate::triggers::stream_gate::is_watched_sql;
use crate::triggers::table_route::{Gate, LookupArgument, MoveKey, PathTable};
use crate::triggers::trigger_event::{DELETE, INSERT, TriggerEvent, TriggerKind, UPDATE};
use crate::triggers::trigger_set::{ExpectedTrigger, TriggerSet, always_sql, when_sql};
use crate::triggers::watched_table::WatchedTable;

/// Returns the triggers on the tables that the lookup of a table passes through.
pub(super) fn move_sets(table: &WatchedTable) -> Vec<TriggerSet> {
    let path = table.lookup_facts().map(|facts| facts.path.as_slice());
    let path = path.unwrap_or_default().iter();
    path.map(|on| Moves { table, on }.trigger_set()).collect()
}

/// The moves of one table that a lookup passes through.
struct Moves<'a> {
    /// The table whose keys are looked up.
    table: &'a WatchedTable,
    on: &'a PathTable,
}

impl Moves<'_> {
    fn short_hash(&self) -> String {
        let parts = [&self.table.short_hash(), &self.on.schema, &self.on.table];
        sha256_hex(&parts.map(String::as_str).join("\0move\0"))[..8].to_owned()
    }

    fn trigger_name(&self, event: TriggerEvent) -> String {
        truncate_name(
            &format!("{}_{}", self.table.instance, self.table.stream),
            &format!("_{}_{}", self.short_hash(), event.suffix),
        )
    }

    fn trigger_set(&self) -> TriggerSet {
        let (stream, on) = (
            &self.table.stream,
            quote_qualified(&self.on.schema, &self.on.table),
        );
        let function = truncate_name(
            &format!("{stream}_{}_moves", self.on.table),
            &format!("_{}", self.short_hash()),
        );
        let source = self.source();
        let mut triggers_sql = String::new();
        let mut triggers = Vec::new();
        for (schema, table) in &self.on.relations {
            triggers_sql.push_str(&self.triggers_sql(&function, schema, table));
            triggers.extend(self.events().into_iter().map(|event| ExpectedTrigger {
                schema: schema.clone(),
                table: table.clone(),
                name: self.trigger_name(event),
                tgtype: event.tgtype(TriggerKind::Rows),
            }));
        }
        let hash = sha256_hex(&format!("{LOOKUP_RIGHTS}{source}{triggers_sql}"));
        TriggerSet {
            comment: format!("{COMMENT_PREFIX} moves of {on} for stream {stream}; sha256:{hash}"),
            title: format!("Stream {stream}, moves of rows below table {on}"),
            rights: LOOKUP_RIGHTS,
            function,
            source,
            triggers,
            lookup: None,
            triggers_sql,
        }
    }

    /// Returns the events that can be moves.
    fn events(&self) -> Vec<TriggerEvent> {
        let others = self.other_events().into_iter();
        let moves = others.filter(|(_, _, is_move)| *is_move);
        std::iter::once(UPDATE)
            .chain(moves.map(|(event, ..)| event))
            .collect()
    }

    /// Returns the events beside UPDATE, each with its SQL, and whether it can be a move.
    fn other_events(&self) -> [(TriggerEvent, &'static str, bool); 2] {
        [
            (INSERT, "INSERT", self.on.is_moved_by_insert),
            (DELETE, "DELETE", self.on.is_moved_by_delete),
        ]
    }

    fn triggers_sql(&self, function: &str, schema: &str, table: &str) -> String {
        let table = quote_qualified(schema, table);
        let function = quote_qualified(self.table.instance.as_str(), function);
        let gate = (self.table.gate == Gate::InWhen)
            .then(|| is_watched_sql(&self.table.instance, &self.table.stream));
        let moved: Vec<_> = std::iter::once(self.is_moved())
            .chain(gate.clone())
            .collect();
        let always: Vec<_> = gate.into_iter().collect();
        let create = |event: TriggerEvent, what: &str, conditions: &[String]| {
            format!(
                "CREATE OR REPLACE TRIGGER {} AFTER {what} ON {table} FOR EACH ROW{} EXECUTE FUNCTION {function}();\n",
                quote_ident(&self.trigger_name(event)),
                when_sql(conditions)
            )
        };
        let mut sql = create(UPDATE, "UPDATE", &moved);
        for (event, what, is_move) in self.other_events() {
            sql.push_str(&match is_move {
                true => create(event, what, &always),
                false => format!(
                    "DROP TRIGGER IF EXISTS {} ON {table};\n",
                    quote_ident(&self.trigger_name(event))
                ),
            });
        }
        let events = self.events().into_iter();
        let names: Vec<_> = events.map(|event| self.trigger_name(event)).collect();
        sql.push_str(&always_sql(&table, &names));
        sql
    }

    /// Returns SQL that is true if what the lookup reads of a row changed. Images are compared: every
    /// type has one.
    fn is_moved(&self) -> String {
        let image = |row: &str| {
            let columns: Vec<_> = self
                .on
                .columns
                .iter()
                .map(|name| format!("{row}.{}", quote_ident(name)))
                .collect();
            match columns.is_empty() {
                true => format!("ROW({row}.*)"),
                false => format!("ROW({})", columns.join(", ")),
            }
        };
        format!(
            "pg_catalog.record_image_ne({}, {})",
            image("OLD"),
            image("NEW")
        )
    }

    fn source(&self) -> String {
        // The name is no stream's, so servers that do not know moves ignore them.
        let name = format!("{}!", self.table.stream);
        let moved = match &self.on.key {
            MoveKey::Columns(keys) => moved_columns(&name, keys),
            MoveKey::Lookup {
                function,
                arguments,
                part_count,
            } => {
                let function = quote_qualified(self.table.instance.as_str(), function);
                moved_lookup(&name, &function, arguments, *part_count)
            }
            MoveKey::Unknown => {
                format!(
                    "    latido_payloads := ARRAY[{} || ']'];\n",
                    every_key_sql(&name)
                )
            }
        };
        let failed = failure_handler(&name, false);
        let values = [
            ("moved", moved.as_str()),
            ("may_notify", MAY_NOTIFY_SQL),
            ("failed", &failed),
            ("send", include_str!("send.sql")),
        ];
        fill_template(include_str!("move.sql"), &values)
    }
}

/// Returns the statement that names the keys in the columns of the new row.
fn moved_columns(name: &str, keys: &[Vec<KeyColumn>]) -> String {
    let (head, every_key) = (quote_literal(&payload_head(name)), every_key_sql(name));
    let payloads: Vec<_> = keys
        .iter()
        .map(|columns| {
            let key = KeySql(
                columns
                    .iter()
                    .map(|column| column.text_of_row("NEW"))
                    .collect(),
            );
            format!(
                "CASE WHEN {} THEN CASE WHEN {} THEN {every_key} ELSE {head} || {} END || ']' END",
                has_key_sql(columns, "NEW"),
                key.is_too_long(),
                key.item()
            )
        })
        .collect();
    format!(
        "    latido_payloads := array_remove(ARRAY[{}]::text[], NULL);\n",
        payloads.join(", ")
    )
}

/// Returns the statements that look up the keys of the new row.
fn moved_lookup(
    name: &str,
    function: &str,
    arguments: &[LookupArgument],
    part_count: usize,
) -> String {
    let key = KeySql::numbered("v.k", part_count);
    let (item, is_too_long) = (key.item(), key.is_too_long());
    let arguments: Vec<_> = arguments
        .iter()
        .map(|argument| format!("ARRAY[{}]", argument.of_row("NEW")))
        .collect();
    let arguments = arguments.join(", ");
    let (head, every_key) = (quote_literal(&payload_head(name)), every_key_sql(name));
    let (max, limit) = (MAX_NAMED_KEYS.to_string(), (MAX_NAMED_KEYS + 1).to_string());
    let values = [
        ("max_keys", max.as_str()),
        ("limit", &limit),
        ("item", &item),
        ("is_too_long", &is_too_long),
        ("function", function),
        ("arguments", &arguments),
        ("head", &head),
        ("every_key", &every_key),
    ];
    fill_template(include_str!("move_lookup.sql"), &values)
}
