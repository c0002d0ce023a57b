//! Quotes names and texts as SQL, for any content.

/// Quotes an identifier, in all cases.
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a name with its schema.
pub(super) fn quote_qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quote_ident(schema), quote_ident(name))
}

/// Quotes a text constant that means the same under any `standard_conforming_strings`.
pub fn quote_literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        format!("E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

/// Quotes a function's body with a dollar tag that does not occur in it.
pub(super) fn dollar_quote(body: &str) -> String {
    let mut tag = "$latido$".to_owned();
    let mut n = 0;
    while body.contains(&tag) {
        n += 1;
        tag = format!("$latido{n}$");
    }
    format!("{tag}{body}{tag}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_never_leaves_its_quotes() {
        assert_eq!(
            quote_ident(r#"a"; DROP TABLE b; --"#),
            r#""a""; DROP TABLE b; --""#
        );
        assert_eq!(quote_qualified("public", "Cita"), r#""public"."Cita""#);
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal(r"\'; --"), r"E'\\''; --'");
        assert_eq!(
            dollar_quote("a $latido$ b"),
            "$latido1$a $latido$ b$latido1$"
        );
    }
}
