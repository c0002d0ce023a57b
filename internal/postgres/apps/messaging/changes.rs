//! What happened since the last look: every change once, none missed, in the order of each conversation.
//!
//! Numbers alone would not do: a transaction that drew its number early may commit late. A cursor therefore is a snapshot of the database,
//! and a look gives what this snapshot did not see and the look's own does. The two meet without a gap, however long a transaction takes.

use tokio_postgres::Row;
use uuid::Uuid;

use crate::postgres::DatabaseError;
use crate::postgres::apps::messaging::{Messages, values};
use tokio_postgres::types::{ToSql, Type};

/// Changes that one look gives; there may be more behind them.
const PAGE: i64 = 200;

/// How far a reader has come. None before it: the reader starts with what happens from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// What was seen: text of a `pg_snapshot`.
    snapshot: String,
    /// The highest number among what was seen. What is newer than the snapshot has a higher one, because a transaction draws its numbers
    /// after its id; so only the transactions that were running then need be looked for by id.
    last: i64,
    /// In the middle of a long stretch: the snapshot that bounds it, and the number of the last change given.
    page: Option<(String, i64)>,
}

/// One row of `messaging_changes`.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Rising within a conversation.
    pub id: i64,
    /// `message_added`, …
    pub kind: String,
    /// Where.
    pub conversation: Uuid,
    /// The message it is about.
    pub message: Option<Uuid>,
    /// The user it is about.
    pub user: Option<Uuid>,
    /// JSON text.
    pub detail: String,
    /// When, microseconds since the Unix epoch.
    pub at_us: i64,
}

/// What a look gave.
#[derive(Debug)]
pub struct Changes {
    /// In the order of their numbers.
    pub changes: Vec<Change>,
    /// From where to look next.
    pub cursor: Cursor,
    /// There may be more already.
    pub more: bool,
}

impl Messages {
    /// A cursor behind everything that has happened.
    pub async fn cursor(&self) -> Result<Cursor, DatabaseError> {
        let sql = "SELECT pg_current_snapshot()::text, coalesce(max(id), 0) FROM messaging_changes";
        let rows = self.rows("the last change", sql, &[]).await?;
        let row = rows
            .first()
            .ok_or_else(|| DatabaseError::unfit("the last change", "one row", "none"))?;
        Ok(Cursor {
            snapshot: text(row, 0)?,
            last: row.try_get(1).unwrap_or_default(),
            page: None,
        })
    }

    /// What happened behind the cursor, at most 200 at a time.
    pub async fn changes(&self, cursor: &Cursor) -> Result<Changes, DatabaseError> {
        let sql = "SELECT s.bound::text, c.id, c.kind, c.conversation_id, c.message_id, c.user_id, c.detail::text,
                          (extract(epoch FROM c.at) * 1000000)::bigint
                   FROM (SELECT coalesce($3::text::pg_snapshot, pg_current_snapshot()) AS bound) s
                   LEFT JOIN LATERAL (
                       SELECT * FROM messaging_changes c
                       WHERE (c.id > $2 OR c.xid = ANY (ARRAY(SELECT pg_snapshot_xip($1::text::pg_snapshot))))
                         AND NOT pg_visible_in_snapshot(c.xid, $1::text::pg_snapshot)
                         AND pg_visible_in_snapshot(c.xid, s.bound) AND c.id > $4
                       ORDER BY c.id LIMIT $5) c ON true
                   ORDER BY c.id";
        let bound = cursor.page.as_ref().map(|(bound, _)| bound);
        let after = cursor.page.as_ref().map_or(-1, |(_, after)| *after);
        let params = values![cursor.snapshot => TEXT, cursor.last => INT8, bound => TEXT, after => INT8, PAGE => INT8];
        let rows = self.rows("the changes", sql, params).await?;
        let row = rows
            .first()
            .ok_or_else(|| DatabaseError::unfit("the changes", "a row", "none"))?;
        let bound = text(row, 0)?;
        let changes: Vec<Change> = rows.iter().filter_map(Change::read).collect();
        let highest = changes.last().map_or(after, |change| change.id);
        let more = changes.len() == usize::try_from(PAGE).unwrap_or(usize::MAX);
        let cursor = if more {
            Cursor {
                page: Some((bound, highest)),
                ..cursor.clone()
            }
        } else {
            Cursor {
                snapshot: bound,
                last: cursor.last.max(highest),
                page: None,
            }
        };
        Ok(Changes {
            changes,
            cursor,
            more,
        })
    }

    /// Deletes what is older than a day: no server that runs is so far behind.
    pub async fn forget_old_changes(&self) -> Result<(), DatabaseError> {
        let sql = "WITH gone AS (DELETE FROM messaging_changes WHERE at < now() - interval '1 day' RETURNING 1)
                   SELECT count(*) FROM gone";
        self.rows("old changes", sql, &[]).await.map(drop)
    }
}

impl Change {
    /// None for the row that only tells the bound.
    fn read(row: &Row) -> Option<Self> {
        Some(Self {
            id: row.try_get::<_, Option<i64>>(1).ok()??,
            kind: row.try_get(2).ok()?,
            conversation: row.try_get(3).ok()?,
            message: row.try_get(4).ok()?,
            user: row.try_get(5).ok()?,
            detail: row.try_get(6).ok()?,
            at_us: row.try_get(7).ok()?,
        })
    }
}

fn text(row: &Row, column: usize) -> Result<String, DatabaseError> {
    row.try_get(column)
        .map_err(|error| DatabaseError::unfit("the changes", "a snapshot", error.to_string()))
}

/// For models of the store: a cursor that is a position in a list.
#[cfg(test)]
impl Cursor {
    pub(crate) fn fake() -> Self {
        Self {
            snapshot: String::new(),
            last: 0,
            page: None,
        }
    }

    pub(crate) fn fake_position(&self) -> usize {
        usize::try_from(self.last).unwrap_or_default()
    }

    pub(crate) fn fake_advanced(&self, by: usize) -> Self {
        Self {
            last: self.last + i64::try_from(by).unwrap_or_default(),
            ..self.clone()
        }
    }
}
