//! The open transactions of the database, from its table of locks.

use crate::error::DatabaseError;
use crate::pool::Database;
use crate::sources::to_read_error;
use latido_stream::{OpenTransaction, ReadFuture, TransactionSource};

/// Every transaction holds the lock of its virtual id, or of its id once it is prepared. The table
/// of locks does not name the database of these locks, but that of their sessions is known, without
/// any grant. A prepared transaction has no session; one of another database is waited for without
/// need. Autovacuum, which has no user, changes no row.
///
/// The snapshot of the oldest transaction would not do: a REPEATABLE READ transaction has no id
/// before it writes.
const OPEN_TRANSACTIONS_SQL: &str = "
    SELECT DISTINCT l.virtualtransaction, l.pid IS NULL
      FROM pg_catalog.pg_locks AS l LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid OPERATOR(pg_catalog.=) l.pid
     WHERE l.locktype IN ('virtualxid', 'transactionid')
       AND (l.pid IS NULL
            OR a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
               AND a.usesysid IS NOT NULL AND l.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid())";

impl TransactionSource for Database {
    fn open_transactions(&self) -> ReadFuture<'_, Vec<OpenTransaction>> {
        Box::pin(async move {
            let what = "the open transactions";
            let rows = self.query(what, OPEN_TRANSACTIONS_SQL, &[]).await;
            let rows = rows.map_err(to_read_error)?;
            let transactions = rows.iter().map(|row| {
                let id: String = row.try_get(0)?;
                Ok(OpenTransaction {
                    id: id.into(),
                    is_prepared: row.try_get(1)?,
                })
            });
            let transactions: Result<Vec<_>, _> = transactions.collect();
            transactions.map_err(|error| to_read_error(DatabaseError::from_driver(what, &error)))
        })
    }
}
