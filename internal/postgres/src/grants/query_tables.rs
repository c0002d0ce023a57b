//! The tables that a stream's own queries read beside those that the stream lists.

use crate::authorize::authorize_types;
use crate::error::DatabaseError;
use crate::pool::Database;
use crate::query_reads::QueryReadsError;
use crate::read_gap::ReadTable;
use crate::triggers::{DiscoveryError, discover};
use latido_inference::Note;
use latido_stream::{Stream, ZoneRule};

/// Returns what the stream's query, its `authorize` query and its time zone query read. A view
/// counts as well as the tables behind it, which its owner reads unless it is one of
/// `security_invoker`. A query whose tree cannot be understood gives nothing: the doctor says so.
pub(super) async fn query_tables(
    database: &Database,
    stream: &Stream,
) -> Result<Vec<ReadTable>, DatabaseError> {
    let zones = match &stream.zone_rule {
        ZoneRule::Query { sql, .. } => Some(sql.as_str()),
        ZoneRule::Fixed(_) => None,
    };
    let history = stream.history_query.as_deref();
    let authorize = stream.authorize_query.as_ref();
    let queries = [
        Some((stream.active_query(), Vec::new())),
        authorize.map(|query| (query.sql(), authorize_types(query))),
        zones.map(|sql| (sql, Vec::new())),
        history.map(|sql| (sql, Vec::new())),
    ];
    let mut tables = Vec::new();
    for (query, types) in queries.into_iter().flatten() {
        let reads = match database.query_reads_typed(query, &types).await {
            Ok(reads) => reads,
            Err(QueryReadsError::Database(error @ DatabaseError::Unavailable { .. })) => {
                return Err(error);
            }
            Err(_) => continue,
        };
        tables.extend(ReadTable::all(&reads));
        for note in &reads.notes {
            let (Note::View(name) | Note::MaterializedView(name) | Note::ForeignTable(name)) = note
            else {
                continue;
            };
            match discover::find_relation(database, &stream.name, name).await {
                Ok((schema, table)) => tables.push(ReadTable {
                    schema,
                    table,
                    columns: None,
                }),
                Err(DiscoveryError::Table(_)) => {}
                Err(DiscoveryError::Database(error)) => return Err(error),
            }
        }
    }
    Ok(tables)
}
