//! Cross-origin requests: the headers that let a page of another origin read a response.
//!
//! They are added outside the routes, so that error responses can be read as well. The server's own
//! routes never allow credentials, because browsers hold none for them. An app may use a cookie, so
//! responses allow credentials to the origins that are listed for cookies. A mounted service's
//! responses allow them to every origin that is listed by name.

use warp::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::config::Config;
use crate::error::ApiError;
use crate::response::Response;
use latido_admission::{allows_page, joined_header};
use latido_net::Origins;

const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST");

/// The answer to a preflight that names no headers.
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, X-API-Key, Content-Type, If-None-Match, Last-Event-ID, Cache-Control",
);

const TRUE: HeaderValue = HeaderValue::from_static("true");

const EXPOSED_HEADERS: HeaderValue =
    HeaderValue::from_static("ETag, Retry-After, X-Stale, X-Truncated");

/// The time a browser may cache a preflight, in seconds.
const MAX_AGE_S: HeaderValue = HeaderValue::from_static("600");

/// The CORS headers of a response, decided from its request.
#[derive(Debug)]
pub(super) enum CorsDecision {
    /// Sends `Access-Control-Allow-Origin` with this value.
    Allow(HeaderValue),
    /// Sends the page's origin, and allows the page to use cookies.
    AllowCookies(HeaderValue),
    /// Sends no header, so the browser keeps the response from the page.
    NoHeaders,
}

impl CorsDecision {
    pub(super) fn from_request(config: &Config, headers: &HeaderMap) -> Self {
        let may_use_cookies = |origin: &&HeaderValue| {
            let mut listed = config.cookie_origins.iter();
            listed.any(|listed| listed.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
        };
        let origin = headers.get(ORIGIN);
        match (&config.origins, origin) {
            (_, Some(origin)) if may_use_cookies(&origin) => Self::AllowCookies(origin.clone()),
            (Origins::Any, _) => Self::Allow(HeaderValue::from_static("*")),
            (origins, Some(origin)) if allows_page(origins, headers) => Self::Allow(origin.clone()),
            (Origins::Listed(_), _) => Self::NoHeaders,
        }
    }

    /// Answers a preflight request, and allows the headers that it asks for: none of them proves
    /// anything by itself. Returns `None` if the request is not a preflight.
    pub(super) fn preflight(
        &self,
        method: &Method,
        headers: &HeaderMap,
    ) -> Option<Result<Response, ApiError>> {
        let is_preflight = method == Method::OPTIONS
            && headers.contains_key(ORIGIN)
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        is_preflight.then(|| match self {
            Self::NoHeaders => Err(ApiError::forbidden_origin()),
            Self::Allow(_) | Self::AllowCookies(_) => {
                let mut response = Response::new("".into());
                *response.status_mut() = StatusCode::NO_CONTENT;
                response
                    .headers_mut()
                    .insert(ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
                response
                    .headers_mut()
                    .insert(ACCESS_CONTROL_ALLOW_HEADERS, requested_headers(headers));
                let vary = HeaderValue::from_static("Access-Control-Request-Headers");
                response.headers_mut().append(VARY, vary);
                response
                    .headers_mut()
                    .insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_S);
                Ok(response)
            }
        })
    }

    /// Adds the CORS headers to a response.
    pub(super) fn apply(self, config: &Config, response: &mut Response) {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let headers = response.headers_mut();
        if matches!(self, Self::AllowCookies(_)) {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
        if let Self::Allow(origin) | Self::AllowCookies(origin) = self {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
        }
        if config.origins != Origins::Any || !config.cookie_origins.is_empty() {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
    }
}

/// Returns the headers that a preflight asks for.
fn requested_headers(headers: &HeaderMap) -> HeaderValue {
    let requested = joined_header(headers, ACCESS_CONTROL_REQUEST_HEADERS);
    let requested = requested.trim();
    if requested.is_empty() {
        return ALLOWED_HEADERS;
    }
    HeaderValue::from_str(requested).unwrap_or(ALLOWED_HEADERS)
}

/// Allows credentials such as cookies, if the page's origin is listed by name. A response readable
/// by any origin never allows them, and `null` names no page.
pub(super) fn allow_credentials(response: &mut Response) {
    let headers = response.headers_mut();
    if headers
        .get(ACCESS_CONTROL_ALLOW_ORIGIN)
        .is_some_and(|origin| origin != "*" && origin != "null")
    {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
    }
}
