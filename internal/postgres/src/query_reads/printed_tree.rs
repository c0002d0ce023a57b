//! The tree that the server prints while it parses a query, for roles and servers that cannot
//! create anything. The server's log gets it too.

use std::future::poll_fn;

use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client};

use crate::error::{DatabaseError, error_text};
use crate::examination::{FOLLOW_POLICIES_SQL, LIMITS_SQL};
use crate::pool::Database;
use crate::query_reads::QueryReadsError;
use crate::query_reads::session::describe;

/// The settings that print the tree of a query as a message to the client.
const SETTINGS_SQL: &str = "SET LOCAL debug_pretty_print = off; SET LOCAL client_min_messages = log; SET LOCAL debug_print_parse = on";

/// Returns the text of a query's tree.
pub(super) async fn printed_tree(
    database: &Database,
    query: &str,
    types: &[Type],
) -> Result<String, QueryReadsError> {
    let broken = |reason: String| DatabaseError::unavailable(reason);
    let connecting = database.endpoint().connect_plain().await;
    let (client, mut connection) = connecting.map_err(|error| broken(error_text(&error)))?;
    let settings = database.endpoint().local_settings();
    let mut printed = None;
    let mut parsing = std::pin::pin!(parse(&client, &settings, query, types));
    loop {
        // Polling the connection also drives the requests. A message arrives before the response
        // that it belongs to.
        tokio::select! {
            result = &mut parsing => {
                result?;
                let missing = || DatabaseError::unfit("debug_print_parse", "a parse tree", "none");
                return Ok(printed.ok_or_else(missing)?);
            }
            message = poll_fn(|cx| connection.poll_message(cx)) => match message {
                // Other statements follow, such as those that ask for types.
                Some(Ok(message)) => printed = printed.or_else(|| tree_in(&message)),
                Some(Err(error)) => return Err(broken(error_text(&error)).into()),
                None => return Err(broken("connection closed".to_owned()).into()),
            },
        }
    }
}

async fn parse(
    client: &Client,
    local_settings: &str,
    query: &str,
    types: &[Type],
) -> Result<(), QueryReadsError> {
    let begin = format!(
        "BEGIN READ ONLY; {FOLLOW_POLICIES_SQL} {LIMITS_SQL} {local_settings} {SETTINGS_SQL}"
    );
    let to_error = |error| DatabaseError::from_driver("a look at a query's tree", &error);
    client.batch_execute(&begin).await.map_err(to_error)?;
    let prepared = client.prepare_typed(query, types).await;
    client.batch_execute("ROLLBACK").await.map_err(to_error)?;
    describe(prepared).map(drop)
}

/// Returns the tree in a message. It stands in the detail, wrapped at spaces.
fn tree_in(message: &AsyncMessage) -> Option<String> {
    let AsyncMessage::Notice(notice) = message else {
        return None;
    };
    let detail = notice.detail()?;
    detail
        .trim_start_matches('(')
        .starts_with("{QUERY")
        .then(|| detail.replace('\n', " "))
}
