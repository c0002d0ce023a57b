//! Quotes names as PostgreSQL needs it, and no more.

/// The words that cannot be the name of a schema or a column without quotes: those of
/// `pg_get_keywords` with catcode R or T, from 14 to 18.
const RESERVED: &str = " all analyse analyze and any array as asc asymmetric authorization binary both case cast check \
collate collation column concurrently constraint create cross current_catalog current_date current_role \
current_schema current_time current_timestamp current_user default deferrable desc distinct do else end except false \
fetch for foreign freeze from full grant group having ilike in initially inner intersect into is isnull join lateral \
leading left like limit localtime localtimestamp natural not notnull null offset on only or order outer overlaps \
placing primary references returning right select session_user similar some symmetric system_user table tablesample \
then to trailing true union unique user using variadic verbose when where window with ";

/// Returns a name for use after a dot, where a reserved word needs no quotes.
pub(crate) fn quote_after_dot(name: &str) -> String {
    let mut bytes = name.bytes();
    let starts_plain = bytes
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    let is_plain =
        starts_plain && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if is_plain {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// Returns the name of a schema or a column as SQL, quoted only if it must be.
#[must_use]
pub fn quote_if_needed(name: &str) -> String {
    if RESERVED.split(' ').any(|word| word == name) {
        format!("\"{name}\"")
    } else {
        quote_after_dot(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_needed() {
        assert_eq!(quote_if_needed("public"), "public");
        assert_eq!(quote_if_needed("user"), "\"user\"");
        assert_eq!(quote_after_dot("order"), "order");
        for name in ["Pedido", "1a", "a b", "ñ", "a$", ""] {
            assert_eq!(quote_if_needed(name), format!("\"{name}\""));
        }
        assert_eq!(quote_after_dot("a\"b"), "\"a\"\"b\"");
    }
}
