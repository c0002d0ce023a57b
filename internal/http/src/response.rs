//! Responses: their type, and the ones that many handlers make.

use warp::http::HeaderValue;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE};

/// An HTTP response, ready to be sent.
pub type Response = warp::reply::Response;

/// Additional routes, tried after the server's own and before those of the streams.
///
/// A request that they reject falls through to `404`, even if only its method was wrong, so they
/// should answer every method of their paths.
pub type BoxedRoutes = warp::filters::BoxedFilter<(Response,)>;

/// The content type of JSON bodies.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Builds a response with a JSON body.
pub(super) fn json_response(text: String) -> Response {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// Forbids caches to keep the response.
pub(super) fn uncached(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
