//! `GET /openapi.json` and `GET /asyncapi.json`: what the server says of itself, for programs.
//!
//! The two files beside this one describe a server with any stream. What is served is filled in with those that there are: an address, a
//! key and a row of its own each, the columns as soon as the database has told them. `tests/it/specification.rs` compares both documents
//! with the code and with what a running server answers.

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

use crate::http::call::Call;
use crate::http::page::tag;
use crate::http::refusal::Refusal;
use crate::http::snapshot::tag_matches;
use crate::http::{Doors, Response};
use facts::Facts;

pub use facts::Shapes;

/// One of the two documents, written anew when what it tells has changed.
pub(super) struct Specification {
    doors: Arc<Doors>,
    write: fn(&[Facts]) -> Value,
    /// Strangers may ask as often as they like, so they are not what makes us write. Held for as long as writing takes; nobody waits
    /// for anything else under it.
    newest: Mutex<Option<Written>>,
}

#[derive(Clone)]
struct Written {
    facts: Vec<Facts>,
    text: Bytes,
    tag: String,
}

impl Specification {
    /// The document of the addresses, and that of the WebSocket's messages.
    pub(super) fn pair(doors: &Arc<Doors>) -> (Arc<Self>, Arc<Self>) {
        let of = |write| {
            Arc::new(Self {
                doors: Arc::clone(doors),
                write,
                newest: Mutex::default(),
            })
        };
        (of(openapi::write), of(asyncapi::write))
    }

    /// Answers with the document, or with the news that there is none newer.
    pub(super) fn show(&self, call: &Call) -> Result<Response, Refusal> {
        call.reads()?;
        let Written { text, tag, .. } = self.written();
        let unchanged = tag_matches(&call.header(IF_NONE_MATCH), &tag);
        let mut response = Response::new(if unchanged { "".into() } else { text.into() });
        if unchanged {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(HeaderValue::try_from(tag).map(|tag| (ETAG, tag)));
        // Asked for again each time, which costs a 304: columns are known only after the database was reached.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        Ok(response)
    }

    fn written(&self) -> Written {
        let facts = facts::all(&self.doors);
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        match &*newest {
            Some(written) if written.facts == facts => written.clone(),
            _ => {
                let text = (self.write)(&facts).to_string();
                let tag = tag(text.as_bytes());
                newest
                    .insert(Written {
                        facts,
                        text: text.into(),
                        tag,
                    })
                    .clone()
            }
        }
    }
}
