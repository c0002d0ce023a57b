//! Cross-origin requests: what a browser must be told so that a page of another origin may read an answer.
//!
//! It stands around the routes and not within them, so that refusals can be read as well. Credentials are never allowed on them: there are
//! none that a browser would add. A gate may know some (a cookie), so its answers allow them, but only to pages that are listed by name.

use warp::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::http::refusal::Refusal;
use crate::http::{Origins, Response};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST");
const HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, X-API-Key, Content-Type, If-None-Match, Last-Event-ID, Cache-Control",
);
const TRUE: HeaderValue = HeaderValue::from_static("true");
const EXPOSED: HeaderValue = HeaderValue::from_static("ETag, Retry-After, X-Stale");
/// Seconds for which a browser may remember a preflight.
const MAX_AGE_S: HeaderValue = HeaderValue::from_static("600");

/// What to tell the page, decided from the request and put into the answer.
#[derive(Debug)]
pub(super) enum Verdict {
    /// `Access-Control-Allow-Origin` of this value.
    Allow(HeaderValue),
    /// Nothing: the browser will keep the answer from the page.
    Silent,
}

impl Verdict {
    pub(super) fn of(origins: &Origins, headers: &HeaderMap) -> Self {
        match (origins, headers.get(ORIGIN)) {
            (Origins::Any, _) => Self::Allow(HeaderValue::from_static("*")),
            (Origins::Listed(_), Some(origin))
                if origin.to_str().is_ok_and(|o| origins.allow(o)) =>
            {
                Self::Allow(origin.clone())
            }
            (Origins::Listed(_), _) => Self::Silent,
        }
    }

    /// The answer to a preflight; none if the request is not one.
    pub(super) fn preflight(
        &self,
        method: &Method,
        headers: &HeaderMap,
    ) -> Option<Result<Response, Refusal>> {
        let asks = method == Method::OPTIONS
            && headers.contains_key(ORIGIN)
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        asks.then(|| match self {
            Self::Silent => Err(Refusal::origin()),
            Self::Allow(_) => {
                let mut response = Response::new("".into());
                *response.status_mut() = StatusCode::NO_CONTENT;
                response
                    .headers_mut()
                    .insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
                response
                    .headers_mut()
                    .insert(ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
                response
                    .headers_mut()
                    .insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_S);
                Ok(response)
            }
        })
    }

    /// Adds what the page must be told to an answer.
    pub(super) fn put(self, origins: &Origins, response: &mut Response) {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let headers = response.headers_mut();
        if let Self::Allow(origin) = self {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
        if *origins != Origins::Any {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
    }
}

/// Lets a page send its cookies, if it may read the answer because it is listed. What anybody may read, nobody may read with credentials.
pub(super) fn with_credentials(response: &mut Response) {
    let headers = response.headers_mut();
    if headers
        .get(ACCESS_CONTROL_ALLOW_ORIGIN)
        .is_some_and(|origin| origin != "*")
    {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
    }
}
