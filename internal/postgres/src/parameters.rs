//! Replaces the parameters in the text of a statement. Pure.

use crate::statement_text::{Scanner, Token, TokenKind, is_name_character};

/// Replaces the parameters outside of strings, quoted names and comments by what `value_of` returns
/// for their numbers. Returns `None` if it returns `None` for one of them, or if the text does not end
/// outside of them.
pub(super) fn replace<'a>(
    sql: &str,
    value_of: impl Fn(usize) -> Option<&'a str>,
) -> Option<String> {
    let mut replaced = String::with_capacity(sql.len() + 64);
    let mut tokens = Scanner::new(sql).peekable();
    while let Some(token) = tokens.next() {
        if !token.is_terminated {
            return None;
        }
        if token.kind != TokenKind::Parameter {
            replaced.push_str(token.text);
            continue;
        }
        let number = token.text.strip_prefix('$')?;
        // PostgreSQL would read $01 as $1; nobody writes it.
        let number = number.parse().ok().filter(|_| !number.starts_with('0'))?;
        replaced.push_str(value_of(number)?);
        // A name right behind a parameter would become a part of the column's name.
        let is_joined = |next: &Token<'_>| next.text.starts_with(is_name_character);
        if tokens.peek().is_some_and(is_joined) {
            return None;
        }
    }
    Some(replaced)
}
