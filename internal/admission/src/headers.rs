//! Values of headers, queries and path segments.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::HeaderName;
use percent_encoding::percent_decode_str;

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

/// Returns the first non-empty value of a query parameter, decoded.
pub fn query_value(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, value)| *key == name && !value.is_empty())?;
    Some(
        percent_decode_str(&value.replace('+', " "))
            .decode_utf8()
            .ok()?
            .into_owned(),
    )
}

/// Decodes a path segment. Returns `None` if it is not UTF-8.
pub fn decode_segment(raw: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(raw).decode_utf8().ok()
}
