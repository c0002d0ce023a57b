//! Builds the function that the conditions of triggers call: the gate of a stream. Pure.
//!
//! PostgreSQL computes a trigger's condition as the writer, before the trigger's function starts. What
//! it calls must not fail whatever rights the writer has or loses, so it is a function of ours.

use crate::instance::InstanceName;
use crate::quote::{dollar_quote, quote_literal};
use crate::triggers::script::{COMMENT_PREFIX, fill_template, sha256_hex};
use crate::watch_locks::{first_gate_lock, try_gate_sql};

/// The function's name.
pub(super) const GATE_FUNCTION: &str = "is_watched";

/// Returns the function's source.
pub(super) fn gate_body() -> String {
    let try_gate = try_gate_sql("latido_first_lock");
    fill_template(include_str!("gate_body.sql"), &[("try_gate", &try_gate)])
}

pub(super) fn gate_comment() -> String {
    let hash = sha256_hex(&format!("{}{}", include_str!("gate.sql"), gate_body()));
    format!("{COMMENT_PREFIX} whether a stream is watched; sha256:{hash}")
}

/// Returns the SQL that creates the function.
pub(super) fn gate_function_sql(instance: &InstanceName) -> String {
    let (schema, body, comment) = (
        instance.sql(),
        dollar_quote(&gate_body()),
        quote_literal(&gate_comment()),
    );
    let values = [
        ("schema", schema.as_str()),
        ("function", GATE_FUNCTION),
        ("body", &body),
        ("comment", &comment),
    ];
    fill_template(include_str!("gate.sql"), &values)
}

/// Returns SQL for one boolean: whether a server may watch a key of this stream.
pub(super) fn is_watched_sql(instance: &InstanceName, stream: &str) -> String {
    format!(
        "{}.{GATE_FUNCTION}({})",
        instance.sql(),
        first_gate_lock(stream)
    )
}
