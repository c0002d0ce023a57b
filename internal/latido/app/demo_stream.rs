//! The stream that only the demo has: the services of a business with their citas.

use std::sync::OnceLock;

use latido_demo::{SERVICES, SERVICES_HISTORY, SERVICES_QUERY};
use latido_postgres::{Database, DatabaseError, InstallChange};
use latido_stream::{Inference, Param, ParamKind, Stream, ZoneRule};

use crate::app::stream_inference::complete_for_installation;
use crate::config::Settings;

/// Adds the stream of services, unless the configuration has one of that name, and completes all
/// streams from their queries. Returns whether the demo's own stream is served. Streams that need a
/// decision are left out, with the reason in the log.
///
/// # Errors
/// Returns an error if the database is unavailable.
pub(super) async fn add_services(
    database: &Database,
    settings: &mut Settings,
) -> Result<bool, DatabaseError> {
    let is_taken = settings
        .streams
        .iter()
        .any(|stream| stream.name == SERVICES);
    if !is_taken {
        settings.streams.push(services_stream(&settings.time_zone));
    }
    for change in complete_for_installation(database, &mut settings.streams).await? {
        if let InstallChange::LeftOut(text) | InstallChange::Warning(text) = change {
            tracing::warn!("{text}");
        }
    }
    let fields = settings.streams.iter();
    let fields = fields.flat_map(|stream| stream.key_fields.iter().cloned());
    settings.verifier.key_fields.extend(fields);
    let is_own = |stream: &Stream| stream.name == SERVICES && stream.query == SERVICES_QUERY;
    Ok(settings.streams.iter().any(is_own))
}

/// Returns the stream of services. Its tables, and the way from a changed row to its business, are
/// left to the query.
fn services_stream(zone: &str) -> Stream {
    let day = |name: &str, default: &str| Param {
        name: name.to_owned(),
        kind: ParamKind::Date,
        default: Some(default.to_owned()),
    };
    Stream {
        name: SERVICES.to_owned(),
        query: SERVICES_QUERY.to_owned(),
        verification: None,
        history_query: Some(SERVICES_HISTORY.to_owned()),
        authorize_query: None,
        zone_rule: ZoneRule::Fixed(zone.to_owned()),
        event: SERVICES.to_owned(),
        key_fields: vec!["negocio_id".to_owned()],
        params: vec![day("desde", "2000-01-01"), day("hasta", "2099-12-31")],
        interval: None,
        revision: 0,
        tables: Vec::new(),
        key_types: OnceLock::new(),
        inference: Inference {
            tables: true,
            ..Inference::default()
        },
    }
}
