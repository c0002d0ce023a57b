//! What the transactions share in which queries are examined. They are rolled back.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::error::DatabaseError;

/// The limits of such a transaction. Without the first it would wait behind an ALTER TABLE.
pub(crate) const LIMITS_SQL: &str = "SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '5s'; SET LOCAL client_min_messages = warning;";

/// Follows policies. It is for transactions that read no rows, so that no filtering goes unseen.
pub(crate) const FOLLOW_POLICIES_SQL: &str = "SET LOCAL row_security = on;";

const TYPE_NAMES_SQL: &str = "SELECT pg_catalog.format_type(u.type, NULL)
FROM pg_catalog.unnest($1) WITH ORDINALITY AS u (type, n) ORDER BY u.n";

/// Returns the types' names as SQL, for the parameters of a function. `what` is the purpose, for
/// messages.
///
/// # Errors
/// Returns an error if the database fails.
pub(crate) async fn type_names(
    client: &Client,
    what: &'static str,
    types: &[Type],
) -> Result<Vec<String>, DatabaseError> {
    let oids: Vec<u32> = types.iter().map(Type::oid).collect();
    let rows = client
        .query_typed(TYPE_NAMES_SQL, &[(&oids, Type::OID_ARRAY)])
        .await;
    let rows = rows.map_err(|error| DatabaseError::from_driver(what, &error))?;
    Ok(rows.iter().filter_map(|row| row.try_get(0).ok()).collect())
}
