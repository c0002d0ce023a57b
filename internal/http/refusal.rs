//! Every answer that is a no, in one shape: `{"error":{"code":…,"message":…}}`.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::json;
use warp::http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE,
};
use warp::http::{HeaderValue, StatusCode};
use warp::reject::{MethodNotAllowed, PayloadTooLarge, Rejection, UnsupportedMediaType};

use crate::http::Response;
use crate::telemetry::Metrics;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Why a request is refused. Every handler's error type.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    /// In the body, for programs.
    code: &'static str,
    /// The metric's label; the code unless there is more to tell.
    reason: &'static str,
    /// In the body, for people: what was expected.
    message: Cow<'static, str>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            reason: code,
            message: message.into(),
            headers: Vec::new(),
        }
    }

    pub(super) fn bad_request(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "nothing is here")
    }

    pub(super) fn origin() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "origin",
            "pages of this origin may not connect here",
        )
    }

    pub(super) fn method(allowed: &'static str) -> Self {
        let message = format!("expected {allowed}");
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            message,
        )
        .with(ALLOW, HeaderValue::from_static(allowed))
    }

    /// No token, or one that `message` says is no good.
    pub(super) fn unauthorized(
        challenge: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
            .with(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }

    /// Not now; whole seconds later, maybe.
    pub(super) fn unavailable(
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
        after: Duration,
    ) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message).retry_after(after)
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn retry_after(self, after: Duration) -> Self {
        self.with(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)))
    }

    /// The connection can't be used again: part of the request is still on it.
    pub(super) fn closing(self) -> Self {
        self.with(CONNECTION, HeaderValue::from_static("close"))
    }

    /// Counts it under another label than its code.
    pub(super) fn counted_as(mut self, reason: &'static str) -> Self {
        self.reason = reason;
        self
    }

    pub(super) fn into_response(self, metrics: &Metrics) -> Response {
        metrics.refuse(self.reason);
        let mut response = Response::new(json_error(self.code, &self.message).into());
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, JSON);
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// What no route took.
impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        if rejection.is_not_found() {
            return Self::not_found();
        }
        let (status, code) = if rejection.find::<MethodNotAllowed>().is_some() {
            (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")
        } else if rejection.find::<PayloadTooLarge>().is_some() {
            (StatusCode::PAYLOAD_TOO_LARGE, "too_large")
        } else if rejection.find::<UnsupportedMediaType>().is_some() {
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type")
        } else {
            (StatusCode::BAD_REQUEST, "bad_request")
        };
        Self::new(status, code, status.canonical_reason().unwrap_or_default())
    }
}

/// The one shape of an error's body.
pub fn json_error(code: &str, message: &str) -> String {
    json!({"error": {"code": code, "message": message}}).to_string()
}

/// An answer in JSON text.
pub(super) fn json_response(text: String) -> Response {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}
