//! The page of `latido try`: one query, read without a token. It answers only this machine.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::unfold;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use warp::filters::path::FullPath;
use warp::sse::Event;
use warp::{Filter as _, Reply as _};

use crate::assets::TRY_PAGE_FILES;
use crate::command_hints::CommandHints;
use crate::config::Config;
use crate::error::ApiError;
use crate::listen::HttpListener;
use crate::local_only::require_local;
use crate::request::request_head;
use crate::response::{Response, json_response, uncached};
use crate::serve::serve_routes;
use crate::sse::event_response;
use crate::static_files::StaticFiles;
use latido_admission::RequestHead;
use latido_base::drain::Drain;
use latido_net::Origins;
use latido_telemetry::Metrics;

/// The most open event streams. A browser opens at most six to one address.
const MAX_EVENT_STREAMS: usize = 32;
/// The delay after which the page connects again.
const RETRY: Duration = Duration::from_secs(1);
/// The message for requests of other machines and pages.
const REFUSAL: &str = "this page answers to its own machine alone: expected a browser at http://127.0.0.1 or http://localhost";

/// The query that the page shows.
pub trait TriedQuery: Send + Sync {
    /// Returns the description of the query as a JSON object.
    fn description(&self) -> String;

    /// Returns the state of the query's text as JSON objects: one for each version of the file.
    fn watch_text(&self) -> watch::Receiver<Arc<str>>;

    /// Returns the row of a key as JSON objects, of which the newest counts. It ends with the version
    /// of the query's text.
    ///
    /// # Errors
    /// Returns an error if there is no such key, or if too many keys are followed.
    fn follow(&self, key: &str) -> Result<watch::Receiver<Arc<str>>, RefusedKey>;
}

/// The reason why a key cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RefusedKey(pub String);

/// The addresses of the page.
struct TryPage {
    query: Arc<dyn TriedQuery>,
    files: StaticFiles,
    streams: Arc<Semaphore>,
    heartbeat: Duration,
    drain: Drain,
}

/// Serves the page of a query until the server stops, and nothing else.
pub async fn serve_try_page(listener: HttpListener, query: Arc<dyn TriedQuery>, drain: &Drain) {
    let config = Config {
        // Pages of other origins read nothing.
        origins: Origins::Listed(Vec::new()),
        ..Config::default()
    };
    let metrics = Arc::new(Metrics::new());
    let page = Arc::new(TryPage {
        query,
        files: StaticFiles::new(TRY_PAGE_FILES, CommandHints::default()),
        streams: Arc::new(Semaphore::new(MAX_EVENT_STREAMS)),
        heartbeat: config.event_heartbeat,
        drain: drain.clone(),
    });
    let counted = Arc::clone(&metrics);
    let routes = warp::path::full()
        .and(request_head())
        .map(move |path: FullPath, head: RequestHead| {
            let answer = page.answer(path.as_str(), &head);
            answer.unwrap_or_else(|error| error.into_response(&counted))
        })
        .boxed();
    serve_routes(listener, &config, routes, metrics, drain).await;
}

impl TryPage {
    fn answer(&self, path: &str, head: &RequestHead) -> Result<Response, ApiError> {
        require_local(head, REFUSAL)?;
        match path {
            "/query" => {
                head.require_get()?;
                Ok(uncached(json_response(self.query.description())))
            }
            "/events" => self.events(head),
            file => self.files.serve(file, head),
        }
    }

    /// Answers with the states of the query's text, and with the row of a key if one is named.
    fn events(&self, head: &RequestHead) -> Result<Response, ApiError> {
        head.require_get()?;
        let permit = Arc::clone(&self.streams).try_acquire_owned();
        let permit = permit.map_err(|_| {
            ApiError::too_many("connection_limit", "too many pages of this query are open")
        })?;
        let key = latido_net::query::raw_value(&head.query, "key")
            .map(|_| latido_net::query::value(&head.query, "key").unwrap_or_default());
        let mut text = self.query.watch_text();
        text.mark_changed();
        let mut events = PageEvents {
            text,
            row: None,
            refused: None,
            drain: self.drain.clone(),
            _permit: permit,
        };
        match key.map(|key| self.query.follow(&key)) {
            Some(Ok(mut row)) => {
                row.mark_changed();
                events.row = Some(row);
            }
            Some(Err(refused)) => events.refused = Some(refused),
            None => {}
        }
        let stream = unfold(Some(events), next_event);
        Ok(event_response(stream, self.heartbeat).into_response())
    }
}

/// The events of one page.
struct PageEvents {
    text: watch::Receiver<Arc<str>>,
    row: Option<watch::Receiver<Arc<str>>>,
    refused: Option<RefusedKey>,
    drain: Drain,
    _permit: OwnedSemaphorePermit,
}

async fn next_event(
    events: Option<PageEvents>,
) -> Option<(Result<Event, Infallible>, Option<PageEvents>)> {
    let mut events = events?;
    if let Some(refused) = events.refused.take() {
        let message = serde_json::json!({"message": refused.0}).to_string();
        let event = Event::default().event("refused").retry(RETRY);
        return Some((Ok(event.data(message)), Some(events)));
    }
    let PageEvents {
        text, row, drain, ..
    } = &mut events;
    let event = tokio::select! {
        biased;
        () = drain.stopping() => return None,
        Ok(()) = text.changed() => newest("text", text),
        Some(()) = next_row(row) => newest("row", row.as_mut()?),
        else => return None,
    };
    Some((Ok(event.retry(RETRY)), Some(events)))
}

/// Waits for a new row. Returns `None` once there are no more.
async fn next_row(row: &mut Option<watch::Receiver<Arc<str>>>) -> Option<()> {
    match row {
        Some(receiver) => match receiver.changed().await {
            Ok(()) => Some(()),
            Err(_) => {
                *row = None;
                None
            }
        },
        None => std::future::pending().await,
    }
}

fn newest(name: &str, receiver: &mut watch::Receiver<Arc<str>>) -> Event {
    let data = Arc::clone(&receiver.borrow_and_update());
    Event::default().event(name.to_owned()).data(&*data)
}
