//! Looks up the permissions of many users in one statement.
//!
//! An `authorize` query answers for one user: `$1` is the user, `$2` are the keys, and `$3` the claims
//! of the user's token if it takes them. For many, the query becomes a lateral subquery of a list of
//! users, and the parameters become columns of that list. If the query does not allow that, each user
//! gets a statement.

use std::collections::HashSet;

use tokio_postgres::types::{ToSql, Type};

use crate::authorize::{authorize_purpose, changes_settings, granted_key, shown_claims};
use crate::error::DatabaseError;
use crate::key_array::array_text;
use crate::parameters;
use crate::pool::Database;
use crate::statement_text::single_statement;
use latido_base::ident::{IterMap, Key, UserId};
use latido_stream::{AuthorizeQuery, PermissionLookupError, PermissionQuestion, Stream};

/// The columns that stand for the parameters. The name of their table must not occur in the query.
const USER: &str = "latido_asked.latido_user";
const KEYS: &str = "latido_asked.latido_keys";
const CLAIMS: &str = "latido_asked.latido_claims";

/// A user, as the query is shown them.
type Asker<'a> = (&'a UserId, Option<&'a str>);

/// The keys that each user is asked about, and those that are allowed.
type KeysByAsker<'a> = IterMap<Asker<'a>, Vec<&'a Key>>;

impl Database {
    /// Returns the answer to each of these questions, in their order.
    pub(super) async fn allowed_batch(
        &self,
        stream: &Stream,
        questions: &[PermissionQuestion<'_>],
    ) -> Vec<Result<bool, PermissionLookupError>> {
        let mut askers = KeysByAsker::new();
        for question in questions {
            let asker = (question.user, question.claims);
            askers.entry(asker).or_default().push(question.key);
        }
        let together = match questions.len() > 1 {
            true => self.ask_together(stream, &askers).await.ok().flatten(),
            false => None,
        };
        let Some(allowed) = together else {
            return self.ask_each(stream, &askers, questions).await;
        };
        let answer = |question: &PermissionQuestion<'_>| {
            let asker = askers.get_index_of(&(question.user, question.claims));
            Ok(asker.is_some_and(|asker| allowed.contains(&(asker, question.key.clone()))))
        };
        questions.iter().map(answer).collect()
    }

    /// Returns the allowed keys with the position of their user. Returns `None` if the query does
    /// not allow to ask about many users.
    async fn ask_together(
        &self,
        stream: &Stream,
        askers: &KeysByAsker<'_>,
    ) -> Result<Option<HashSet<(usize, Key)>>, DatabaseError> {
        let claims_type = self.claims_type(stream).await?;
        let query = stream.authorize_query.as_ref();
        let Some(sql) = query.and_then(|query| build_batch_sql(query, claims_type.as_ref())) else {
            return Ok(None);
        };
        // A text in PostgreSQL cannot hold NUL, and no user has such an id.
        if askers.keys().any(|(user, _)| user.as_str().contains('\0')) {
            return Ok(None);
        }
        let users: Vec<&str> = askers.keys().map(|(user, _)| user.as_str()).collect();
        let claims: Vec<&str> = askers
            .keys()
            .map(|(_, claims)| shown_claims(*claims))
            .collect();
        let written = |keys: &Vec<&Key>| {
            let texts: Vec<_> = keys.iter().map(|key| stream.permission_text(key)).collect();
            array_text(&texts)
        };
        let keys: Vec<String> = askers.values().map(written).collect();
        let values: [&(dyn ToSql + Sync); 3] = [&users, &keys, &claims];
        let params: Vec<_> = values
            .into_iter()
            .map(|values| (values, Type::TEXT_ARRAY))
            .take(2 + usize::from(claims_type.is_some()))
            .collect();
        let _permit = self.acquire_permission_slot().await?;
        let rows = self
            .query(&authorize_purpose(stream), &sql, &params)
            .await?;
        let pair = |row: &tokio_postgres::Row| {
            let nth: i64 = row.try_get(0).ok()?;
            let asker = usize::try_from(nth).ok()?.checked_sub(1)?;
            let key: Option<&str> = row.try_get(1).ok()?;
            Some((asker, granted_key(stream, key?)?))
        };
        Ok(Some(rows.iter().filter_map(pair).collect()))
    }

    /// Asks with one statement for each user. A user whose statement fails does not spoil the
    /// others.
    async fn ask_each(
        &self,
        stream: &Stream,
        askers: &KeysByAsker<'_>,
        questions: &[PermissionQuestion<'_>],
    ) -> Vec<Result<bool, PermissionLookupError>> {
        let mut answers: IterMap<Asker<'_>, Result<HashSet<Key>, PermissionLookupError>> =
            IterMap::new();
        for (asker @ (user, claims), keys) in askers {
            let keys: Vec<Key> = keys.iter().copied().cloned().collect();
            let allowed = self
                .allowed_keys_by_claims(stream, user, *claims, &keys)
                .await;
            let allowed = match allowed {
                Ok(allowed) => Ok(allowed.into_iter().collect()),
                // The query cannot look up this user's id, this key or one of the claims.
                Err(error) if keys.len() == 1 && error.is_data_exception() => Ok(HashSet::new()),
                Err(error) => Err(PermissionLookupError::Unavailable(error.to_string().into())),
            };
            answers.insert(*asker, allowed);
        }
        let answer = |question: &PermissionQuestion<'_>| match answers
            .get(&(question.user, question.claims))
        {
            Some(Ok(allowed)) => Ok(allowed.contains(question.key)),
            Some(Err(error)) => Err(error.clone()),
            None => Ok(false),
        };
        questions.iter().map(answer).collect()
    }
}

/// Builds the statement for many users: `$1` are users, `$2` the keys of each as the text of an array,
/// and `$3` the claims of each if the query takes them. Returns `None` if the query has another
/// parameter, uses the name that stands for them, or changes a setting, which would then be one for
/// all users.
fn build_batch_sql(query: &AuthorizeQuery, claims_type: Option<&Type>) -> Option<String> {
    if query.sql().to_ascii_lowercase().contains("latido_asked") || changes_settings(query) {
        return None;
    }
    let sql = replace_parameters(single_statement(query.sql()).ok()?, claims_type.is_some())?;
    let list = |text: &str| match claims_type {
        Some(of) => text.replace("{claims}", of.name()),
        None => String::new(),
    };
    let (values, array, name) = (
        list(", p.c::pg_catalog.{claims}"),
        list(", pg_catalog.unnest($3::pg_catalog.text[])"),
        list(", c"),
    );
    let column = list(", latido_claims");
    // OFFSET keeps the list apart, so that the claims of a user are parsed once.
    Some(format!(
        "SELECT latido_asked.latido_nth, a.latido_key::pg_catalog.text\n\
         FROM (SELECT p.n, p.u, p.k::pg_catalog.text[]{values} \
         FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), \
         pg_catalog.unnest($2::pg_catalog.text[]){array}) WITH ORDINALITY AS p (u, k{name}, n) OFFSET 0) \
         AS latido_asked (latido_nth, latido_user, latido_keys{column})\n\
         CROSS JOIN LATERAL (\n{sql}\n) AS a (latido_key)"
    ))
}

/// Replaces the parameters by the columns that stand for them.
fn replace_parameters(sql: &str, has_claims: bool) -> Option<String> {
    parameters::replace(sql, |number| match number {
        1 => Some(USER),
        2 => Some(KEYS),
        3 if has_claims => Some(CLAIMS),
        _ => None,
    })
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
                replace_parameters(sql, false).as_deref(),
                Some(&*expected),
                "{sql}"
            );
        }
        for other in [
            "$3", "$12", "$0", "$1a", "$1ñ", "'open $1", "/* open", "$a$ open", "\"open",
        ] {
            assert_eq!(replace_parameters(other, false), None, "{other}");
        }
        let with_claims = replace_parameters("$3->>'$3' = $1", true);
        assert_eq!(
            with_claims.as_deref(),
            Some(&*format!("{CLAIMS}->>'$3' = {USER}"))
        );
        for other in [
            "SELECT latido_asked.x WHERE $1 = $2",
            "SELECT $1 = $2 FROM t AS Latido_Asked",
            "SELECT $1, Set_Config('a', $2, true)",
        ] {
            assert_eq!(build_batch_sql(&other.into(), None), None, "{other}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_replaced_or_rejected(text in "([$'\"/*-]|\\PC|\n){0,40}") {
            let _ = build_batch_sql(&text.into(), Some(&Type::JSONB));
        }
    }
}
