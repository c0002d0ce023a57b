//! The built-in stream, which needs no configuration file.

use std::sync::OnceLock;

use latido_stream::{SourceTable, Stream, ZoneRule};

/// The name of the built-in stream. A stream of that name in `latido.toml` replaces it.
pub(super) const ESTADISTICAS: &str = "estadisticas";

const QUERY: &str = include_str!("../../../sql/estadisticas.sql");

/// Returns whether this is the built-in stream, and not one of that name in `latido.toml`.
pub(crate) fn is_builtin(stream: &Stream) -> bool {
    stream.name == ESTADISTICAS && stream.query == QUERY
}

/// The remedy for a database in which the built-in stream cannot work.
pub(crate) const BUILTIN_REMEDY: &str = "the built-in stream estadisticas reads a table citas; \
     in a database without it, write `builtin_streams = false` into latido.toml";

/// Returns the built-in stream with `zone` as its time zone.
pub(super) fn estadisticas(zone: &str) -> Stream {
    Stream {
        name: ESTADISTICAS.to_owned(),
        query: QUERY.to_owned(),
        verification: None,
        authorize_query: Some(include_str!("../../../sql/authorize.sql").to_owned()),
        zone_rule: ZoneRule::Fixed(zone.to_owned()),
        event: "stats".to_owned(),
        key_field: "negocio_id".to_owned(),
        tables: vec![SourceTable {
            name: "citas".to_owned(),
            key_column: Some("negocio_id".to_owned()),
            columns: ["negocio_id", "fecha", "estado"]
                .map(ToOwned::to_owned)
                .to_vec(),
        }],
        key_type: OnceLock::new(),
    }
}
