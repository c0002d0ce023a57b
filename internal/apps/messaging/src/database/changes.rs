//! Reads the change log: every change once, none missed, in order within each conversation.
//!
//! Row ids alone are not enough, because a transaction that got its id early may commit late. A
//! cursor is therefore a database snapshot. A read returns the changes that the cursor's snapshot
//! did not see and that the read's own snapshot sees. The two snapshots meet without a gap, however
//! long a transaction takes.
//!
//! A row of the log is a hint. What it says is compared with the tables in the same statement, and
//! a row that they contradict is passed over: a message's change belongs to the message's own
//! conversation, and an addition or removal counts if the tables show it.

use latido_postgres::{DatabaseError, Row, ToSql, Type};
use uuid::Uuid;

use crate::database::messaging_database::{MessagingDatabase, values};

/// The maximum number of changes in one page. More may follow.
const PAGE_SIZE: i64 = 200;
const CHANGES_SQL: &str = include_str!("changes.sql");

/// The position of a reader in the change log. A reader without one starts with the changes from
/// now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeCursor {
    /// The visible transactions, as the text of a `pg_snapshot`.
    snapshot: String,
    /// The highest id that was visible. A transaction that is newer than the snapshot has higher
    /// ids, because it draws them after its transaction id. Only the transactions that were running
    /// at the time must be looked up by transaction id.
    last_id: i64,
    /// Set between pages: the snapshot that bounds them, and the id of the last change returned.
    page: Option<(String, i64)>,
}

/// One row of the table `messaging_changes`.
#[derive(Debug, Clone, PartialEq)]
pub struct MessagingChange {
    /// The row id, ascending within a conversation.
    pub id: i64,
    /// The kind of change, for example `message_added`.
    pub kind: String,
    /// The conversation that changed.
    pub conversation: Uuid,
    /// The message that the change is about.
    pub message: Option<Uuid>,
    /// The user that the change is about.
    pub user: Option<Uuid>,
    /// Further details as JSON text.
    pub detail: String,
    /// The time of the change, in microseconds since the Unix epoch.
    pub at_us: i64,
}

/// One page of the change log.
#[derive(Debug)]
pub struct ChangePage {
    /// The changes in ascending order of their ids.
    pub changes: Vec<MessagingChange>,
    /// The cursor for the next read.
    pub cursor: ChangeCursor,
    /// `true` if more changes may be available already.
    pub has_more: bool,
}

impl MessagingDatabase {
    /// Returns a cursor at the end of the log.
    pub async fn cursor(&self) -> Result<ChangeCursor, DatabaseError> {
        let sql = "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text, coalesce(pg_catalog.max(id), 0::bigint) \
                   FROM messaging_changes";
        let rows = self.query("the last change", sql, &[]).await?;
        let row = rows
            .first()
            .ok_or_else(|| DatabaseError::unfit("the last change", "one row", "none"))?;
        Ok(ChangeCursor {
            snapshot: read_text(row, 0)?,
            last_id: row.try_get(1).unwrap_or_default(),
            page: None,
        })
    }

    /// Returns the changes after the cursor, at most 200.
    pub async fn changes(&self, cursor: &ChangeCursor) -> Result<ChangePage, DatabaseError> {
        let upper_snapshot = cursor
            .page
            .as_ref()
            .map(|(upper_snapshot, _)| upper_snapshot);
        let after = cursor.page.as_ref().map_or(-1, |(_, after)| *after);
        let params = values![cursor.snapshot => TEXT, cursor.last_id => INT8, upper_snapshot => TEXT, after => INT8, PAGE_SIZE => INT8];
        let rows = self.query("the changes", CHANGES_SQL, params).await?;
        let row = rows
            .first()
            .ok_or_else(|| DatabaseError::unfit("the changes", "a row", "none"))?;
        let upper_snapshot = read_text(row, 0)?;
        let found: Vec<(MessagingChange, bool)> =
            rows.iter().filter_map(MessagingChange::read).collect();
        let highest = found.last().map_or(after, |(change, _)| change.id);
        let more = found.len() == usize::try_from(PAGE_SIZE).unwrap_or(usize::MAX);
        let changes = found
            .into_iter()
            .filter_map(|(change, is_confirmed)| is_confirmed.then_some(change))
            .collect();
        let cursor = if more {
            ChangeCursor {
                page: Some((upper_snapshot, highest)),
                ..cursor.clone()
            }
        } else {
            ChangeCursor {
                snapshot: upper_snapshot,
                last_id: cursor.last_id.max(highest),
                page: None,
            }
        };
        Ok(ChangePage {
            changes,
            cursor,
            has_more: more,
        })
    }

    /// Deletes changes older than a day. No running server is that far behind.
    pub async fn delete_old_changes(&self) -> Result<(), DatabaseError> {
        self.query("old changes", "SELECT messaging_forget()", &[])
            .await
            .map(drop)
    }
}

impl MessagingChange {
    /// Reads a change, and whether the tables confirm it. Returns `None` for the row that only
    /// carries the bounding snapshot.
    fn read(row: &Row) -> Option<(Self, bool)> {
        let change = Self {
            id: row.try_get::<_, Option<i64>>(1).ok()??,
            kind: row.try_get(2).ok()?,
            conversation: row.try_get(3).ok()?,
            message: row.try_get(4).ok()?,
            user: row.try_get(5).ok()?,
            detail: row
                .try_get::<_, Option<String>>(6)
                .ok()?
                .unwrap_or_default(),
            at_us: row.try_get(7).ok()?,
        };
        let is_confirmed = row.try_get::<_, Option<bool>>(8).ok()?.unwrap_or(false);
        Some((change, is_confirmed))
    }
}

fn read_text(row: &Row, column: usize) -> Result<String, DatabaseError> {
    row.try_get(column)
        .map_err(|error| DatabaseError::unfit("the changes", "a snapshot", error.to_string()))
}

/// Test cursors for in-memory stores: a cursor is then a position in a list.
#[cfg(any(test, feature = "testing"))]
impl ChangeCursor {
    /// Returns the position before the first change.
    pub fn test_start() -> Self {
        Self {
            snapshot: String::new(),
            last_id: 0,
            page: None,
        }
    }

    /// Returns the number of changes that the cursor has passed.
    pub fn test_position(&self) -> usize {
        usize::try_from(self.last_id).unwrap_or_default()
    }

    /// Returns the cursor after this many further changes.
    pub fn test_advanced(&self, by: usize) -> Self {
        Self {
            last_id: self.last_id + i64::try_from(by).unwrap_or_default(),
            ..self.clone()
        }
    }
}
