//! Records what each query reads when its triggers are installed, so that a server can compare
//! without asking again. The record is a part of the schema's comment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::pool::Database;
use crate::query_reads::QueryReadsError;
use crate::quote::{quote_ident, quote_literal};
use crate::read_gap::{ReadGap, ReadTable, read_gaps};
use crate::triggers::generate::schema_comment;
use crate::triggers::recorded_inference::RecordedInference;
use crate::triggers::script::{ScriptSection, sha256_hex};
use crate::triggers::watched_table::WatchedTable;
use crate::triggers::{DiscoveryError, discover};
use latido_stream::{Catalog, Stream};

/// What stands before the record in the schema's comment.
const MARKER: &str = "\nreads: ";

const COMMENT_SQL: &str =
    "SELECT pg_catalog.obj_description(n.oid, 'pg_namespace') FROM pg_catalog.pg_namespace n
WHERE n.nspname OPERATOR(pg_catalog.=) $1";

/// The reads of all streams, by the stream's name.
type Record = BTreeMap<String, RecordedStream>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RecordedStream {
    /// The SHA-256 hash of the query's text.
    query: String,
    tables: Vec<ReadTable>,
    /// True if a function hides what it reads.
    #[serde(default)]
    hidden: bool,
    /// What the query decided about its stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inferred: Option<RecordedInference>,
}

/// What was recorded about all streams when their triggers were installed.
#[derive(Debug, Default)]
pub struct RecordedStreams(Record);

impl RecordedStreams {
    /// Completes a stream that leaves its keys or tables to its query. Returns `false` if nothing is
    /// recorded, or if it was recorded for another query.
    pub fn complete(&self, stream: &mut Stream) -> bool {
        let recorded = self.0.get(&stream.name);
        let same = recorded.filter(|r| r.query == sha256_hex(defining_query(stream)));
        let inferred = same.and_then(|recorded| recorded.inferred.as_ref());
        inferred.is_some_and(|inferred| inferred.complete(stream))
    }

    /// Returns what the last installation recorded, also for another query, and whether the query
    /// is the same.
    pub(crate) fn find(&self, stream: &Stream) -> Option<(&RecordedInference, bool)> {
        let recorded = self.0.get(&stream.name)?;
        let is_same = recorded.query == sha256_hex(defining_query(stream));
        Some((recorded.inferred.as_ref()?, is_same))
    }
}

impl Database {
    /// Returns the section that records what the queries read, or `None` if that is recorded
    /// already. Logs each difference from the configuration. A query that is not understood is
    /// left out.
    pub(super) async fn reads_section(
        &self,
        catalog: &Catalog,
        is_schema_replaced: bool,
    ) -> Result<Option<ScriptSection>, DatabaseError> {
        let mut record = Record::new();
        for (_, stream) in catalog.iter() {
            if let Some(reads) = self.record_stream(stream).await? {
                record.insert(stream.name.clone(), reads);
            }
        }
        if !is_schema_replaced && self.recorded_reads().await?.as_ref() == Some(&record) {
            return Ok(None);
        }
        let json = serde_json::to_string(&record).unwrap_or_default();
        let comment = quote_literal(&format!("{}{MARKER}{json}", schema_comment()));
        let instance = self.instance();
        let schema = quote_ident(instance.as_str());
        Ok(Some(ScriptSection {
            subject: format!("schema {instance}"),
            sql: format!("COMMENT ON SCHEMA {schema} IS {comment};\n"),
        }))
    }

    async fn record_stream(
        &self,
        stream: &Stream,
    ) -> Result<Option<RecordedStream>, DatabaseError> {
        let query = defining_query(stream);
        match self.query_reads(query).await {
            Ok(reads) => Ok(Some(RecordedStream {
                query: sha256_hex(query),
                tables: ReadTable::all(&reads),
                hidden: reads.hidden_functions().next().is_some(),
                inferred: RecordedInference::of_stream(stream),
            })),
            Err(QueryReadsError::Database(error)) => Err(error),
            Err(error) => {
                tracing::warn!(stream = stream.name, %error, "not known what the query reads");
                Ok(None)
            }
        }
    }

    /// Returns what was recorded when the triggers were installed.
    ///
    /// # Errors
    /// Returns an error if the database fails.
    pub async fn recorded_streams(&self) -> Result<RecordedStreams, DatabaseError> {
        let record = self.recorded_reads().await?;
        Ok(RecordedStreams(record.unwrap_or_default()))
    }

    async fn recorded_reads(&self) -> Result<Option<Record>, DatabaseError> {
        let comment = self.schema_comment_now().await?.unwrap_or_default();
        let json = comment.split_once(MARKER).map(|(_, json)| json);
        Ok(json.and_then(|json| serde_json::from_str(json).ok()))
    }

    /// Returns the comment of the installation's schema, if there is one.
    pub(super) async fn schema_comment_now(&self) -> Result<Option<String>, DatabaseError> {
        let rows = self
            .query(
                "a look at the recorded reads",
                COMMENT_SQL,
                &[(&self.instance().as_str(), Type::NAME)],
            )
            .await?;
        Ok(rows.first().and_then(|row| row.try_get(0).ok().flatten()))
    }

    /// Compares the configuration with what `latido install` recorded. Returns each difference with
    /// its stream. Streams without a record have none.
    ///
    /// # Errors
    /// Returns an error if the database fails.
    pub async fn recorded_read_gaps(
        &self,
        catalog: &Catalog,
    ) -> Result<Vec<(String, ReadGap)>, DatabaseError> {
        let Some(record) = self.recorded_reads().await? else {
            return Ok(Vec::new());
        };
        let mut gaps = Vec::new();
        for (_, stream) in catalog.iter() {
            let Some(recorded) = record.get(&stream.name) else {
                continue;
            };
            let found = if recorded.query == sha256_hex(defining_query(stream)) {
                let watched = watched_tables(self, stream).await?;
                let tables = without_unusable(self, stream, recorded.tables.clone()).await?;
                read_gaps(&tables, &watched, recorded.hidden)
            } else {
                vec![ReadGap::QueryChanged]
            };
            gaps.extend(found.into_iter().map(|gap| (stream.name.clone(), gap)));
        }
        Ok(gaps)
    }
}

/// Returns the query that defines the numbers: the one that verifies another, if there is one. The
/// other reads sums that triggers of their own keep.
pub(crate) fn defining_query(stream: &Stream) -> &str {
    let check = stream.verification.as_ref();
    check.map_or(&stream.query, |check| &check.query)
}

/// Returns the tables of a stream that can have triggers.
pub(crate) async fn watched_tables(
    database: &Database,
    stream: &Stream,
) -> Result<Vec<WatchedTable>, DatabaseError> {
    let mut watched = Vec::new();
    for table in &stream.tables {
        match discover::discover_table(database, stream, table).await {
            Ok(found) => watched.push(found),
            Err(DiscoveryError::Table(_)) => {}
            Err(DiscoveryError::Database(error)) => return Err(error),
        }
    }
    Ok(watched)
}

/// Leaves out tables that the stream lists with a mistake, such as a column that does not exist: that
/// is reported, and they are no tables that it does not list.
pub(crate) async fn without_unusable(
    database: &Database,
    stream: &Stream,
    mut tables: Vec<ReadTable>,
) -> Result<Vec<ReadTable>, DatabaseError> {
    for table in &stream.tables {
        match discover::discover_table(database, stream, table).await {
            Ok(_) => continue,
            Err(DiscoveryError::Table(_)) => {}
            Err(DiscoveryError::Database(error)) => return Err(error),
        }
        match discover::find_relation(database, &stream.name, &table.name).await {
            Ok((schema, name)) => {
                tables.retain(|read| (&read.schema, &read.table) != (&schema, &name));
            }
            Err(DiscoveryError::Table(_)) => {}
            Err(DiscoveryError::Database(error)) => return Err(error),
        }
    }
    Ok(tables)
}
