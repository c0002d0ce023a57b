//! Values of headers.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{HOST, HeaderName, ORIGIN};

use latido_net::{Origins, is_same_origin};

/// Returns a header with its lines joined by commas. It is empty if the header is missing; a line
/// that is not text counts as empty.
pub fn joined_header(headers: &HeaderMap, name: impl Into<HeaderName>) -> Cow<'_, str> {
    let mut lines = headers
        .get_all(name.into())
        .iter()
        .map(|line| line.to_str().unwrap_or_default());
    let first = Cow::Borrowed(lines.next().unwrap_or_default());
    lines.fold(first, |joined, line| {
        Cow::Owned(format!("{joined}, {line}"))
    })
}

/// Returns whether a request's page may connect. CORS does not protect WebSockets, so the server
/// must. A request without `Origin` comes from a program and is allowed, and so is one from the
/// server's own pages.
pub fn allows_page(origins: &Origins, headers: &HeaderMap) -> bool {
    let allows = |origin: &str| {
        origins.allows(origin) || is_same_origin(origin, &joined_header(headers, HOST))
    };
    headers
        .get(ORIGIN)
        .is_none_or(|origin| origin.to_str().is_ok_and(allows))
}
