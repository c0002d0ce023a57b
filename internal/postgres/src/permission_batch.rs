//! Looks up the permissions of many users in one statement.
//!
//! An `authorize` query answers for one user: `$1` is the user, `$2` are the keys. For many, the
//! query becomes a lateral subquery of a list of users, and the two parameters become columns of
//! that list. If the query does not allow that, each user gets a statement.

use std::collections::{HashMap, HashSet};

use tokio_postgres::types::{ToSql, Type};

use crate::error::DatabaseError;
use crate::pool::Database;
use crate::statement_text::{Scanner, Token, TokenKind, is_name_character, single_statement};
use latido_base::ident::{Key, UserId};
use latido_stream::{PermissionLookupError, Stream};

/// The columns that stand for `$1` and `$2`. The name of their table must not occur in the query.
const USER: &str = "latido_asked.latido_user";
const KEYS: &str = "latido_asked.latido_keys";

/// A user with the keys that are asked about.
type Question<'a> = (&'a UserId, Vec<&'a Key>);

impl Database {
    /// Returns whether each of these users may read the key beside it, in their order.
    pub(super) async fn allowed_pairs(
        &self,
        stream: &Stream,
        pairs: &[(UserId, Key)],
    ) -> Vec<Result<bool, PermissionLookupError>> {
        let together = match stream.authorize_query.as_deref().and_then(build_batch_sql) {
            Some(sql) if pairs.len() > 1 => self.ask_together(stream, &sql, pairs).await.ok(),
            _ => None,
        };
        match together {
            Some(allowed) => pairs
                .iter()
                .map(|(user, key)| {
                    Ok(allowed.contains(&(user.as_str().into(), key.as_str().into())))
                })
                .collect(),
            None => self.ask_each(stream, pairs).await,
        }
    }

    async fn ask_together(
        &self,
        stream: &Stream,
        sql: &str,
        pairs: &[(UserId, Key)],
    ) -> Result<HashSet<(String, String)>, DatabaseError> {
        // A text in PostgreSQL cannot hold NUL, and no user has such an id.
        let pairs = pairs
            .iter()
            .filter(|(user, _)| !user.as_str().contains('\0'));
        let (users, keys): (Vec<&str>, Vec<&str>) = pairs
            .map(|(user, key)| (user.as_str(), key.as_str()))
            .unzip();
        let what = format!("the authorize query of stream {}", stream.name);
        let params: [(&(dyn ToSql + Sync), Type); 2] =
            [(&users, Type::TEXT_ARRAY), (&keys, Type::TEXT_ARRAY)];
        let _permit = self.acquire_permission_slot().await?;
        let rows = self.query(&what, sql, &params).await?;
        let pair = |row: &tokio_postgres::Row| {
            let user: Option<String> = row.try_get(0).ok()?;
            let key: Option<String> = row.try_get(1).ok()?;
            user.zip(key)
        };
        Ok(rows.iter().filter_map(pair).collect())
    }

    /// Asks with one statement for each user. A user whose statement fails does not spoil the
    /// others.
    async fn ask_each(
        &self,
        stream: &Stream,
        pairs: &[(UserId, Key)],
    ) -> Vec<Result<bool, PermissionLookupError>> {
        let mut answers: HashMap<&UserId, Result<HashSet<Key>, PermissionLookupError>> =
            HashMap::new();
        for (user, keys) in questions(pairs) {
            let keys: Vec<Key> = keys.into_iter().cloned().collect();
            let allowed = self.allowed_keys(stream, user, &keys).await;
            let allowed = match allowed {
                Ok(allowed) => Ok(allowed.into_iter().collect()),
                // The query cannot look up this user's id or this key.
                Err(error) if keys.len() == 1 && error.is_data_exception() => Ok(HashSet::new()),
                Err(error) => Err(PermissionLookupError::Unavailable(error.to_string().into())),
            };
            answers.insert(user, allowed);
        }
        let answer = |(user, key): &(UserId, Key)| match answers.get(user) {
            Some(Ok(allowed)) => Ok(allowed.contains(key)),
            Some(Err(error)) => Err(error.clone()),
            None => Ok(false),
        };
        pairs.iter().map(answer).collect()
    }
}

/// Groups pairs by user.
fn questions(pairs: &[(UserId, Key)]) -> Vec<Question<'_>> {
    let mut by_user: HashMap<&UserId, Vec<&Key>> = HashMap::new();
    for (user, key) in pairs {
        by_user.entry(user).or_default().push(key);
    }
    by_user.into_iter().collect()
}

/// Builds the statement for many users: `$1` are users, and `$2` the key beside each. Returns `None`
/// if the query has another parameter, or uses the name that stands for them.
fn build_batch_sql(authorize: &str) -> Option<String> {
    if authorize.contains("latido_asked") {
        return None;
    }
    let query = replace_parameters(single_statement(authorize).ok()?)?;
    Some(format!(
        "SELECT {USER}, a.k::pg_catalog.text\n\
         FROM (SELECT p.u, pg_catalog.array_agg(p.k) \
         FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), \
         pg_catalog.unnest($2::pg_catalog.text[])) AS p (u, k) GROUP BY p.u) \
         AS latido_asked (latido_user, latido_keys)\n\
         CROSS JOIN LATERAL (\n{query}\n) AS a (k)"
    ))
}

/// Replaces `$1` and `$2` outside of strings, quoted names and comments. Returns `None` if the query
/// has another parameter, or does not end outside of them.
fn replace_parameters(sql: &str) -> Option<String> {
    let mut replaced = String::with_capacity(sql.len() + 64);
    let mut tokens = Scanner::new(sql).peekable();
    while let Some(token) = tokens.next() {
        let text = match (token.kind, token.text) {
            _ if !token.is_terminated => return None,
            (TokenKind::Parameter, "$1") => USER,
            (TokenKind::Parameter, "$2") => KEYS,
            (TokenKind::Parameter, _) => return None,
            (_, text) => text,
        };
        replaced.push_str(text);
        // A name right behind a parameter would become a part of the column's name.
        let is_joined = |next: &Token<'_>| next.text.starts_with(is_name_character);
        if token.kind == TokenKind::Parameter && tokens.peek().is_some_and(is_joined) {
            return None;
        }
    }
    Some(replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_replaced_where_they_are_parameters() {
        for (sql, expected) in [
            ("SELECT $1", format!("SELECT {USER}")),
            (
                "WHERE u = $1::text AND k = ANY($2::text[])",
                format!("WHERE u = {USER}::text AND k = ANY({KEYS}::text[])"),
            ),
            (
                "'$1' \"$2\" -- $1\n$1",
                format!("'$1' \"$2\" -- $1\n{USER}"),
            ),
            ("'it''s $1' || $1", format!("'it''s $1' || {USER}")),
            (r"E'\'$1' || $1", format!(r"E'\'$1' || {USER}")),
            (r"'\' || $1", format!(r"'\' || {USER}")),
            (
                "/* $1 /* $2 */ $1 */ $2",
                format!("/* $1 /* $2 */ $1 */ {KEYS}"),
            ),
            (
                "$$ $1 $$ || $a$ $1 $$ $a$ || $1",
                format!("$$ $1 $$ || $a$ $1 $$ $a$ || {USER}"),
            ),
            (r"E'it''s \'$1' || $1", format!(r"E'it''s \'$1' || {USER}")),
            ("-- $1\r$1", format!("-- $1\r{USER}")),
            ("a$1 + ñ$2 + $1", format!("a$1 + ñ$2 + {USER}")),
        ] {
            assert_eq!(
                replace_parameters(sql).as_deref(),
                Some(&*expected),
                "{sql}"
            );
        }
        for other in [
            "$3", "$12", "$0", "$1a", "$1ñ", "'open $1", "/* open", "$a$ open", "\"open",
        ] {
            assert_eq!(replace_parameters(other), None, "{other}");
        }
        assert_eq!(build_batch_sql("SELECT latido_asked.x WHERE $1 = $2"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_replaced_or_rejected(text in "([$'\"/*-]|\\PC|\n){0,40}") {
            let _ = build_batch_sql(&text);
        }
    }
}
