//! The parameters of an `authorize` query, and what it returns.
//!
//! `$1` is the user's id and `$2` the keys, as text. Only a statement with a third parameter is shown
//! the claims of a token: as `json` if it declares that, else as `jsonb`.

use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::pool::Database;
use crate::prepare::describe_typed;
use crate::statement_shape::StatementShape;
use latido_base::ident::Key;
use latido_stream::{AuthorizeQuery, KeyType, Stream};

/// The most parameters that an `authorize` query takes.
const MAX_PARAMETERS: usize = 3;
/// The parameters of an `authorize` query, for messages.
const EXPECTED_PARAMETERS: &str = "parameters $1 (the user's id, text), $2 (the keys, text[]) and, \
     if it needs them, $3 (the claims of the token, jsonb or json: write $3::jsonb)";
/// The claims of a user without a token.
const NO_CLAIMS: &str = "{}";

/// Returns the types of an `authorize` query's parameters before the claims.
pub(super) fn user_and_key_types() -> [Type; 2] {
    [Type::TEXT, Type::TEXT_ARRAY]
}

/// Returns the types of the parameters of an `authorize` query, as far as the query leaves them open:
/// `$3->>'role'` may be of several.
pub(super) fn authorize_types(query: &AuthorizeQuery) -> Vec<Type> {
    let [user, keys] = user_and_key_types();
    match query.takes_claims() {
        true => vec![user, keys, Type::JSONB],
        false => Vec::new(),
    }
}

/// Returns the purpose of a stream's `authorize` query, for messages.
pub(super) fn authorize_purpose(stream: &Stream) -> String {
    format!("the authorize query of stream {}", stream.name)
}

/// Returns the type of the claims that the stream's `authorize` query takes: `jsonb` or `json`. `None`
/// if it takes none; then nothing is asked.
///
/// # Errors
/// [`DatabaseError::Unfit`] for a third parameter of another type or for a fourth, and the error of
/// the database if it refuses the statement.
pub(super) async fn describe_claims(
    database: &Database,
    stream: &Stream,
) -> Result<Option<Type>, DatabaseError> {
    let authorize = stream.authorize_query.as_ref();
    let Some(query) = authorize.filter(|query| query.takes_claims()) else {
        return Ok(None);
    };
    let what = authorize_purpose(stream);
    if query.parameters() > MAX_PARAMETERS {
        let found = format!("${}", query.parameters());
        return Err(DatabaseError::unfit(what, EXPECTED_PARAMETERS, found));
    }
    let private = &database.open_dedicated().await?;
    let [user, keys] = user_and_key_types();
    let declared =
        async |types: &[Type]| describe_typed(database, private, &what, query.sql(), types).await;
    let inferred = declared(&[user.clone(), keys.clone()]).await;
    let found = match &inferred {
        Ok(shape) => shape.params.get(2).cloned(),
        Err(DatabaseError::Rejected { .. }) => None,
        Err(error) => return Err(error.clone()),
    };
    match found {
        Some(of) if [Type::JSONB, Type::JSON].contains(&of) => return Ok(Some(of)),
        // PostgreSQL cannot tell what `$3->>'role'` means, and `$3::text` is a conversion.
        None | Some(Type::TEXT | Type::VARCHAR) => {}
        Some(_) => return Err(unfit_claims(what, inferred)),
    }
    match declared(&[user, keys, Type::JSONB]).await {
        Ok(_) => Ok(Some(Type::JSONB)),
        Err(DatabaseError::Rejected { .. }) if inferred.is_ok() => {
            Err(unfit_claims(what, inferred))
        }
        Err(error) => Err(error),
    }
}

fn unfit_claims(what: String, found: Result<StatementShape, DatabaseError>) -> DatabaseError {
    let found = found.map(|shape| shape.to_string()).unwrap_or_default();
    DatabaseError::unfit(what, EXPECTED_PARAMETERS, found)
}

impl Database {
    /// Returns the type of the claims that the stream's `authorize` query takes, if it takes any.
    ///
    /// # Errors
    /// The reason why the query cannot be used, or why the stream cannot be prepared.
    pub(super) async fn claims_type(&self, stream: &Stream) -> Result<Option<Type>, DatabaseError> {
        match stream.takes_claims() {
            true => self.current_prepared(stream).await?.claims_type.clone(),
            false => Ok(None),
        }
    }

    /// Returns the reason why the stream's `authorize` query cannot be used, as far as it was found
    /// when the stream was prepared.
    pub fn authorize_problem(&self, stream: &Stream) -> Option<DatabaseError> {
        let prepared = self.cached_prepared(stream)?;
        prepared.claims_type.clone().err()
    }
}

/// Returns the key that an `authorize` query returned, in any spelling.
pub(super) fn granted_key(stream: &Stream, text: &str) -> Option<Key> {
    // The types are unknown only before the stream was prepared; then texts are compared.
    let types = stream.key_types.get().cloned();
    let types = types.unwrap_or_else(|| vec![KeyType::Text; stream.key_fields.len()]);
    stream.parse_permission_text(&types, text).ok()
}

/// Returns the claims that an `authorize` query is shown.
pub(super) fn shown_claims(claims: Option<&str>) -> &str {
    claims.unwrap_or(NO_CLAIMS)
}

/// Returns whether a query may change a setting. One that reads through policies then depends on the
/// order in which its parts are computed.
pub(super) fn changes_settings(query: &AuthorizeQuery) -> bool {
    let name = b"set_config";
    let mut parts = query.sql().as_bytes().windows(name.len());
    parts.any(|part| part.eq_ignore_ascii_case(name))
}
