//! `GET /metrics`: what an operator's Prometheus reads.

use warp::http::HeaderValue;
use warp::http::header::{ACCEPT, CONTENT_TYPE};

use crate::http::call::Call;
use crate::http::refusal::Refusal;
use crate::http::{Doors, Response};
use crate::telemetry::{Exposition, Gauges};

const CLASSIC: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Every metric, where the config shows them; gauges are asked of their owners now.
pub(super) fn show(doors: &Doors, call: &Call) -> Result<Response, Refusal> {
    if !doors.config.metrics {
        return Err(Refusal::not_found());
    }
    call.reads()?;
    let (topics, subscribers) = doors.hub.counts();
    doors
        .metrics
        .sockets
        .set(i64::try_from(doors.seats.taken()).unwrap_or(i64::MAX));
    let gauges = Gauges {
        topics,
        subscribers,
        dirty: doors.engine.dirty_keys(),
    };
    let (exposition, content_type) = if call.header(ACCEPT).contains("application/openmetrics-text")
    {
        (Exposition::OpenMetrics, OPENMETRICS)
    } else {
        (Exposition::Classic, CLASSIC)
    };
    let mut response = Response::new(doors.metrics.render(gauges, exposition).into());
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}
