//! Finds the end of a statement in the text of a file, without parsing the statement. Pure.
//!
//! The server puts a stream's statement into a larger one, so a semicolon after it must go, and a
//! second statement must be refused. Semicolons in strings, quoted names and comments do not count
//! (PostgreSQL manual, «Lexical Structure»).

/// A text that holds more than one statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than one statement")]
pub(super) struct SeveralStatements;

/// Returns the only statement of `sql`, without the semicolon and the comments after it.
///
/// # Errors
/// Returns an error if another statement follows.
pub(super) fn single_statement(sql: &str) -> Result<&str, SeveralStatements> {
    let mut scanner = Scanner { sql, at: 0 };
    while let Some(token) = scanner.next_token() {
        if token == Token::Semicolon {
            let end = scanner.at - 1;
            while let Some(token) = scanner.next_token() {
                if token == Token::Text {
                    return Err(SeveralStatements);
                }
            }
            return Ok(&sql[..end]);
        }
    }
    Ok(sql)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Semicolon,
    /// A comment or white space.
    Blank,
    /// Any part of a statement.
    Text,
}

struct Scanner<'a> {
    sql: &'a str,
    /// The byte at which the next token starts; always on a character boundary.
    at: usize,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        &self.sql[self.at..]
    }

    /// Returns the next token. An unterminated one ends with the text.
    fn next_token(&mut self) -> Option<Token> {
        let rest = self.rest();
        let first = rest.chars().next()?;
        let (token, length) = match first {
            ';' => (Token::Semicolon, 1),
            c if c.is_whitespace() => (Token::Blank, c.len_utf8()),
            _ if rest.starts_with("--") => (Token::Blank, rest.find('\n').unwrap_or(rest.len())),
            _ if rest.starts_with("/*") => (Token::Blank, comment_length(rest)),
            '\'' => (Token::Text, quoted_length(rest, '\'', false)),
            '"' => (Token::Text, quoted_length(rest, '"', false)),
            'e' | 'E' if rest[1..].starts_with('\'') => {
                (Token::Text, 1 + quoted_length(&rest[1..], '\'', true))
            }
            '$' => (Token::Text, dollar_length(rest)),
            c if is_name_character(c) => (Token::Text, name_length(rest)),
            c => (Token::Text, c.len_utf8()),
        };
        self.at += length;
        Some(token)
    }
}

/// Returns whether the character may be inside a name or a number, where `$` starts no string.
fn is_name_character(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric() || !c.is_ascii()
}

fn name_length(text: &str) -> usize {
    text.find(|c| !is_name_character(c) && c != '$')
        .unwrap_or(text.len())
}

/// Returns the length of a comment, which may contain others.
fn comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (1, 2);
    while depth > 0 {
        let Some(found) = text[at..].find(['*', '/']) else {
            return text.len();
        };
        at += found;
        let pair = &text[at..];
        if pair.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if pair.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += 1;
        }
    }
    at
}

/// Returns the length of a quoted text. A doubled quote looks like the start of another text, which
/// makes no difference here.
fn quoted_length(text: &str, quote: char, has_escapes: bool) -> usize {
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        if c == quote {
            return at + 1;
        }
        if c == '\\' && has_escapes {
            characters.next();
        }
    }
    text.len()
}

/// Returns the length of a dollar-quoted string, or 1 for a dollar that starts none.
fn dollar_length(text: &str) -> usize {
    let Some(end) = text[1..].find('$') else {
        return 1;
    };
    let tag = &text[1..=end];
    if tag.starts_with(|c: char| c.is_ascii_digit()) || !tag.chars().all(is_name_character) {
        return 1;
    }
    let delimiter = &text[..end + 2];
    let body = &text[delimiter.len()..];
    body.find(delimiter)
        .map_or(text.len(), |at| at + 2 * delimiter.len())
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
        ] {
            assert_eq!(single_statement(sql), Err(SeveralStatements), "{sql}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_scanned(sql in "[-a$E'\"\\\\/*;1\\n ñ]{0,40}") {
            if let Ok(statement) = single_statement(&sql) {
                prop_assert!(sql.starts_with(statement));
                prop_assert_eq!(single_statement(statement), Ok(statement));
            }
        }
    }
}
