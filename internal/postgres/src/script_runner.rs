//! Runs statements that write: for the demo's data, not for streams.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio_postgres::SimpleQueryMessage;

use crate::connect::DedicatedConnection;
use crate::{Database, DatabaseError};

/// A dedicated connection for SQL text, opened on demand and again after a loss. Clones share it.
#[derive(Clone)]
pub struct ScriptRunner {
    database: Database,
    /// The connection, locked for the length of a call, so that one script runs at a time.
    connection: Arc<Mutex<Option<DedicatedConnection>>>,
}

impl std::fmt::Debug for ScriptRunner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripts").finish_non_exhaustive()
    }
}

impl Database {
    /// Returns a runner for SQL text that may write. The text must never come from outside.
    pub fn script_runner(&self) -> ScriptRunner {
        ScriptRunner {
            database: self.clone(),
            connection: Arc::default(),
        }
    }
}

impl ScriptRunner {
    /// Runs one statement, or several separated by semicolons. Returns the number of rows that the
    /// last one changed.
    ///
    /// # Errors
    /// The database is unavailable or refuses a statement; the next call opens a new connection.
    pub async fn execute(&self, sql: &str) -> Result<u64, DatabaseError> {
        let mut connection = self.connection.lock().await;
        let private = match connection
            .take()
            .filter(|private| !private.client.is_closed())
        {
            Some(private) => private,
            None => self.database.open_dedicated_direct().await?,
        };
        let messages = private
            .client
            .simple_query(sql)
            .await
            .map_err(|error| DatabaseError::from_driver("a script", &error))?;
        // The connection is kept only after a success: one that failed in the middle of a script is
        // not used again.
        *connection = Some(private);
        let counts = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::CommandComplete(count) => Some(*count),
            _ => None,
        });
        Ok(counts.last().unwrap_or_default())
    }
}
