//! The built-in stream, which needs no configuration file.

use std::sync::OnceLock;

use latido_postgres::TableGrant;
use latido_stream::{Inference, KeyRoute, SourceTable, Stream, ZoneRule};

/// The name of the built-in stream. A stream of that name in `latido.toml` replaces it.
pub(super) const ESTADISTICAS: &str = "estadisticas";

const QUERY: &str = include_str!("../../../sql/estadisticas.sql");
const AUTHORIZE: &str = include_str!("../../../sql/authorize.sql");

/// The reads of `sql/authorize.sql`.
const AUTHORIZE_READS: [TableGrant; 2] = [
    TableGrant::new("negocios", "SELECT", &["id", "admin_negocio_id"]),
    TableGrant::new("usuarios", "SELECT", &["id", "rol"]),
];

/// The reads of `sql/history/estadisticas.sql` besides those of the built-in stream.
const HISTORY_READS: [TableGrant; 3] = [
    TableGrant::new("latido_history.cut", "SELECT", &["live_from"]),
    TableGrant::new("latido_history.closed", "SELECT", &[]),
    TableGrant::new("latido_history.deltas", "SELECT", &[]),
];

/// Returns whether this is the built-in stream, and not one of that name in `latido.toml`.
pub(crate) fn is_builtin(stream: &Stream) -> bool {
    stream.name == ESTADISTICAS && stream.query == QUERY
}

/// The remedy for a database in which the built-in stream cannot work.
pub(crate) const BUILTIN_REMEDY: &str = "the built-in stream estadisticas reads a table citas; \
     in a database without it, write streams of your own, or `builtin_streams = false` into latido.toml";

/// Returns what the queries in `sql/` read beyond the tables that these streams list.
pub(crate) fn builtin_reads(streams: &[Stream]) -> Vec<TableGrant> {
    let uses_authorize = |stream: &Stream| {
        let query = stream.authorize_query.as_ref();
        query.is_some_and(|query| query.sql().trim() == AUTHORIZE.trim())
    };
    let uses_history = |stream: &Stream| stream.query.contains("latido_history.");
    let mut reads = Vec::new();
    if streams.iter().any(uses_authorize) {
        reads.extend(AUTHORIZE_READS);
    }
    if streams.iter().any(uses_history) {
        reads.extend(HISTORY_READS);
    }
    reads
}

/// Returns the built-in stream with `zone` as its time zone.
pub(super) fn estadisticas(zone: &str) -> Stream {
    Stream {
        name: ESTADISTICAS.to_owned(),
        query: QUERY.to_owned(),
        verification: None,
        history_query: None,
        authorize_query: Some(AUTHORIZE.into()),
        zone_rule: ZoneRule::Fixed(zone.to_owned()),
        event: "stats".to_owned(),
        key_fields: vec!["negocio_id".to_owned()],
        params: Vec::new(),
        interval: None,
        tables: vec![SourceTable {
            name: "citas".to_owned(),
            route: KeyRoute::Columns(vec!["negocio_id".to_owned()]),
            columns: ["negocio_id", "fecha", "estado"]
                .map(ToOwned::to_owned)
                .to_vec(),
        }],
        key_types: OnceLock::new(),
        inference: Inference::default(),
        revision: 0,
    }
}
