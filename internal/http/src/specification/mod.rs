//! `GET /openapi.json` and `GET /asyncapi.json`: machine-readable descriptions of the server.
//!
//! The two JSON files in this folder describe a server with any stream. The served documents are
//! filled in with the configured streams: an address, a key and a row each, and the columns once
//! the database has described them. The apps of the listener add their addresses to the first, and
//! those of the demo are in that of a demo alone.
//! `tests/it/specification.rs` compares both documents with the code and with a running server's
//! responses.

mod app_parts;
mod asyncapi;
mod openapi;
mod placeholders;
mod schema;
mod stream_docs;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde_json::Value;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use warp::http::{HeaderValue, StatusCode};

use crate::app_mounts::AppMounts;
use crate::error::ApiError;
use crate::etag::{entity_tag, etag_matches};
use crate::response::Response;
use crate::state::ServerState;
use latido_admission::RequestHead;
use stream_docs::StreamDocs;

/// One of the two documents, rendered again when a stream's properties have changed.
pub(super) struct Specification {
    state: Arc<ServerState>,
    mounts: AppMounts,
    render: fn(&[StreamDocs], &AppMounts, is_demo: bool) -> Value,
    /// The cached document: anyone may request it at any rate, so requests must not cause
    /// rendering. The lock is held while rendering; nothing else waits under it.
    cached: Mutex<Option<RenderedDocument>>,
}

#[derive(Clone)]
struct RenderedDocument {
    streams: Vec<StreamDocs>,
    text: Bytes,
    tag: String,
}

impl Specification {
    /// Creates both documents: that of the addresses, and that of the WebSocket messages.
    pub(super) fn pair(state: &Arc<ServerState>, mounts: &AppMounts) -> (Arc<Self>, Arc<Self>) {
        let of = |write| {
            Arc::new(Self {
                state: Arc::clone(state),
                mounts: mounts.clone(),
                render: write,
                cached: Mutex::default(),
            })
        };
        (
            of(openapi::render),
            of(|streams, _, _| asyncapi::render(streams)),
        )
    }

    /// Answers with the document, or with 304 if the client has the newest one.
    pub(super) fn serve(&self, head: &RequestHead) -> Result<Response, ApiError> {
        head.require_read()?;
        let RenderedDocument { text, tag, .. } = self.rendered();
        let unchanged = etag_matches(&head.header(IF_NONE_MATCH), &tag);
        let mut response = Response::new(if unchanged { "".into() } else { text.into() });
        if unchanged {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(HeaderValue::try_from(tag).map(|tag| (ETAG, tag)));
        // Clients must revalidate each time, which costs a 304: columns are known only after the
        // database was reached.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        Ok(response)
    }

    fn rendered(&self) -> RenderedDocument {
        let streams = stream_docs::collect_streams(&self.state);
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        match &*cached {
            Some(document) if document.streams == streams => document.clone(),
            _ => {
                let is_demo = self.state.extra_routes.is_some();
                let text = (self.render)(&streams, &self.mounts, is_demo).to_string();
                let tag = entity_tag(text.as_bytes());
                cached
                    .insert(RenderedDocument {
                        streams,
                        text: text.into(),
                        tag,
                    })
                    .clone()
            }
        }
    }
}
