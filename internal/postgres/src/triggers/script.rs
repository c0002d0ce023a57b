//! Texts of SQL: templates, names, hashes, and the sections of a script. Pure.

use sha2::{Digest, Sha256};

/// The prefix of the comments on installed objects; objects without it belong to others.
pub(super) const COMMENT_PREFIX: &str = "latido:";

/// The largest size of a name in PostgreSQL, in bytes.
pub(super) const MAX_NAME_BYTES: usize = 63;

/// A part of the script for one table or object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScriptSection {
    /// The qualified name of the table, or a description of another object.
    pub(super) subject: String,
    pub(super) sql: String,
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
pub(super) fn truncate_name(start: &str, end: &str) -> String {
    let room = MAX_NAME_BYTES - end.len();
    let cut = (0..=room.min(start.len()))
        .rev()
        .find(|at| start.is_char_boundary(*at))
        .unwrap_or(0);
    format!("{}{end}", &start[..cut])
}
