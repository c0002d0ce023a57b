//! Checks a stream's statements in exactly the form that is sent, without keys.
//!
//! A statement that fails even without keys fails for every key: a missing column or right, a
//! locked table, a division by a constant zero. A statement that fails only with keys works for the
//! others. SQLSTATE alone cannot tell the two apart.

use crate::error::{DatabaseError, ROW_SECURITY_REMEDY};
use crate::pool::Database;
use crate::prepared_stream::PreparedStream;
use crate::topic_arrays;
use latido_base::ident::{Key, UserId};
use latido_stream::{ReadError, Stream, StreamProblem};

impl Database {
    /// Describes all statements of the stream anew, and runs each of them without keys.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`] if a later attempt may succeed. Any other error means that the
    /// stream cannot work until something changes.
    pub async fn probe_stream(&self, stream: &Stream) -> Result<(), DatabaseError> {
        self.prepare_stream(stream).await.map(drop)
    }

    /// Checks the stream's `authorize` query, if it has one. A value that it cannot convert is the
    /// fault of the user's id, which is empty here, or of the claims, which are missing.
    ///
    /// # Errors
    /// The same errors as [`Database::probe_stream`].
    pub async fn probe_permissions(&self, stream: &Stream) -> Result<(), DatabaseError> {
        if stream.takes_claims() {
            self.prepare_stream(stream).await?;
        }
        match self.allowed_keys(stream, &UserId::new(""), &[]).await {
            Err(error) if error.is_data_exception() => Ok(()),
            result => result.map(drop),
        }
    }

    /// Runs each of the stream's statements without keys.
    pub(super) async fn run_without_keys(
        &self,
        stream: &Stream,
        prepared: &PreparedStream,
    ) -> Result<(), DatabaseError> {
        let what = format!("the query of stream {}", stream.name);
        self.run_prepared(prepared, &what, &prepared.read, &[], &[])
            .await?;
        if let Some(statement) = &prepared.mismatch {
            let what = format!("the check of stream {}", stream.name);
            self.run_prepared(prepared, &what, statement, &[], &[])
                .await?;
        }
        if let Some((sql, arrays)) = &prepared.zones_query {
            let what = format!("the time zone query of stream {}", stream.name);
            let columns = topic_arrays::columns(arrays, &[], Key::parts);
            let params = topic_arrays::borrow(&columns);
            self.query(&what, sql, &params).await?;
        }
        Ok(())
    }

    /// Classifies the error of a history, as [`Database::diagnose_read`] does that of a read.
    pub(super) async fn diagnose_history(
        &self,
        stream: &Stream,
        error: DatabaseError,
    ) -> ReadError {
        let prepared = self.cached_prepared(stream);
        let history = prepared.and_then(|prepared| prepared.history.clone().ok().flatten());
        let failed_without_keys = match (&error, history) {
            (DatabaseError::Rejected { .. }, Some(history)) => {
                self.run_history_without_keys(stream, &history).await
            }
            _ => Err(error.clone()),
        };
        into_read_error(error, failed_without_keys)
    }

    /// Classifies the error of a read: it concerns one of its keys, the stream, or the database.
    pub(super) async fn diagnose_read(&self, stream: &Stream, error: DatabaseError) -> ReadError {
        let failed_without_keys = match (&error, self.cached_prepared(stream)) {
            (DatabaseError::Rejected { .. }, Some(prepared)) => {
                self.run_without_keys(stream, &prepared).await
            }
            // The query could never be prepared, or has another form than before, or row-level
            // security filters one of its tables.
            _ => Err(error.clone()),
        };
        into_read_error(error, failed_without_keys)
    }
}

/// Returns the error of a statement that was run again without keys.
fn into_read_error(error: DatabaseError, without_keys: Result<(), DatabaseError>) -> ReadError {
    match without_keys {
        Ok(()) => ReadError::Rejected(error.to_string()),
        Err(away @ DatabaseError::Unavailable { .. }) => ReadError::Unavailable(away.to_string()),
        Err(refused) => ReadError::Broken(refused.stream_problem()),
    }
}

impl DatabaseError {
    /// Describes the error as the problem of a stream.
    pub fn stream_problem(&self) -> StreamProblem {
        let summary = match self {
            Self::Unavailable { .. } => "the database does not answer".to_owned(),
            Self::Rejected { what, sqlstate, .. } => {
                format!("the database refuses {what} (SQLSTATE {sqlstate})")
            }
            Self::RowSecurity { what, .. } => format!(
                "row-level security would hide rows from the role of the server, so the database \
                 refuses {what} (SQLSTATE 42501): {ROW_SECURITY_REMEDY}"
            ),
            Self::KeyMismatch(mismatch) => format!(
                "a key column of stream {} has another type than {} of its query",
                mismatch.stream, mismatch.parameter
            ),
            Self::Unfit { what, .. } => format!("{what} does not have the form of a stream"),
        };
        StreamProblem {
            summary,
            detail: self.to_string(),
        }
    }

    /// Returns whether a value cannot be converted or computed (SQLSTATE class 22): another value
    /// may work.
    pub(super) fn is_data_exception(&self) -> bool {
        self.sqlstate().is_some_and(|state| state.starts_with("22"))
    }

    /// Returns whether an `authorize` query with this error fails for every user and key.
    pub fn is_refused_authorize(&self) -> bool {
        self.is_invalid_statement() || matches!(self, Self::Unfit { .. })
    }

    /// Returns whether the statement names something that does not exist, or lacks a right (SQLSTATE
    /// class 42): it fails for every value.
    pub(super) fn is_invalid_statement(&self) -> bool {
        self.sqlstate().is_some_and(|state| state.starts_with("42"))
    }
}
