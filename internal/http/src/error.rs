//! Error responses, all of one shape: `{"error":{"code":…,"message":…}}`.

use std::borrow::Cow;
use std::time::Duration;

use warp::http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, RETRY_AFTER, SEC_WEBSOCKET_VERSION,
    UPGRADE, WWW_AUTHENTICATE,
};
use warp::http::{HeaderValue, StatusCode};
use warp::reject::{MethodNotAllowed, PayloadTooLarge, Rejection, UnsupportedMediaType};

use crate::response::{JSON, Response};
use latido_admission::{MethodNotAllowed as NotAllowed, UpgradeRejection, json_error};
use latido_protocol::websocket::handshake::{self, HandshakeError};
use latido_telemetry::Metrics;

/// A request's error response. It is the error type of every handler.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    /// The machine-readable code in the body.
    code: &'static str,
    /// The metric's label, equal to the code unless a more precise one is set.
    metric_label: &'static str,
    /// The human-readable text in the body, with the expected input.
    message: Cow<'static, str>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            metric_label: code,
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

    /// Builds a 404 that says what would be found.
    pub(super) fn not_found_because(message: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(super) fn forbidden_origin() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "origin",
            "pages of this origin may not connect here",
        )
    }

    /// Builds a 401: the token is missing or invalid, as `message` explains.
    pub(super) fn unauthorized(
        challenge: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
            .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }

    /// Builds a 503 that asks the client to retry after that many whole seconds.
    pub(super) fn unavailable(
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
        after: Duration,
    ) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message).retry_after(after)
    }

    /// Builds a 429 that asks the client to retry soon.
    pub(super) fn too_many(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, message).retry_after(RETRY_SOON)
    }

    /// Returns whether a later request may succeed (503).
    pub(super) fn is_temporary(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
    }

    /// Returns whether nothing has this address.
    pub(super) fn is_unknown_path(&self) -> bool {
        self.code == "not_found"
    }

    /// Returns the machine-readable code.
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    /// Returns the human-readable text.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Returns the body of the response.
    pub(super) fn to_json(&self) -> String {
        json_error(self.code, &self.message)
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn retry_after(self, after: Duration) -> Self {
        self.with_header(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)))
    }

    /// Closes the connection after the response, because part of the request is still unread.
    pub(super) fn close_connection(self) -> Self {
        self.with_header(CONNECTION, HeaderValue::from_static("close"))
    }

    /// Counts the error under a label other than its code.
    pub(super) fn with_metric_label(mut self, reason: &'static str) -> Self {
        self.metric_label = reason;
        self
    }

    pub(super) fn into_response(self, metrics: &Metrics) -> Response {
        metrics.count_refusal(self.metric_label);
        let mut response = Response::new(self.to_json().into());
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

/// Maps warp's rejection of a request that no route took.
impl From<Rejection> for ApiError {
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

/// The `Retry-After` of a response to a client over its limit.
const RETRY_LATER: Duration = Duration::from_secs(5);

/// The `Retry-After` after a look-up failed or while the server stops.
pub(super) const RETRY_SOON: Duration = Duration::from_secs(2);

impl From<NotAllowed> for ApiError {
    fn from(NotAllowed(allowed): NotAllowed) -> Self {
        let message = format!("expected {allowed}");
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            message,
        )
        .with_header(ALLOW, HeaderValue::from_static(allowed))
    }
}

impl From<HandshakeError> for ApiError {
    fn from(error: HandshakeError) -> Self {
        let message = error.to_string();
        match error {
            HandshakeError::Key => Self::bad_request("handshake", message),
            HandshakeError::Version => {
                Self::new(StatusCode::UPGRADE_REQUIRED, "handshake", message).with_header(
                    SEC_WEBSOCKET_VERSION,
                    HeaderValue::from_static(handshake::VERSION),
                )
            }
            HandshakeError::NoUpgrade => {
                Self::new(StatusCode::UPGRADE_REQUIRED, "handshake", message)
                    .with_header(UPGRADE, HeaderValue::from_static("websocket"))
                    .with_header(CONNECTION, HeaderValue::from_static("upgrade"))
            }
        }
    }
}

impl From<UpgradeRejection> for ApiError {
    fn from(rejection: UpgradeRejection) -> Self {
        match rejection {
            UpgradeRejection::Method(error) => error.into(),
            UpgradeRejection::Origin => Self::forbidden_origin(),
            UpgradeRejection::Handshake(error) => error.into(),
            UpgradeRejection::Draining => {
                Self::unavailable("draining", "the server is stopping; come back", RETRY_SOON)
            }
            UpgradeRejection::NotReady => Self::unavailable(
                "not_ready",
                "the database has not been reached yet; come back",
                RETRY_SOON,
            ),
            UpgradeRejection::UserLimit => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "user_limit",
                "too many connections of this user",
            )
            .retry_after(RETRY_LATER),
            UpgradeRejection::AddressLimit => Self::unavailable(
                "address_limit",
                "too many connections from this address",
                RETRY_LATER,
            ),
        }
    }
}
