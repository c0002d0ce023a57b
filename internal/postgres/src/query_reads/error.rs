//! The reasons why it is not known what a query reads.

use latido_inference::Refusal;

use crate::error::DatabaseError;

/// The reason why it is not known what a query reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryReadsError {
    /// The query cannot be that of a stream, or its tree is not understood.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The server is newer than every version whose parse trees are known.
    #[error("the parse trees of PostgreSQL {major} are not known yet")]
    UnknownVersion {
        /// The server's major version.
        major: u32,
    },
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<latido_inference::UnreadableTree> for QueryReadsError {
    fn from(error: latido_inference::UnreadableTree) -> Self {
        Self::Refused(error.into())
    }
}
