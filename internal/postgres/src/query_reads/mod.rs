//! Asks the database what a query reads: the tables and columns in its parse tree.

mod catalog_facts;
mod error;
mod printed_tree;
mod session;

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::types::Type;

use latido_inference::{Exploration, NEWEST_MAJOR, QueryReads};

use crate::error::DatabaseError;
use crate::pool::Database;

pub use error::QueryReadsError;
use session::InferenceSession;

/// The time-out of the whole examination of one query.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);

impl Database {
    /// Returns the tables and columns that a query reads, also through views, functions and
    /// policies. Everything happens in a transaction that is rolled back.
    ///
    /// # Errors
    /// Returns an error if the query cannot be that of a stream, if its tree is not understood, or
    /// if the database fails.
    pub async fn query_reads(&self, query: &str) -> Result<QueryReads, QueryReadsError> {
        self.query_reads_typed(query, &[]).await
    }

    /// Returns the same for a query whose first parameters have these types.
    pub(super) async fn query_reads_typed(
        &self,
        query: &str,
        types: &[Type],
    ) -> Result<QueryReads, QueryReadsError> {
        timeout(TOTAL_TIMEOUT, infer(self, query, types))
            .await
            .unwrap_or_else(|_| {
                let reason = "no answer while examining what a query reads";
                Err(DatabaseError::unavailable(reason).into())
            })
    }
}

async fn infer(
    database: &Database,
    query: &str,
    types: &[Type],
) -> Result<QueryReads, QueryReadsError> {
    let session = InferenceSession::open(database).await?;
    let major = session.server_major().await?;
    if major > NEWEST_MAJOR {
        return Err(QueryReadsError::UnknownVersion { major });
    }
    let result = explore(&session, database, query, types).await;
    session.close().await;
    result
}

async fn explore(
    session: &InferenceSession,
    database: &Database,
    query: &str,
    types: &[Type],
) -> Result<QueryReads, QueryReadsError> {
    let tree = match session.stored_tree(query, types).await? {
        Some(tree) => tree,
        None => {
            session.restart_read_only().await?;
            printed_tree::printed_tree(database, query, types).await?
        }
    };
    let mut exploration = Exploration::start(query, &tree)?;
    loop {
        let pending = exploration.pending();
        if pending.is_empty() {
            return Ok(exploration.finish());
        }
        let relations = catalog_facts::relations(session, &pending.relations).await?;
        let functions = catalog_facts::functions(session, &pending.functions).await?;
        let operators = catalog_facts::operators(session, &pending.operators).await?;
        let bodies = session.body_trees(&pending.bodies).await?;
        exploration.supply(relations, functions, &operators, &bodies)?;
    }
}
