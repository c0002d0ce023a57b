//! The stream that needs no file.

use std::sync::OnceLock;

use crate::stream::{Stream, Table, ZoneRule};

/// Its name; a stream of that name in `latido.toml` takes its place.
pub(super) const ESTADISTICAS: &str = "estadisticas";

/// The stream that is built in.
pub(super) fn estadisticas(zone: &str) -> Stream {
    Stream {
        name: ESTADISTICAS.to_owned(),
        query: include_str!("../../sql/estadisticas.sql").to_owned(),
        check: None,
        authorize: Some(include_str!("../../sql/authorize.sql").to_owned()),
        zone: ZoneRule::Fixed(zone.to_owned()),
        event: "stats".to_owned(),
        key_field: "negocio_id".to_owned(),
        tables: vec![Table {
            table: "citas".to_owned(),
            key: Some("negocio_id".to_owned()),
            columns: ["negocio_id", "fecha", "estado"]
                .map(ToOwned::to_owned)
                .to_vec(),
        }],
        key_type: OnceLock::new(),
    }
}
