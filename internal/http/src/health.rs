//! `GET /health`: the process is alive. `GET /ready`: the server can do its work, or the reasons it
//! can't.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::time::timeout;
use warp::http::StatusCode;

use crate::error::ApiError;
use crate::response::{Response, json_response, uncached};
use crate::state::ServerState;
use latido_admin::{ReadinessReport, StreamReport};
use latido_admission::RequestHead;

/// The time the readiness check may take, because probes give up after a few seconds.
const REPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// Answers 200 while the process is alive.
pub(super) fn health(
    state: &ServerState,
    started: Instant,
    head: &RequestHead,
) -> Result<Response, ApiError> {
    head.require_read()?;
    let body = json!({"status": "ok", "timestamp": state.clock.now().to_string(), "uptime": started.elapsed().as_secs()});
    Ok(uncached(json_response(body.to_string())))
}

/// Answers 200 or 503, with the reasons.
pub(super) async fn ready(
    state: Arc<ServerState>,
    head: RequestHead,
) -> Result<Response, ApiError> {
    head.require_read()?;
    let report = timeout(REPORT_TIMEOUT, state.readiness.check()).await;
    let report = report.unwrap_or_else(|_| ReadinessReport {
        is_ready: false,
        database_problem: Some("no answer in time".into()),
        listener: "unknown",
        streams: Vec::new(),
    });
    let draining = state.drain.is_stopping();
    let mut response = uncached(json_response(readiness_json(&report, draining).to_string()));
    if !report.is_ready || draining {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

fn readiness_json(report: &ReadinessReport, draining: bool) -> Value {
    let streams: Map<_, _> = report
        .streams
        .iter()
        .map(|stream| (stream.name.clone(), stream_json(stream)))
        .collect();
    json!({
        "ready": report.is_ready && !draining,
        "draining": draining,
        "database": check_json(report.database_problem.as_deref()),
        "listener": report.listener,
        "streams": streams,
    })
}

fn stream_json(stream: &StreamReport) -> Value {
    let mut state = check_json(stream.problem.as_deref());
    if let Some(degraded) = &stream.degraded {
        state["degraded"] = json!(degraded);
    }
    state
}

fn check_json(problem: Option<&str>) -> Value {
    problem.map_or_else(
        || json!({"ok": true}),
        |problem| json!({"ok": false, "problem": problem}),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_reported() {
        let report = ReadinessReport {
            is_ready: false,
            database_problem: Some("connection refused".into()),
            listener: "down",
            streams: vec![
                StreamReport {
                    name: "estadisticas".into(),
                    problem: None,
                    degraded: None,
                },
                StreamReport {
                    name: "ventas".into(),
                    problem: None,
                    degraded: Some("its triggers fail".into()),
                },
            ],
        };
        assert_eq!(
            readiness_json(&report, false).to_string(),
            r#"{"ready":false,"draining":false,"database":{"ok":false,"problem":"connection refused"},"listener":"down","streams":{"estadisticas":{"ok":true},"ventas":{"ok":true,"degraded":"its triggers fail"}}}"#
        );
    }
}
