//! Tries to refute the keys of a stream: copies a part of its tables, changes one row of the copies at
//! a time, and compares the keys whose row altered with those that the tables' routes find.
//!
//! Everything happens in temporary tables of a transaction that is rolled back. The real tables are
//! only read. A route that misses a key here is wrong; one that misses none may still be wrong for
//! rows that were not copied, so the report says how many changes altered anything.

mod changes;
mod copies;
mod printed;
mod routes;

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::error::DatabaseError;
use crate::pool::Database;
use changes::Outcome;
use copies::ShadowSession;
use latido_stream::Stream;

/// The time-out of the check of one stream.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(60);
/// The time for the changes of all tables, each of which gets the same share of what is left.
const CHANGES_TIME: Duration = Duration::from_secs(20);

/// What the check of one table found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShadowReport {
    /// The table's name, as configured.
    pub(crate) table: String,
    /// The number of its rows that were copied.
    pub(crate) copied: usize,
    /// The number of changes after which the rows of the stream were compared.
    pub(crate) tried: u32,
    /// The number of changes that broke a constraint, or after which the query failed or took too
    /// long.
    pub(crate) impossible: u32,
    /// The number of changes that altered a row of the stream. With none, nothing was tested.
    pub(crate) altered: u32,
    /// The first change whose keys were not all found.
    pub(crate) missed: Option<MissedKey>,
}

/// A change that altered a row of the stream whose key the table's route did not find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MissedKey {
    /// The change: `DELETE`, or the column that an UPDATE changed.
    pub(crate) change: String,
    /// The parts of the key.
    pub(crate) key: Vec<String>,
}

impl Database {
    /// Checks the routes of all tables of a stream. A table of which any change concerns every key is
    /// left out, since nothing can be missed.
    ///
    /// # Errors
    /// Returns an error if the copies cannot be made: this role may not create temporary tables, for
    /// example.
    pub(crate) async fn shadow_check(
        &self,
        stream: &Stream,
    ) -> Result<Vec<ShadowReport>, DatabaseError> {
        let check = async {
            let prepared = self.prepare_stream(stream).await?;
            let routes = routes::routes_of(self, stream).await?;
            let session = ShadowSession::open(self, stream, &prepared, routes).await?;
            let result = check_tables(&session).await;
            session.close().await;
            result
        };
        timeout(TOTAL_TIMEOUT, check).await.unwrap_or_else(|_| {
            let reason = "no answer while checking the keys of changes";
            Err(DatabaseError::unavailable(reason))
        })
    }
}

async fn check_tables(session: &ShadowSession<'_>) -> Result<Vec<ShadowReport>, DatabaseError> {
    let end = Instant::now() + CHANGES_TIME;
    let sample = session.sample_topics().await?;
    let before = session.rows(&sample).await?;
    let mut reports = Vec::new();
    let mut left = u32::try_from(session.tables().len()).unwrap_or(u32::MAX);
    for table in session.tables() {
        let start = Instant::now();
        let share = end.saturating_duration_since(start) / left.max(1);
        left = left.saturating_sub(1);
        let planned = session.planned_changes(table).await?;
        let mut report = ShadowReport {
            table: table.configured.clone(),
            copied: planned.copied,
            tried: 0,
            impossible: 0,
            altered: 0,
            missed: None,
        };
        for change in planned.changes {
            if start.elapsed() > share {
                break;
            }
            match session.try_change(table, &change, &sample, &before).await? {
                Outcome::Impossible => {
                    report.impossible += 1;
                    continue;
                }
                Outcome::Unaltered => {}
                Outcome::Altered { missed } => {
                    report.altered += 1;
                    let missed = missed.map(|key| MissedKey {
                        change: change.describe(),
                        key,
                    });
                    report.missed = report.missed.or(missed);
                }
            }
            report.tried += 1;
        }
        reports.push(report);
    }
    Ok(reports)
}
