//! Describes what the lookup of a table's keys returns, without running it and without the right to
//! create anything.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::key_kind::base_type;
use crate::pool::Database;
use crate::quote::quote_qualified;
use crate::statement_text::single_statement;
use crate::triggers::{DiscoveryError, discover};
use latido_stream::SourceTable;

/// The time-out of describing one lookup.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the columns that a lookup returns, with their types; a domain counts as its base type.
/// `None` if the table or the lookup cannot be found or is refused: then it has no triggers.
pub(super) async fn lookup_columns(
    database: &Database,
    table: &SourceTable,
    sql: &str,
) -> Result<Option<Vec<(String, Type)>>, DatabaseError> {
    let (schema, name) = match discover::find_relation(database, "via", &table.name).await {
        Ok(found) => found,
        Err(DiscoveryError::Database(error @ DatabaseError::Unavailable { .. })) => {
            return Err(error);
        }
        Err(_) => return Ok(None),
    };
    let Ok(sql) = single_statement(sql) else {
        return Ok(None);
    };
    let statement = format!(
        "WITH changed AS (SELECT * FROM {} LIMIT 0) SELECT v.* FROM (\n{sql}\n) AS v",
        quote_qualified(&schema, &name)
    );
    let private = database.open_dedicated().await?;
    let client = &private.client;
    let work = async {
        let begin = format!(
            "BEGIN READ ONLY; SET LOCAL statement_timeout = '4s'; {}",
            database.local_read_settings()
        );
        client.batch_execute(&begin).await?;
        let prepared = client.prepare(&statement).await;
        client.batch_execute("ROLLBACK").await?;
        prepared
    };
    let missing = || DatabaseError::unavailable("no answer while describing a lookup");
    match timeout(DESCRIBE_TIMEOUT, work)
        .await
        .map_err(|_| missing())?
    {
        Ok(prepared) => {
            let columns = prepared.columns().iter();
            let column = |column: &tokio_postgres::Column| {
                (column.name().to_owned(), base_type(column.type_()).clone())
            };
            Ok(Some(columns.map(column).collect()))
        }
        Err(error) => match DatabaseError::from_driver("a lookup", &error) {
            error @ DatabaseError::Unavailable { .. } => Err(error),
            _ => Ok(None),
        },
    }
}
