//! The bodies of polls, and the responses to those that exceed a limit. This module is pure.

use bytes::Bytes;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

/// The byte between two packets in the body of a poll.
const PACKET_SEPARATOR: u8 = 0x1e;

/// Returns the number of packets in the body of a poll. A separator stands between two.
pub(super) fn packet_count(body: &[u8]) -> usize {
    1 + body
        .iter()
        .filter(|byte| **byte == PACKET_SEPARATOR)
        .count()
}

/// Returns the response to a request that ended its session.
pub(super) fn session_closed() -> Response<Bytes> {
    let mut response = Response::new(r#"{"code":3,"message":"Bad request"}"#.into());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

/// Returns the response if too many clients have not identified themselves yet.
pub(super) fn too_many_sessions() -> Response<Bytes> {
    let message = "too many clients have not identified themselves; come back later";
    let mut response = Response::new(latido_http::json_error("session_limit", message).into());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("2"));
    response
}
