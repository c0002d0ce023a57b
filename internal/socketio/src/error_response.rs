//! The responses of Engine.IO to requests that it refuses, and to those that it answers.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

use crate::engine::PollBody;

/// An error of the Engine.IO protocol, which defines its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EngineIoError {
    Transport,
    UnknownSession,
    Method,
    Request,
    Version,
}

impl EngineIoError {
    /// Returns the response to a request that is refused for this reason.
    pub(crate) fn response(self) -> Response<Bytes> {
        let (code, message) = match self {
            Self::Transport => (0, "Transport unknown"),
            Self::UnknownSession => (1, "Session ID unknown"),
            Self::Method => (2, "Bad handshake method"),
            Self::Request => (3, "Bad request"),
            Self::Version => (5, "Unsupported protocol version"),
        };
        let body = format!(r#"{{"code":{code},"message":"{message}"}}"#);
        respond(StatusCode::BAD_REQUEST, "application/json", body)
    }

    /// Returns the same response, for a function that refuses a request by its error.
    pub(crate) fn refusal(self) -> Box<Response<Bytes>> {
        Box::new(self.response())
    }
}

/// Returns the response if too many clients have not identified themselves yet.
pub(crate) fn too_many_sessions() -> Response<Bytes> {
    let message = "too many clients have not identified themselves; come back later";
    let body = latido_http::json_error("session_limit", message);
    let mut response = respond(StatusCode::SERVICE_UNAVAILABLE, "application/json", body);
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("2"));
    response
}

/// Returns the response to a poll.
pub(crate) fn poll_response(body: PollBody) -> Response<Bytes> {
    respond(StatusCode::OK, body.form.content_type(), body.bytes)
}

/// Returns the response to packets that were handled.
pub(crate) fn post_response() -> Response<Bytes> {
    // As in the reference server: some browsers offer a text/plain response as a download.
    respond(StatusCode::OK, "text/html", "ok")
}

fn respond(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
