//! Cross-origin requests: the headers that let a page of another origin read a response.
//!
//! They are added outside the routes, so that error responses can be read as well. The routes never
//! allow credentials, because browsers hold none for them. A mounted service may use some (a
//! cookie), so its responses allow credentials, but only to origins that are listed by name.

use warp::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::error::ApiError;
use crate::response::Response;
use latido_net::Origins;

const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST");

const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, X-API-Key, Content-Type, If-None-Match, Last-Event-ID, Cache-Control",
);

const TRUE: HeaderValue = HeaderValue::from_static("true");

const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static("ETag, Retry-After, X-Stale");

/// The time a browser may cache a preflight, in seconds.
const MAX_AGE_S: HeaderValue = HeaderValue::from_static("600");

/// The CORS headers of a response, decided from its request.
#[derive(Debug)]
pub(super) enum CorsDecision {
    /// Sends `Access-Control-Allow-Origin` with this value.
    Allow(HeaderValue),
    /// Sends no header, so the browser keeps the response from the page.
    NoHeaders,
}

impl CorsDecision {
    pub(super) fn from_request(origins: &Origins, headers: &HeaderMap) -> Self {
        match (origins, headers.get(ORIGIN)) {
            (Origins::Any, _) => Self::Allow(HeaderValue::from_static("*")),
            (Origins::Listed(_), Some(origin))
                if origin.to_str().is_ok_and(|o| origins.allows(o)) =>
            {
                Self::Allow(origin.clone())
            }
            (Origins::Listed(_), _) => Self::NoHeaders,
        }
    }

    /// Answers a preflight request. Returns `None` if the request is not one.
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
            Self::Allow(_) => {
                let mut response = Response::new("".into());
                *response.status_mut() = StatusCode::NO_CONTENT;
                response
                    .headers_mut()
                    .insert(ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
                response
                    .headers_mut()
                    .insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
                response
                    .headers_mut()
                    .insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_S);
                Ok(response)
            }
        })
    }

    /// Adds the CORS headers to a response.
    pub(super) fn apply(self, origins: &Origins, response: &mut Response) {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let headers = response.headers_mut();
        if let Self::Allow(origin) = self {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
        }
        if *origins != Origins::Any {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
    }
}

/// Allows credentials such as cookies, if the page's origin is listed by name. A response readable
/// by any origin never allows them.
pub(super) fn allow_credentials(response: &mut Response) {
    let headers = response.headers_mut();
    if headers
        .get(ACCESS_CONTROL_ALLOW_ORIGIN)
        .is_some_and(|origin| origin != "*")
    {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
    }
}
