//! Builds the sources of the trigger functions.
//!
//! Whatever fails in them, the application's write succeeds: each function catches its errors and
//! reports that any key may have changed, with the table and the SQLSTATE. Nothing in them is found
//! by the writer's search path. Functions for statements pin theirs; functions for rows qualify
//! every name, because a setting would cost a writer more than all their other work.

use crate::instance::InstanceName;
use crate::quote::{quote_ident, quote_literal};
use crate::triggers::trigger_event::TriggerKind;
use crate::watch_locks::{hash_sql, try_first_sql, try_second_sql};
use latido_stream::MAX_KEY_BYTES;

/// The largest number of keys that one statement names. Beyond it, it reports a change of every
/// key.
pub(super) const MAX_NAMED_KEYS: usize = 2000;
/// SQL for one boolean: whether a notification can be sent. Sending is outside the blocks that
/// catch errors, so the right is checked inside them. A commit that notifies fails if the queue is
/// full; the servers read everything again once it has room ([`crate::notify_queue`]).
const MAY_NOTIFY_SQL: &str = "(pg_catalog.pg_notification_queue_usage() OPERATOR(pg_catalog.<) 0.75::pg_catalog.float8 \
     AND pg_catalog.has_function_privilege('pg_catalog.pg_notify(pg_catalog.text,pg_catalog.text)'::pg_catalog.regprocedure, 'EXECUTE'))";

/// The column that holds the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyColumn {
    pub name: String,
    /// True if the column holds text. Texts are compared byte by byte, regardless of the column's
    /// collation.
    pub is_text: bool,
}

impl KeyColumn {
    /// Returns the SQL for the key of a row under that alias, in the form that is compared.
    fn comparable_sql(&self, alias: &str) -> String {
        let collation = if self.is_text {
            "::text COLLATE \"C\""
        } else {
            ""
        };
        format!("{alias}.{}{collation}", quote_ident(&self.name))
    }
}

/// The parts of a watched table that its function depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct FunctionParts<'a> {
    pub(super) instance: &'a InstanceName,
    pub(super) stream: &'a str,
    pub(super) key: Option<&'a KeyColumn>,
    pub(super) change_columns: &'a [String],
    pub(super) trigger_kind: TriggerKind,
}

impl FunctionParts<'_> {
    /// Returns the function's source, as `pg_proc.prosrc` holds it.
    pub(super) fn source(&self) -> String {
        let (schema, stream) = (self.instance.sql(), quote_literal(self.stream));
        let is_row_function = self.key.is_some() && self.trigger_kind == TriggerKind::Rows;
        let failed = failure_handler(self.stream, is_row_function);
        let every_key = every_key_sql(self.stream);
        let columns = self.columns_sql("latido_r");
        let Some(key) = self.key else {
            return fill_template(
                include_str!("keyless.sql"),
                &[
                    ("columns", &columns),
                    ("failed", &failed),
                    ("every_key", &every_key),
                    ("may_notify", MAY_NOTIFY_SQL),
                    ("send", include_str!("send.sql")),
                ],
            );
        };
        if self.trigger_kind == TriggerKind::Rows {
            return self.row_function_body(key, &failed);
        }
        let (new_key, old_key) = (
            key.comparable_sql("latido_r"),
            key.comparable_sql("latido_o"),
        );
        let (limit, old_columns) = (
            (MAX_NAMED_KEYS + 1).to_string(),
            self.columns_sql("latido_o"),
        );
        let values = [
            ("stream", stream.as_str()),
            ("columns", &columns),
            ("old_columns", &old_columns),
            ("key", &new_key),
            ("old_key", &old_key),
            ("limit", &limit),
            ("schema", &schema),
            ("failed", &failed),
            ("every_key", &every_key),
            ("may_notify", MAY_NOTIFY_SQL),
            ("send", include_str!("send.sql")),
        ];
        fill_template(include_str!("table.sql"), &values)
    }

    fn row_function_body(&self, key: &KeyColumn, failed: &str) -> String {
        let column = quote_ident(&key.name);
        let (new_key, old_key) = (format!("NEW.{column}"), format!("OLD.{column}"));
        let (columns, old_columns) = (self.columns_sql("NEW"), self.columns_sql("OLD"));
        let key_of_row = format!("coalesce({new_key}, {old_key})::pg_catalog.text");
        // Keys are compared as text, unless equal values of the type have equal texts; then the
        // cheaper comparison is used. A row has one key as well if the other one is NULL, or if
        // there is no other row.
        let collation = if key.is_text {
            "::pg_catalog.text COLLATE pg_catalog.\"C\""
        } else {
            ""
        };
        let same_key = format!(
            "coalesce({old_key}{collation} OPERATOR(pg_catalog.=) {new_key}{collation}, true)"
        );
        let stream = quote_literal(self.stream);
        let hash_of_row = hash_sql(&stream_and_key(&stream, &key_of_row));
        let (key_is_free, hash_of_key) = (
            try_first_sql(&hash_of_row),
            hash_sql(&stream_and_key(&stream, "latido_key")),
        );
        let (try_first, try_second, bytes) = (
            try_first_sql("latido_hash"),
            try_second_sql("latido_hash"),
            MAX_KEY_BYTES.to_string(),
        );
        let (head, every_key) = (
            quote_literal(&payload_head(self.stream)),
            every_key_sql(self.stream),
        );
        let values = [
            ("head", head.as_str()),
            ("every_key", &every_key),
            ("may_notify", MAY_NOTIFY_SQL),
            ("columns", &columns),
            ("old_columns", &old_columns),
            ("new_key", &new_key),
            ("old_key", &old_key),
            ("same_key", &same_key),
            ("key_is_free", &key_is_free),
            ("hash_of_key", &hash_of_key),
            ("try_first", &try_first),
            ("try_second", &try_second),
            ("max_key_bytes", &bytes),
            ("failed", failed),
        ];
        fill_template(include_str!("row.sql"), &values)
    }

    /// Returns the rights and settings that the function runs with.
    ///
    /// A row function calls nothing that its writer may not call, and has no settings. It runs no
    /// query, so there is no plan that `jit` could concern. A statement's rows are sets of unknown
    /// size, whose kept plans must never be compiled.
    pub(super) fn rights(&self) -> &'static str {
        match self.trigger_kind {
            TriggerKind::Rows => "SECURITY INVOKER",
            TriggerKind::Statements => {
                "SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off"
            }
        }
    }

    /// Returns the SQL for the columns whose change counts, of rows under that alias.
    fn columns_sql(&self, alias: &str) -> String {
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

/// Replaces each `{name}` with its value in one pass, so that a value's content is never taken for
/// a placeholder.
pub(super) fn fill_template(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let found = values.iter().find_map(|(name, value)| {
            Some((value, rest[1..].strip_prefix(name)?.strip_prefix('}')?))
        });
        if let Some((value, tail)) = found {
            text.push_str(value);
            rest = tail;
        } else {
            text.push('{');
            rest = &rest[1..];
        }
    }
    text + rest
}

/// Returns SQL for the text that the watch locks hash.
pub(super) fn stream_and_key(stream: &str, key: &str) -> String {
    format!("{stream} OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) {key}")
}

/// Returns the beginning of a payload of this stream, up to the first key.
fn payload_head(stream: &str) -> String {
    format!("[{},", serde_json::Value::from(stream))
}

/// Returns SQL for the beginning of a payload that names every key.
fn every_key_sql(stream: &str) -> String {
    quote_literal(&format!("{}null", payload_head(stream)))
}

/// Returns the handler that ends the block of a function that can fail, see [`crate::change_hint`]
/// for the payload. A function for rows sends one payload, the others a list.
fn failure_handler(stream: &str, is_row_function: bool) -> String {
    let (result, start, end) = if is_row_function {
        ("latido_payload", "", "")
    } else {
        ("latido_payloads", "ARRAY[", "]")
    };
    let every_key = every_key_sql(stream);
    let values = [
        ("result", result),
        ("start", start),
        ("end", end),
        ("every_key", every_key.as_str()),
        ("may_notify", MAY_NOTIFY_SQL),
    ];
    fill_template(include_str!("failed.sql"), &values)
}
