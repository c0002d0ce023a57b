//! Splits the text of a file into tokens, without parsing the statement. Pure.
//!
//! The server puts a stream's statement into a larger one, so a semicolon after it must go, and a
//! second statement must be refused. Semicolons and parameters in strings, quoted names and comments
//! do not count (PostgreSQL manual, «Lexical Structure»).

/// The error for a text that holds more than one statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than one statement")]
pub struct SeveralStatements;

/// Returns the only statement of `sql`, without the semicolon and the comments after it.
///
/// # Errors
/// Returns an error if another statement follows.
pub fn single_statement(sql: &str) -> Result<&str, SeveralStatements> {
    let mut scanner = Scanner::new(sql);
    while let Some(token) = scanner.next() {
        if token.kind == TokenKind::Semicolon {
            let end = scanner.at - 1;
            let is_blank = |kind| matches!(kind, TokenKind::Semicolon | TokenKind::Blank);
            if scanner.any(|token| !is_blank(token.kind)) {
                return Err(SeveralStatements);
            }
            return Ok(&sql[..end]);
        }
    }
    Ok(sql)
}

/// A part of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// The kind of the part.
    pub kind: TokenKind,
    /// The text of the part.
    pub text: &'a str,
    /// False for a string, quoted name or comment that the text ends inside of.
    pub is_terminated: bool,
}

/// The kind of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// The end of a statement.
    Semicolon,
    /// A comment or white space.
    Blank,
    /// A dollar with a number.
    Parameter,
    /// Any other part of a statement.
    Text,
}

/// An iterator over the tokens of a text. Together they are the text.
#[derive(Debug)]
pub struct Scanner<'a> {
    sql: &'a str,
    /// The byte at which the next token starts; always on a character boundary.
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Starts at the beginning of a text.
    pub fn new(sql: &'a str) -> Self {
        Self { sql, at: 0 }
    }
}

impl<'a> Iterator for Scanner<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let rest = &self.sql[self.at..];
        let first = rest.chars().next()?;
        let (kind, length) = match first {
            ';' => (TokenKind::Semicolon, Some(1)),
            c if c.is_whitespace() => (TokenKind::Blank, Some(c.len_utf8())),
            _ if rest.starts_with("--") => {
                let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
                (TokenKind::Blank, Some(end))
            }
            _ if rest.starts_with("/*") => (TokenKind::Blank, comment_length(rest)),
            '\'' => (TokenKind::Text, quoted_length(rest, '\'', false)),
            '"' => (TokenKind::Text, quoted_length(rest, '"', false)),
            'e' | 'E' if rest[1..].starts_with('\'') => {
                let string = quoted_length(&rest[1..], '\'', true);
                (TokenKind::Text, string.map(|length| 1 + length))
            }
            '$' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let number = rest[1..].find(|c: char| !c.is_ascii_digit());
                (
                    TokenKind::Parameter,
                    Some(number.map_or(rest.len(), |end| 1 + end)),
                )
            }
            '$' => (TokenKind::Text, dollar_length(rest)),
            c if is_name_character(c) => (TokenKind::Text, Some(name_length(rest))),
            c => (TokenKind::Text, Some(c.len_utf8())),
        };
        let text = &rest[..length.unwrap_or(rest.len())];
        self.at += text.len();
        Some(Token {
            kind,
            text,
            is_terminated: length.is_some(),
        })
    }
}

/// Returns whether the character may be inside a name or a number, where `$` starts no string.
pub fn is_name_character(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric() || !c.is_ascii()
}

fn name_length(text: &str) -> usize {
    text.find(|c| !is_name_character(c) && c != '$')
        .unwrap_or(text.len())
}

/// Returns the length of a comment, which may contain others, or `None` if it does not end.
fn comment_length(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (1, 2);
    while depth > 0 {
        at += text[at..].find(['*', '/'])?;
        let pair = &text[at..];
        if pair.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if pair.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += 1;
        }
    }
    Some(at)
}

/// Returns the length of a quoted text, or `None` if it does not end. A doubled quote belongs to it,
/// and in an escape string also what follows a backslash.
fn quoted_length(text: &str, quote: char, has_escapes: bool) -> Option<usize> {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            return Some(at + 1);
        }
        if c == '\\' && has_escapes {
            characters.next();
        }
    }
    None
}

/// Returns the length of a dollar-quoted string, 1 for a dollar that starts none, or `None` for a
/// string that does not end.
fn dollar_length(text: &str) -> Option<usize> {
    let Some(end) = text[1..].find('$') else {
        return Some(1);
    };
    let tag = &text[1..=end];
    if !tag.chars().all(is_name_character) {
        return Some(1);
    }
    let delimiter = &text[..end + 2];
    let body = &text[delimiter.len()..];
    body.find(delimiter).map(|at| at + 2 * delimiter.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn semicolons_and_comments_after_a_statement_are_removed() {
        for end in [
            "",
            ";",
            " ;\n",
            ";\n-- that was all;\n\n",
            "; /* note; */ ;",
            ";/* a /* b */ ; */",
        ] {
            let sql = format!("SELECT 1{end}");
            let found = single_statement(&sql).map(str::trim_end);
            assert_eq!(found, Ok("SELECT 1"), "{sql:?}");
        }
        for whole in [
            "SELECT 1 -- one; two",
            "SELECT 1 /* ; */",
            "SELECT ';', \"a;b\", 'it''s;', E'\\';'",
            "SELECT $$;$$, $a$ $$ ; $b$ $a$",
            r"SELECT E'it''s \'; x'",
            "SELECT '1'';'",
            "SELECT a$1$, $1, $2 FROM t$x$",
            "SELECT 'open;",
            "SELECT /* open;",
            "-- nothing",
            "",
        ] {
            assert_eq!(single_statement(whole), Ok(whole));
        }
    }

    #[test]
    fn second_statement_is_refused() {
        for sql in [
            "SELECT 1; SELECT 2",
            "SELECT 1;; /* x */ DELETE FROM t",
            "SELECT a$x$; SELECT b$x$",
            "SELECT 'a\\'; SELECT 1 --'",
            "SELECT 1 -- one\r; SELECT 2",
        ] {
            assert_eq!(single_statement(sql), Err(SeveralStatements), "{sql}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_scanned(sql in "[-a$E'\"\\\\/*;1\\n\\r ñ]{0,40}") {
            let tokens: String = Scanner::new(&sql).map(|token| token.text).collect();
            prop_assert_eq!(&tokens, &sql);
            if let Ok(statement) = single_statement(&sql) {
                prop_assert!(sql.starts_with(statement));
                prop_assert_eq!(single_statement(statement), Ok(statement));
            }
        }
    }
}
