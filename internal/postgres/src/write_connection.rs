//! A dedicated connection for an app's statements that write, one at a time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::connect::DedicatedConnection;
use crate::{Database, DatabaseError};

/// The time limit for one write, from start to finish.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A dedicated connection, opened on demand and again after a loss. Clones share it.
#[derive(Clone)]
pub struct WriteConnection {
    database: Database,
    /// The connection. The lock is held during a statement, so that only one runs at a time.
    connection: Arc<Mutex<Option<DedicatedConnection>>>,
}

impl Database {
    /// Returns a connection to the listener's address on which statements may write.
    pub fn write_connection(&self) -> WriteConnection {
        WriteConnection {
            database: self.clone(),
            connection: Arc::default(),
        }
    }
}

impl WriteConnection {
    /// Runs one piece of work on the connection in a transaction, and opens the connection if
    /// necessary. A connection that failed is not used again. `label` names the work in errors.
    ///
    /// # Errors
    /// Returns an error if the database is unavailable, rejects a statement, or does not answer
    /// within 10 s.
    pub async fn run<T>(
        &self,
        label: &str,
        work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, DatabaseError> {
        let mut current = self.connection.lock().await;
        let is_open = |private: &DedicatedConnection| !private.client.is_closed();
        let private = match current.take().filter(is_open) {
            Some(private) => private,
            None => self.database.open_dedicated_direct().await?,
        };
        // As in the pools: where a policy would hide rows from a write, it fails instead.
        let settings = self.database.direct_endpoint().local_read_settings();
        let transaction = async {
            let begin = format!("BEGIN; {settings}");
            private.client.batch_execute(&begin).await?;
            let value = work(&private.client).await?;
            private.client.batch_execute("COMMIT").await?;
            Ok(value)
        };
        let result = timeout(WRITE_TIMEOUT, transaction).await;
        let result =
            result.map_err(|_| DatabaseError::unavailable("no answer to a write in time"))?;
        let value = result.map_err(|error| DatabaseError::from_driver(label, &error))?;
        *current = Some(private);
        Ok(value)
    }
}

impl fmt::Debug for WriteConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteConnection").finish_non_exhaustive()
    }
}
