//! The source of read permissions. A simulator implements it in tests.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::definition::Stream;
use crate::stream_status::StreamProblem;
use latido_base::ident::{Key, UserId};

/// The error for a failed authorisation query. Its creator makes sure that it contains no
/// credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PermissionLookupError {
    /// The permission is unknown now; a later attempt may succeed.
    #[error("the authorisation query failed: {0}")]
    Unavailable(Arc<str>),
    /// The database refuses the query for every user and key.
    #[error("the authorisation query is refused: {0}")]
    Broken(StreamProblem),
}

/// The future that [`PermissionSource::allowed`] returns.
pub type PermissionFuture<'a> =
    Pin<Box<dyn Future<Output = Result<bool, PermissionLookupError>> + Send + 'a>>;

/// The future that [`PermissionSource::allowed_batch`] returns.
pub type PermissionBatchFuture<'a> =
    Pin<Box<dyn Future<Output = Vec<Result<bool, PermissionLookupError>>> + Send + 'a>>;

/// A question to a stream's authorisation query: everything that the query is shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PermissionQuestion<'a> {
    /// The user who wants to read.
    pub user: &'a UserId,
    /// The claims of the user's token, as a JSON object. `None` if the query takes none, or if the
    /// user has no token; then it is shown an object without members.
    pub claims: Option<&'a str>,
    /// The key without parameters.
    pub key: &'a Key,
}

/// Omits the claims, which are personal data.
impl fmt::Debug for PermissionQuestion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PermissionQuestion")
            .field("user", &self.user)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// A source of permissions: it runs a stream's authorisation query.
pub trait PermissionSource: Send + Sync {
    /// Returns whether the user may read the key of `stream`. Called only for streams with such a
    /// query; the implementation has its own time-out.
    fn allowed<'a>(
        &'a self,
        stream: &'a Stream,
        question: PermissionQuestion<'a>,
    ) -> PermissionFuture<'a>;

    /// Returns the answer to each of these questions, in their order. Returns `None` if the source
    /// cannot answer several at once.
    fn allowed_batch<'a>(
        &'a self,
        _stream: &'a Stream,
        _questions: &'a [PermissionQuestion<'a>],
    ) -> Option<PermissionBatchFuture<'a>> {
        None
    }
}
