//! The addresses that only a demo has: a session without a password, another for its operator, and
//! a button that books.
//!
//! They require no token, so they answer only this machine.

use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use futures_util::Stream;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;
use tracing::warn;
use warp::http::StatusCode;
use warp::http::header::CONTENT_TYPE;
use warp::{Filter as _, Reply as _, path};

use crate::body;
use crate::error::ApiError;
use crate::local_only::require_local;
use crate::request::request_head;
use crate::response::{BoxedRoutes, Response, json_response, uncached};
use latido_admission::RequestHead;
use latido_demo::{BookError, Demo};
use latido_telemetry::Metrics;

/// The largest body of a booking, in bytes.
const BODY_BYTES: usize = 1024;

/// The time the body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(4);

/// The delay after which a failed database operation may be retried.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The message for requests of other machines and pages.
const REFUSAL: &str = "the demo answers to its own machine alone";

/// Builds `GET /demo/session`, `GET /demo/operator` and `POST /demo/citas`, for
/// [`crate::ServerState::extra_routes`].
pub fn demo_routes(demo: Arc<Demo>, metrics: Arc<Metrics>) -> BoxedRoutes {
    let for_session = Arc::clone(&demo);
    let session = path!("demo" / "session")
        .and(request_head())
        .map(move |head| session(&for_session, &head));
    let for_operator = Arc::clone(&demo);
    let operator = path!("demo" / "operator")
        .and(request_head())
        .map(move |head| operator_session(&for_operator, &head));
    let booking = path!("demo" / "citas")
        .and(request_head())
        .and(warp::body::stream());
    let booking = booking.then(move |head, body| book(Arc::clone(&demo), head, body));
    let answer = move |result: Result<_, ApiError>| {
        result.unwrap_or_else(|refusal| refusal.into_response(&metrics))
    };
    session
        .or(operator)
        .unify()
        .or(booking)
        .unify()
        .map(answer)
        .boxed()
}

fn session(demo: &Demo, head: &RequestHead) -> Result<Response, ApiError> {
    head.require_get()?;
    require_local(head, REFUSAL)?;
    let session = demo.session().map_err(token_not_issued)?;
    Ok(uncached(json_response(session.to_json())))
}

/// Issues a token for the operators' page. Answers 204 if no role is an admin's.
fn operator_session(demo: &Demo, head: &RequestHead) -> Result<Response, ApiError> {
    head.require_get()?;
    require_local(head, REFUSAL)?;
    let Some(session) = demo.operator_session().map_err(token_not_issued)? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    Ok(uncached(json_response(
        json!({"token": session.token()}).to_string(),
    )))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
fn token_not_issued(error: anyhow::Error) -> ApiError {
    warn!(error = %format!("{error:#}"), "no token could be issued for the demo");
    ApiError::unavailable("unavailable", "no token could be issued", RETRY_AFTER)
}

async fn book<B: Buf, E>(
    demo: Arc<Demo>,
    head: RequestHead,
    body: impl Stream<Item = Result<B, E>>,
) -> Result<Response, ApiError> {
    head.require_post()?;
    require_local(&head, REFUSAL)?;
    if !is_json(&head.header(CONTENT_TYPE)) {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "expected application/json",
        )
        .close_connection());
    }
    let body = timeout(BODY_TIMEOUT, body::collect_body(body, BODY_BYTES))
        .await
        .ok()
        .and_then(Result::ok);
    let negocio_id = body
        .as_deref()
        .and_then(parse_negocio_id)
        .ok_or_else(malformed_body)?;
    match demo.book(&negocio_id).await {
        Ok(()) => {
            let mut response =
                uncached(json_response(json!({"negocio_id": negocio_id}).to_string()));
            *response.status_mut() = StatusCode::CREATED;
            Ok(response)
        }
        Err(BookError::UnknownBusiness) => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "unknown_business",
            "no such business in the demo",
        )),
        Err(BookError::Unavailable(error)) => {
            warn!(error = %format!("{error:#}"), "a cita of the demo could not be booked");
            Err(ApiError::unavailable(
                "unavailable",
                "the cita could not be booked",
                RETRY_AFTER,
            ))
        }
    }
}

fn parse_negocio_id(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct BookingBody {
        negocio_id: String,
    }
    serde_json::from_slice::<BookingBody>(body)
        .ok()
        .map(|booking| booking.negocio_id)
}

fn malformed_body() -> ApiError {
    let message = format!("expected {{\"negocio_id\":\"…\"}} of at most {BODY_BYTES} bytes");
    // Some of the body may still be on its way.
    ApiError::bad_request("bad_request", message).close_connection()
}

fn is_json(content_type: &str) -> bool {
    content_type
        .split(';')
        .next()
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booking_bodies_are_parsed() {
        assert_eq!(
            parse_negocio_id(br#"{"negocio_id":"7"}"#).as_deref(),
            Some("7")
        );
        for body in ["", "[]", r#"{"negocio_id":7}"#, "{}"] {
            assert_eq!(parse_negocio_id(body.as_bytes()), None, "{body}");
        }
        assert!(
            is_json("application/json; charset=utf-8") && !is_json("text/plain") && !is_json("")
        );
    }
}
