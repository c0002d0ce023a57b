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
use crate::stream_inference::InferenceAccess;

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

    /// Returns the same with the way from each table to the keys, [`QueryReads::keys`]. The first
    /// `key_parts` parameters are arrays of key parts; 0 is a stream without a key.
    ///
    /// # Errors
    /// Returns the errors of [`Database::query_reads`].
    pub async fn query_lookups(
        &self,
        query: &str,
        key_parts: usize,
    ) -> Result<QueryReads, QueryReadsError> {
        let access = InferenceAccess::TemporaryFunctions;
        self.query_lookups_with(query, key_parts, access).await
    }

    /// Returns what [`Database::query_lookups`] does, within the limits of `access`.
    pub(super) async fn query_lookups_with(
        &self,
        query: &str,
        key_parts: usize,
        access: InferenceAccess,
    ) -> Result<QueryReads, QueryReadsError> {
        let examination = Examination {
            key_parts: Some(key_parts),
            access,
            ..Examination::of(query, &[])
        };
        examination.run(self).await
    }

    /// Returns the same for a query whose first parameters have these types.
    pub(super) async fn query_reads_typed(
        &self,
        query: &str,
        types: &[Type],
    ) -> Result<QueryReads, QueryReadsError> {
        Examination::of(query, types).run(self).await
    }

    /// Returns the same without creating anything, not even for a moment. A function whose body is
    /// text hides what it reads.
    ///
    /// # Errors
    /// The same errors as [`Database::query_reads`].
    pub(super) async fn printed_query_reads(
        &self,
        query: &str,
    ) -> Result<QueryReads, QueryReadsError> {
        let examination = Examination {
            access: InferenceAccess::ParseOnly,
            ..Examination::of(query, &[])
        };
        examination.run(self).await
    }
}

/// What is asked about a query.
#[derive(Debug, Clone, Copy)]
struct Examination<'a> {
    query: &'a str,
    /// The types of the first parameters.
    types: &'a [Type],
    /// The number of key parts, if the ways from the tables to the keys are asked for.
    key_parts: Option<usize>,
    access: InferenceAccess,
}

impl<'a> Examination<'a> {
    fn of(query: &'a str, types: &'a [Type]) -> Self {
        Self {
            query,
            types,
            key_parts: None,
            access: InferenceAccess::TemporaryFunctions,
        }
    }

    async fn run(self, database: &Database) -> Result<QueryReads, QueryReadsError> {
        timeout(TOTAL_TIMEOUT, infer(database, self))
            .await
            .unwrap_or_else(|_| {
                let reason = "no answer while examining what a query reads";
                Err(DatabaseError::unavailable(reason).into())
            })
    }
}

async fn infer(
    database: &Database,
    examination: Examination<'_>,
) -> Result<QueryReads, QueryReadsError> {
    let session = match examination.access {
        InferenceAccess::TemporaryFunctions => InferenceSession::open(database).await?,
        InferenceAccess::ParseOnly => InferenceSession::open_read_only(database).await?,
    };
    let major = session.server_major().await?;
    if major > NEWEST_MAJOR {
        return Err(QueryReadsError::UnknownVersion { major });
    }
    let result = explore(&session, database, examination).await;
    session.close().await;
    result
}

async fn explore(
    session: &InferenceSession,
    database: &Database,
    examination: Examination<'_>,
) -> Result<QueryReads, QueryReadsError> {
    let Examination {
        query,
        types,
        key_parts,
        access,
    } = examination;
    let stored = match access {
        InferenceAccess::TemporaryFunctions => session.stored_tree(query, types).await?,
        InferenceAccess::ParseOnly => None,
    };
    let tree = match stored {
        Some(tree) => tree,
        None => {
            session.restart_read_only().await?;
            printed_tree::printed_tree(database, query, types).await?
        }
    };
    let mut exploration = Exploration::start(query, &tree)?;
    if let Some(key_parts) = key_parts {
        exploration.prove_keys(key_parts);
    }
    loop {
        let mut pending = exploration.pending();
        if pending.is_empty() {
            return Ok(exploration.finish());
        }
        if access == InferenceAccess::ParseOnly {
            // Their trees could be had by creating them again alone; so they stay hidden.
            pending.bodies.clear();
        }
        exploration.supply(catalog_facts::read(session, &pending).await?)?;
    }
}
