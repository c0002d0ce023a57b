//! `GET /openapi.json` and `GET /asyncapi.json`: machine-readable descriptions of the server.
//!
//! The two JSON files in this folder describe a server with any stream. The served documents are
//! filled in with the configured streams: an address, a key and a row each, and the columns once
//! the database has described them. `tests/it/specification.rs` compares both documents with the
//! code and with a running server's responses.

mod asyncapi;
mod facts;
mod openapi;
mod schema;
mod template;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde_json::Value;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use warp::http::{HeaderValue, StatusCode};

use crate::call::Call;
use crate::page::tag;
use crate::refusal::Refusal;
use crate::snapshot::tag_matches;
use crate::{Doors, Response};
use facts::Facts;

pub use facts::Shapes;

/// One of the two documents, rendered again when a stream's properties have changed.
pub(super) struct Specification {
    state: Arc<Doors>,
    write: fn(&[Facts]) -> Value,
    /// The cached document: anyone may request it at any rate, so requests must not cause
    /// rendering. The lock is held while rendering; nothing else waits under it.
    newest: Mutex<Option<Written>>,
}

#[derive(Clone)]
struct Written {
    facts: Vec<Facts>,
    text: Bytes,
    tag: String,
}

impl Specification {
    /// Creates both documents: that of the addresses, and that of the WebSocket messages.
    pub(super) fn pair(state: &Arc<Doors>) -> (Arc<Self>, Arc<Self>) {
        let of = |write| {
            Arc::new(Self {
                state: Arc::clone(state),
                write,
                newest: Mutex::default(),
            })
        };
        (of(openapi::write), of(asyncapi::write))
    }

    /// Answers with the document, or with 304 if the client has the newest one.
    pub(super) fn show(&self, head: &Call) -> Result<Response, Refusal> {
        head.reads()?;
        let Written { text, tag, .. } = self.written();
        let unchanged = tag_matches(&head.header(IF_NONE_MATCH), &tag);
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

    fn written(&self) -> Written {
        let streams = facts::all(&self.state);
        let mut cached = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        match &*cached {
            Some(document) if document.facts == streams => document.clone(),
            _ => {
                let text = (self.write)(&streams).to_string();
                let tag = tag(text.as_bytes());
                cached
                    .insert(Written {
                        facts: streams,
                        text: text.into(),
                        tag,
                    })
                    .clone()
            }
        }
    }
}
