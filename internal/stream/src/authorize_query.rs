//! A stream's statement for permissions.

use crate::statement_text::{Scanner, TokenKind};

/// The number of parameters that every such statement may take: the user's id and the keys.
const USER_AND_KEYS: usize = 2;

/// The SQL for permissions. `$1` is the user's id (text), `$2` the keys as channels write them (text
/// array), and `$3` the claims of the user's token (json or jsonb). It returns the keys, as text,
/// that the user may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizeQuery {
    sql: String,
    /// The highest number of a parameter.
    parameters: usize,
}

impl AuthorizeQuery {
    /// Returns the text of the statement.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// Returns the highest number of a parameter in the text, 0 without one.
    pub fn parameters(&self) -> usize {
        self.parameters
    }

    /// Returns whether the statement takes the claims of a token. Any parameter beyond the keys
    /// counts, so that a statement with too many is never taken for one without claims.
    pub fn takes_claims(&self) -> bool {
        self.parameters > USER_AND_KEYS
    }
}

impl From<String> for AuthorizeQuery {
    fn from(sql: String) -> Self {
        let numbers = Scanner::new(&sql)
            .filter(|token| token.kind == TokenKind::Parameter)
            .map(|token| token.text[1..].parse().unwrap_or(usize::MAX));
        let parameters = numbers.max().unwrap_or_default();
        Self { sql, parameters }
    }
}

impl From<&str> for AuthorizeQuery {
    fn from(sql: &str) -> Self {
        sql.to_owned().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_in_texts_and_comments_do_not_count() {
        for (sql, parameters) in [
            ("", 0),
            ("SELECT 1", 0),
            ("SELECT $2 WHERE $1 = '$3' -- $4", 2),
            ("SELECT \"$3\", $$ $4 $$, a$5, $1 /* $3 */", 1),
            ("SELECT k FROM unnest($2) k WHERE $3->>'role' = 'x'", 3),
            ("SELECT $3", 3),
            ("SELECT $12 + $4", 12),
            ("SELECT $99999999999999999999", usize::MAX),
        ] {
            let query = AuthorizeQuery::from(sql);
            assert_eq!(query.parameters(), parameters, "{sql}");
            assert_eq!(query.takes_claims(), parameters > 2, "{sql}");
        }
    }
}
