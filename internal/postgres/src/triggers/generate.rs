//! Generates the script of the triggers from a description of the tables. Pure.
//!
//! The triggers of one table are in `watched_table`, the sources of their functions in
//! `function_body` and `tuple_body`. What they share is here.

use crate::instance::InstanceName;
use crate::quote::{dollar_quote, quote_literal};
use crate::triggers::payload_sql::{
    MAX_KEY_JSON_BYTES, MAX_NAMED_KEYS, MAX_PAYLOAD_BYTES, stream_and_key,
};
use crate::triggers::script::{COMMENT_PREFIX, ScriptSection, fill_template, sha256_hex};
use crate::triggers::stream_gate::gate_function_sql;
use crate::triggers::table_triggers::script_section;
use crate::triggers::watched_table::WatchedTable;
use crate::watch_locks::{hash_sql, try_first_sql, try_second_sql};
use latido_stream::MAX_KEY_BYTES;

/// The settings of the installing transaction. The lock time-out is shorter than the server's
/// `deadlock_timeout` of 1 s: in a conflict with a writer's locks, the installation gives up before
/// the server picks a victim. `search_path` prevents accidental name resolution.
pub(super) const SETTINGS_SQL: &str = "SET LOCAL lock_timeout = '800ms';\nSET LOCAL statement_timeout = '60s';\n\
                        SET LOCAL client_min_messages = warning;\nSET LOCAL search_path = pg_catalog;";

/// The name of the shared function.
pub(super) const SHARED_FUNCTION: &str = "payloads";

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
    let mut sql = fill_template(include_str!("shared.sql"), &values);
    if tables.iter().any(WatchedTable::needs_stream_gate) {
        sql.push_str(&gate_function_sql(instance));
    }
    let shared = ScriptSection {
        subject: format!("schema {instance}"),
        sql,
    };
    std::iter::once(shared)
        .chain(tables.iter().map(script_section))
        .collect()
}

#[cfg(test)]
#[path = "generate_tests.rs"]
mod tests;
