//! The embedded page: a handful of files compiled into the binary.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use warp::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use warp::http::{HeaderValue, StatusCode};

use crate::command_hints::CommandHints;
use crate::error::ApiError;
use crate::etag::{entity_tag, etag_matches};
use crate::response::Response;
use latido_admission::RequestHead;

const CONTENT_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'",
);

/// One static file of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaticFile {
    /// The path from the root; `/` is the page itself.
    pub path: &'static str,
    /// The content type, with the character set if it is text.
    pub content_type: &'static str,
    /// The content as it is sent.
    pub bytes: &'static [u8],
}

/// All static files, each with its entity tag.
#[derive(Debug, Clone)]
pub(super) struct StaticFiles(Arc<HashMap<&'static str, ServedFile>>);

/// One static file as it is served.
#[derive(Debug)]
struct ServedFile {
    content_type: &'static str,
    bytes: Bytes,
    tag: String,
}

impl ServedFile {
    /// Takes a file. A page shows the commands of `hints`.
    fn new(file: &StaticFile, hints: CommandHints) -> Self {
        let page = std::str::from_utf8(file.bytes).ok();
        let page = page.filter(|_| file.content_type.starts_with("text/html"));
        let bytes = page.map_or(Bytes::from_static(file.bytes), |page| {
            hints.apply(page).into()
        });
        Self {
            content_type: file.content_type,
            tag: entity_tag(&bytes),
            bytes,
        }
    }
}

impl StaticFiles {
    pub(super) fn new(assets: &'static [StaticFile], hints: CommandHints) -> Self {
        Self(Arc::new(
            assets
                .iter()
                .map(|asset| (asset.path, ServedFile::new(asset, hints)))
                .collect(),
        ))
    }

    pub(super) fn contains(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    pub(super) fn serve(&self, path: &str, head: &RequestHead) -> Result<Response, ApiError> {
        let file = self.0.get(path).ok_or_else(ApiError::not_found)?;
        head.require_read()?;
        let unchanged = etag_matches(&head.header(IF_NONE_MATCH), &file.tag);
        let mut response = Response::new(if unchanged {
            "".into()
        } else {
            file.bytes.clone().into()
        });
        if unchanged {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(file.content_type));
        headers.extend(HeaderValue::try_from(&file.tag).map(|tag| (ETAG, tag)));
        // Browsers must revalidate each time, which costs a 304: a new binary must not meet an old
        // script.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(CONTENT_SECURITY_POLICY, CONTENT_POLICY);
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        Ok(response)
    }
}
