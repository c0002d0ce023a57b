//! The SQL of payloads, and of the end of a function that sends them. Pure.

use crate::quote::quote_literal;
use crate::triggers::script::fill_template;
use latido_stream::MAX_KEY_BYTES;

/// The largest payload in bytes; the server accepts 7,999.
pub(super) const MAX_PAYLOAD_BYTES: usize = 7900;
/// The largest size of one key as JSON, in bytes, with quotes and comma, if every byte is escaped.
pub(super) const MAX_KEY_JSON_BYTES: usize = 6 * MAX_KEY_BYTES + 3;
/// The largest number of keys that one statement names. Beyond it, it reports a change of every
/// key.
pub(super) const MAX_NAMED_KEYS: usize = 2000;
/// SQL for one boolean: whether a notification can be sent. Sending is outside the blocks that
/// catch errors, so the right is checked inside them. A commit that notifies fails if the queue is
/// full; the servers read everything again once it has room ([`crate::notify_queue`]).
pub(super) const MAY_NOTIFY_SQL: &str = "(pg_catalog.pg_notification_queue_usage() OPERATOR(pg_catalog.<) 0.75::pg_catalog.float8 \
     AND pg_catalog.has_function_privilege('pg_catalog.pg_notify(pg_catalog.text,pg_catalog.text)'::pg_catalog.regprocedure, 'EXECUTE'))";

/// Returns the statement that ends a function if that condition is true.
pub(super) fn gate_sql(is_free: &str) -> String {
    fill_template(include_str!("gate_stream.sql"), &[("is_free", is_free)])
}

/// Returns SQL for the text that the watch locks hash.
pub(super) fn stream_and_key(stream: &str, key: &str) -> String {
    format!("{stream} OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) {key}")
}

/// Returns the beginning of a payload of this stream, up to the first key.
pub(super) fn payload_head(stream: &str) -> String {
    format!("[{},", serde_json::Value::from(stream))
}

/// Returns SQL for the beginning of a payload that names every key.
pub(super) fn every_key_sql(stream: &str) -> String {
    quote_literal(&format!("{}null", payload_head(stream)))
}

/// Returns the handler that ends the block of a function that can fail, see [`crate::change_hint`]
/// for the payload. A function for rows sends one payload, the others a list.
pub(super) fn failure_handler(stream: &str, is_row_function: bool) -> String {
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
