//! Statements that write: the demo's data, not the streams'.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio_postgres::SimpleQueryMessage;

use crate::postgres::connect::Private;
use crate::postgres::{Database, DatabaseError};

/// A connection of its own for running SQL text, opened when needed and again when it was lost. Clones share it.
#[derive(Clone)]
pub struct Scripts {
    database: Database,
    /// Held for the length of a statement: one at a time.
    connection: Arc<Mutex<Option<Private>>>,
}

impl std::fmt::Debug for Scripts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripts").finish_non_exhaustive()
    }
}

impl Database {
    /// A way to run SQL text that may write; never text from outside.
    pub fn scripts(&self) -> Scripts {
        Scripts {
            database: self.clone(),
            connection: Arc::default(),
        }
    }
}

impl Scripts {
    /// Runs one statement, or several separated by semicolons, and returns how many rows the last one changed.
    ///
    /// # Errors
    /// The database is away, or refuses; the next call connects anew.
    pub async fn execute(&self, sql: &str) -> Result<u64, DatabaseError> {
        let mut connection = self.connection.lock().await;
        let private = match connection
            .take()
            .filter(|private| !private.client.is_closed())
        {
            Some(private) => private,
            None => self.database.private_direct().await?,
        };
        let messages = private
            .client
            .simple_query(sql)
            .await
            .map_err(|error| DatabaseError::of("a script", &error))?;
        // Put back only after a success: a connection that failed in the middle of something is not used again.
        *connection = Some(private);
        let counts = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::CommandComplete(count) => Some(*count),
            _ => None,
        });
        Ok(counts.last().unwrap_or_default())
    }
}
