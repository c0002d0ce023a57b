//! `GET /metrics`: the metrics for an operator's Prometheus.

use warp::http::HeaderValue;
use warp::http::header::{ACCEPT, CONTENT_TYPE};

use crate::error::ApiError;
use crate::response::Response;
use crate::state::ServerState;
use latido_admission::RequestHead;
use latido_telemetry::{Exposition, SampledGauges};

const PROMETHEUS_TEXT: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Answers with every metric, if the config enables them. Gauges are read from their owners now.
pub(super) fn serve_metrics(state: &ServerState, head: &RequestHead) -> Result<Response, ApiError> {
    if !state.config.metrics_enabled {
        return Err(ApiError::not_found());
    }
    head.require_read()?;
    let (topics, subscribers) = state.hub.counts();
    state
        .metrics
        .sockets
        .set(i64::try_from(state.rules.limits.in_use()).unwrap_or(i64::MAX));
    let statuses = state.catalog.iter().map(|(id, _)| state.catalog.status(id));
    let broken = statuses.filter(|status| status.problem().is_some()).count();
    state
        .metrics
        .broken_streams
        .set(i64::try_from(broken).unwrap_or(i64::MAX));
    let gauges = SampledGauges {
        topics,
        param_sets: state.hub.param_sets(),
        subscribers,
        dirty_keys: state.engine.dirty_keys(),
        moved_keys: state.engine.moved_keys(),
    };
    let (exposition, content_type) = if head.header(ACCEPT).contains("application/openmetrics-text")
    {
        (Exposition::OpenMetrics, OPENMETRICS)
    } else {
        (Exposition::Classic, PROMETHEUS_TEXT)
    };
    let mut response = Response::new(state.metrics.render(gauges, exposition).into());
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}
