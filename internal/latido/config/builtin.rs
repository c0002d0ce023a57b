//! The built-in stream, which needs no configuration file.

use std::sync::OnceLock;

use latido_stream::{SourceTable, Stream, ZoneRule};

/// The name of the built-in stream. A stream of that name in `latido.toml` replaces it.
pub(super) const ESTADISTICAS: &str = "estadisticas";

/// Returns the built-in stream with `zone` as its time zone.
pub(super) fn estadisticas(zone: &str) -> Stream {
    Stream {
        name: ESTADISTICAS.to_owned(),
        query: include_str!("../../../sql/estadisticas.sql").to_owned(),
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
