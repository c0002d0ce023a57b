//! The database as the source of rows, permissions and columns for the rest of the server.

use std::collections::HashMap;

use crate::error::DatabaseError;
use crate::pool::Database;
use latido_base::ident::Key;
use latido_stream::{
    Column, ColumnSource, HistoryLimits, LocalDay, PermissionBatchFuture, PermissionFuture,
    PermissionLookupError, PermissionQuestion, PermissionSource, ReadError, ReadFuture, ReadRow,
    SnapshotReader, Stream, TopicHistory,
};

impl SnapshotReader for Database {
    fn read<'a>(
        &'a self,
        stream: &'a Stream,
        keys: &'a [Key],
        todays: &'a [LocalDay],
    ) -> ReadFuture<'a, Vec<ReadRow>> {
        Box::pin(async move {
            let rows = match self.read_timed(stream, keys, todays).await {
                Ok(rows) => rows.into_iter(),
                Err(error) => return Err(self.diagnose_read(stream, error).await),
            };
            Ok(rows.map(|(row, took)| ReadRow { row, took }).collect())
        })
    }

    fn history<'a>(
        &'a self,
        stream: &'a Stream,
        keys: &'a [Key],
        todays: &'a [LocalDay],
        limits: HistoryLimits,
    ) -> ReadFuture<'a, Vec<TopicHistory>> {
        Box::pin(async move {
            match self.read_history(stream, keys, todays, limits).await {
                Ok(histories) => Ok(histories),
                Err(error) => Err(self.diagnose_history(stream, error).await),
            }
        })
    }

    fn mismatched_keys<'a>(
        &'a self,
        stream: &'a Stream,
        keys: &'a [Key],
        todays: &'a [LocalDay],
    ) -> ReadFuture<'a, Vec<Key>> {
        Box::pin(async move {
            self.mismatched_keys(stream, keys, todays)
                .await
                .map_err(to_read_error)
        })
    }

    fn zones<'a>(
        &'a self,
        stream: &'a Stream,
        keys: &'a [Key],
    ) -> ReadFuture<'a, HashMap<Key, String>> {
        Box::pin(async move { self.zones(stream, keys).await.map_err(to_read_error) })
    }
}

pub(super) fn to_read_error(error: DatabaseError) -> ReadError {
    match error {
        DatabaseError::Unavailable { .. } => ReadError::Unavailable(error.to_string()),
        DatabaseError::Rejected { .. }
        | DatabaseError::RowSecurity { .. }
        | DatabaseError::KeyMismatch(_)
        | DatabaseError::Unfit { .. } => ReadError::Rejected(error.to_string()),
    }
}

impl PermissionSource for Database {
    fn allowed<'a>(
        &'a self,
        stream: &'a Stream,
        question: PermissionQuestion<'a>,
    ) -> PermissionFuture<'a> {
        Box::pin(async move {
            self.sleep().touch();
            let PermissionQuestion { user, claims, key } = question;
            let keys = std::slice::from_ref(key);
            match self
                .allowed_keys_by_claims(stream, user, claims, keys)
                .await
            {
                Ok(keys) => Ok(keys.contains(key)),
                // The id of the user, the key or a claim is none that the query can look up.
                Err(error) if error.is_data_exception() => Ok(false),
                Err(error) => Err(self.diagnose_lookup(stream, error).await),
            }
        })
    }

    fn allowed_batch<'a>(
        &'a self,
        stream: &'a Stream,
        questions: &'a [PermissionQuestion<'a>],
    ) -> Option<PermissionBatchFuture<'a>> {
        Some(Box::pin(self.allowed_batch(stream, questions)))
    }
}

impl Database {
    /// Classifies the error of an authorisation query. It concerns the stream if the query is
    /// invalid, also without keys.
    async fn diagnose_lookup(
        &self,
        stream: &Stream,
        error: DatabaseError,
    ) -> PermissionLookupError {
        if error.is_refused_authorize()
            && let Err(refused) = self.probe_permissions(stream).await
            && refused.is_refused_authorize()
        {
            return PermissionLookupError::Broken(refused.stream_problem());
        }
        PermissionLookupError::Unavailable(error.to_string().into())
    }
}

impl ColumnSource for Database {
    fn columns(&self, stream: &Stream) -> Option<Vec<Column>> {
        self.columns(stream)
    }

    fn history_columns(&self, stream: &Stream) -> Option<Vec<Column>> {
        self.history_columns(stream)
    }
}
