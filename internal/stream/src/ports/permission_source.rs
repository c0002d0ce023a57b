//! The source of read permissions. A simulator implements it in tests.

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

/// A source of permissions: it runs a stream's authorisation query.
pub trait PermissionSource: Send + Sync {
    /// Returns whether `user` may read `key` of `stream`. Called only for streams with such a
    /// query; the implementation has its own time-out.
    fn allowed<'a>(
        &'a self,
        stream: &'a Stream,
        user: &'a UserId,
        key: &'a Key,
    ) -> PermissionFuture<'a>;
}
