//! The notes in the comment of a trigger function: the table's columns, and what is known of its
//! lookup. Pure.

use std::collections::BTreeMap;

use crate::triggers::table_route::LookupFacts;

/// What stands before the columns and after them in a comment. The columns are JSON, so no name can
/// be taken for the end.
const NOTE_START: &str = "; columns {";
const NOTE_END: &str = "}; sha256:";

/// What stands before the facts of a lookup, which are JSON.
const LOOKUP_START: &str = "; lookup ";

/// Returns the part of a function's comment that notes the facts of a lookup.
pub(super) fn lookup_note(facts: &LookupFacts) -> String {
    let json = serde_json::to_string(facts).unwrap_or_default();
    format!("{LOOKUP_START}{json}")
}

/// Returns the facts of a lookup that a comment notes.
pub(super) fn parse_lookup_note(comment: &str) -> Option<LookupFacts> {
    let (_, json) = comment.split_once(LOOKUP_START)?;
    let mut values = serde_json::Deserializer::from_str(json).into_iter();
    values.next()?.ok()
}

/// Returns the part of a function's comment that notes the columns.
pub(super) fn columns_note(numbers: &BTreeMap<String, i16>) -> String {
    let json = serde_json::to_value(numbers).unwrap_or_default();
    if numbers.is_empty() {
        String::new()
    } else {
        format!("; columns {json}")
    }
}

/// Returns the columns that a comment notes, with their numbers.
pub(super) fn parse_note(comment: &str) -> BTreeMap<String, i16> {
    let note = comment.rsplit_once(NOTE_END).and_then(|(before, _)| {
        let (_, columns) = before.split_once(NOTE_START)?;
        serde_json::from_str(&format!("{{{columns}}}")).ok()
    });
    note.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn note_is_read_back_whatever_the_names() {
        let odd = "a}; sha256: \"; columns {";
        let numbers = BTreeMap::from([("negocio_id".to_owned(), 3), (odd.to_owned(), 1600)]);
        let comment = format!(
            "latido: changes of t for stream s{}; sha256:00",
            columns_note(&numbers)
        );
        assert_eq!(parse_note(&comment), numbers);
        for old in [
            "latido: changes of t for stream s; sha256:00",
            "",
            "; columns {",
        ] {
            assert_eq!(parse_note(old), BTreeMap::new(), "{old}");
        }
        assert_eq!(columns_note(&BTreeMap::new()), "");
    }
}
