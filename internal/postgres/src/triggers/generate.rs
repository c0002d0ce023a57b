//! Generates the SQL of the triggers from a description of the tables. Pure.
//!
//! There is one function for each table of a stream, and four triggers on the table and on each of
//! its partitions, because a statement that names a partition fires only that partition's triggers.
//! They are ALWAYS triggers, because restore tools and replication scripts disable the others.
//!
//! There are two kinds ([`TriggerKind`]). With the interest gate, a plain table has row triggers.
//! They cost a writer of one row a third of what statement triggers do, and no more for many rows.
//! They run as the writer and use only rights that every writer has. All other tables have
//! statement triggers, which name every key once, and one shared function that sends. The sources
//! of the functions are built in `function_body`.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::instance::InstanceName;
use crate::quote::{dollar_quote, quote_ident, quote_literal, quote_qualified};
use crate::triggers::column_note::columns_note;
pub(crate) use crate::triggers::function_body::KeyColumn;
pub(super) use crate::triggers::function_body::fill_template;
use crate::triggers::function_body::{FunctionParts, MAX_NAMED_KEYS, stream_and_key};
use crate::triggers::trigger_event::{TRIGGER_EVENTS, TriggerEvent, TriggerKind};
use crate::watch_locks::{hash_sql, try_first_sql, try_second_sql};
use latido_stream::MAX_KEY_BYTES;

/// The settings of the installing transaction. The lock time-out is shorter than the server's
/// `deadlock_timeout` of 1 s: in a conflict with a writer's locks, the installation gives up before
/// the server picks a victim. `search_path` prevents accidental name resolution.
pub(super) const SETTINGS_SQL: &str = "SET LOCAL lock_timeout = '800ms';\nSET LOCAL statement_timeout = '60s';\n\
                        SET LOCAL client_min_messages = warning;\nSET LOCAL search_path = pg_catalog;";

/// The prefix of the comments on installed objects; objects without it belong to others.
pub(super) const COMMENT_PREFIX: &str = "latido:";
/// The name of the shared function.
pub(super) const SHARED_FUNCTION: &str = "payloads";

/// The largest payload in bytes; the server accepts 7,999.
const MAX_PAYLOAD_BYTES: usize = 7900;
/// The largest size of one key as JSON, in bytes, with quotes and comma, if every byte is escaped.
const MAX_KEY_JSON_BYTES: usize = 6 * MAX_KEY_BYTES + 3;
/// The largest size of a name in PostgreSQL, in bytes.
const MAX_NAME_BYTES: usize = 63;

/// A table of a stream, as found in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WatchedTable {
    /// The installation that the triggers belong to.
    pub instance: InstanceName,
    pub stream: String,
    pub schema: String,
    pub table: String,
    pub key: Option<KeyColumn>,
    /// The columns whose change counts; empty means every column.
    pub change_columns: Vec<String>,
    /// The types of the key and of the listed columns. Sessions keep a function that
    /// was compiled for other types until it is replaced.
    pub column_types: Vec<String>,
    /// The key and the listed columns with their numbers (`pg_attribute.attnum`), which stay when a
    /// column is renamed.
    pub column_numbers: BTreeMap<String, i16>,
    /// The relations that get triggers, as schema and name: the table, then its partitions.
    pub relations: Vec<(String, String)>,
    pub trigger_kind: TriggerKind,
}

/// A part of the script for one table or object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScriptSection {
    /// The qualified name of the table, or a description of another object.
    pub(super) subject: String,
    pub(super) sql: String,
}

impl WatchedTable {
    pub(crate) fn qualified_name(&self) -> String {
        quote_qualified(&self.schema, &self.table)
    }

    /// Returns the function's name: readable, and unique through a hash of the parts that identify
    /// it.
    pub(super) fn function_name(&self) -> String {
        truncate_name(
            &format!("{}_{}", self.stream, self.table),
            &format!("_{}", self.short_hash()),
        )
    }

    pub(super) fn trigger_name(&self, event: TriggerEvent) -> String {
        truncate_name(
            &format!("{}_{}", self.instance, self.stream),
            &format!("_{}_{}", self.short_hash(), event.suffix),
        )
    }

    fn short_hash(&self) -> String {
        let key = self.key.as_ref().map_or("", |key| &key.name);
        sha256_hex(&[&self.stream, &self.schema, &self.table, key].join("\0"))[..8].to_owned()
    }

    fn function_parts(&self) -> FunctionParts<'_> {
        FunctionParts {
            instance: &self.instance,
            stream: &self.stream,
            key: self.key.as_ref(),
            change_columns: &self.change_columns,
            trigger_kind: self.trigger_kind,
        }
    }

    /// Returns the function's source, as `pg_proc.prosrc` holds it.
    pub(super) fn function_body(&self) -> String {
        self.function_parts().source()
    }

    /// Returns the function's comment, which identifies it as Latido's and contains its version.
    pub(super) fn function_comment(&self) -> String {
        let hash = sha256_hex(&format!(
            "{}{}{}{}",
            include_str!("function.sql"),
            self.function_parts().rights(),
            self.function_body(),
            self.column_types.join(",")
        ));
        format!(
            "{COMMENT_PREFIX} changes of {} for stream {}{}; sha256:{hash}",
            self.qualified_name(),
            self.stream,
            columns_note(&self.column_numbers)
        )
    }

    fn script_section(&self) -> ScriptSection {
        let function = quote_qualified(self.instance.as_str(), &self.function_name());
        let (body, comment) = (
            dollar_quote(&self.function_body()),
            quote_literal(&self.function_comment()),
        );
        // Names go into a comment line here, so they must not contain line ends.
        let line = |text: &str| text.replace(char::is_control, " ");
        let (stream, table) = (line(&self.stream), line(&self.qualified_name()));
        let values = [
            ("stream", stream.as_str()),
            ("table", &table),
            ("function", &function),
            ("rights", self.function_parts().rights()),
            ("body", &body),
            ("comment", &comment),
        ];
        let triggers = match self.trigger_kind {
            TriggerKind::Rows => include_str!("row_triggers.sql"),
            TriggerKind::Statements => include_str!("triggers.sql"),
        };
        let mut sql = fill_template(include_str!("function.sql"), &values);
        for (schema, name) in &self.relations {
            let [ins, upd, del, tru] =
                TRIGGER_EVENTS.map(|event| quote_ident(&self.trigger_name(event)));
            let table = quote_qualified(schema, name);
            let values = [
                ("table", table.as_str()),
                ("function", &function),
                ("ins", &ins),
                ("upd", &upd),
                ("del", &del),
                ("tru", &tru),
            ];
            sql.push_str(&fill_template(triggers, &values));
        }
        ScriptSection {
            subject: self.qualified_name(),
            sql,
        }
    }
}

/// Returns the shared function's source. With `gated`, it sends nothing for keys that no server
/// watches.
pub(super) fn shared_body(gated: bool) -> String {
    let (hash, each) = ("latido_hash", "k.hash");
    let gate = [
        (
            "hash_of_key",
            hash_sql(&stream_and_key("latido_stream", "latido_keys[1]")),
        ),
        (
            "hash_of_each",
            hash_sql(&stream_and_key("latido_stream", "k.key")),
        ),
        ("try_first", try_first_sql(hash)),
        ("try_second", try_second_sql(hash)),
        ("try_first_each", try_first_sql(each)),
        ("try_second_each", try_second_sql(each)),
    ];
    let gate = gate.each_ref().map(|(name, sql)| (*name, sql.as_str()));
    let fill_gate = |template| {
        if gated {
            fill_template(template, &gate)
        } else {
            String::new()
        }
    };
    let gate_one = fill_gate(include_str!("gate_one.sql"));
    let gate_each = fill_gate(include_str!("gate_each.sql"));
    let (keys, bytes) = (MAX_NAMED_KEYS.to_string(), MAX_KEY_BYTES.to_string());
    let (payload, chunk) = (
        MAX_PAYLOAD_BYTES.to_string(),
        (MAX_PAYLOAD_BYTES - MAX_KEY_JSON_BYTES).to_string(),
    );
    let values = [
        ("max_keys", keys.as_str()),
        ("max_key_bytes", &bytes),
        ("max_payload", &payload),
        ("chunk_bytes", &chunk),
        ("gate_one", &gate_one),
        ("gate_each", &gate_each),
    ];
    fill_template(include_str!("payloads.sql"), &values)
}

pub(super) fn shared_comment(gated: bool) -> String {
    let hash = sha256_hex(&format!(
        "{}{}",
        include_str!("shared.sql"),
        shared_body(gated)
    ));
    format!("{COMMENT_PREFIX} payloads for changed keys; sha256:{hash}")
}

/// Returns the comment of the schema, which may continue with a record of what the queries read.
pub(super) fn schema_comment() -> String {
    format!("{COMMENT_PREFIX} triggers for live statistics; latido uninstall removes them")
}

/// Returns all sections that install the triggers of these tables, in order.
pub(super) fn script_sections(
    instance: &InstanceName,
    tables: &[WatchedTable],
    gated: bool,
) -> Vec<ScriptSection> {
    let schema_comment = quote_literal(&schema_comment());
    let (body, comment) = (
        dollar_quote(&shared_body(gated)),
        quote_literal(&shared_comment(gated)),
    );
    let schema = instance.sql();
    let values = [
        ("schema", schema.as_str()),
        ("schema_comment", &schema_comment),
        ("body", &body),
        ("comment", &comment),
    ];
    let shared = ScriptSection {
        subject: format!("schema {instance}"),
        sql: fill_template(include_str!("shared.sql"), &values),
    };
    std::iter::once(shared)
        .chain(tables.iter().map(WatchedTable::script_section))
        .collect()
}

/// Returns the sections as a script for psql, in one transaction.
pub(super) fn build_script(settings: &str, sections: &[ScriptSection]) -> String {
    let parts: Vec<_> = sections
        .iter()
        .map(|section| section.sql.as_str())
        .collect();
    format!("BEGIN;\n{settings}\n\n{}\nCOMMIT;\n", parts.join("\n"))
}

pub(super) fn sha256_hex(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Truncates `start` so that it fits before `end`.
fn truncate_name(start: &str, end: &str) -> String {
    let room = MAX_NAME_BYTES - end.len();
    let cut = (0..=room.min(start.len()))
        .rev()
        .find(|at| start.is_char_boundary(*at))
        .unwrap_or(0);
    format!("{}{end}", &start[..cut])
}

#[cfg(test)]
#[path = "generate_tests.rs"]
mod tests;
