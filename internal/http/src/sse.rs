//! `GET /<stream>/<key>/events`: the topic's frames as Server-Sent Events; the newest frame wins.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::unfold;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use warp::Reply as _;
use warp::http::HeaderValue;
use warp::http::header::{CACHE_CONTROL, HeaderName};
use warp::sse::Event;

use crate::authenticate::{ReadRequest, authenticate_read};
use crate::error::{ApiError, RETRY_SOON};
use crate::response::Response;
use crate::snapshot::frame_data;
use crate::state::ServerState;
use latido_admission::RequestHead;
use latido_auth::{PermissionLease, TokenLifetime};
use latido_base::ident::Channel;
use latido_hub::{AsyncSubscriber, SubscriberEvent};
use latido_protocol::{ErrorCode, Frame};

/// The header that stops nginx from buffering events.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The range of the reconnect delay, in milliseconds, sent to clients when the server stops. The
/// delay is random so that clients do not reconnect all at once.
const RECONNECT_DELAY_MS: std::ops::Range<u64> = 1_000..5_000;

/// The range of the pause before the rights of a held stream are checked again, in milliseconds.
const RETRY_PAUSE_MS: std::ops::Range<u64> = 500..1_500;

/// One client's event stream. It ends with the token, the right to the
/// channel, the server, or the client.
struct EventStream {
    state: Arc<ServerState>,
    source: Source,
    ended: EndOfRight,
    /// The permits that count the stream against the limits while it lasts.
    _permits: Vec<OwnedSemaphorePermit>,
}

/// The origin of a stream's events.
enum Source {
    /// The database is away, so it is unknown whether the client may read the channel. The stream
    /// is held, since an `EventSource` gives up for ever after a 503.
    Held {
        request: Arc<ReadRequest>,
        has_status: bool,
    },
    Channel {
        event: String,
        watcher: AsyncSubscriber,
    },
}

/// Answers with an event stream that does not end by itself.
pub(super) async fn stream_events(
    state: Arc<ServerState>,
    stream: String,
    key: String,
    head: RequestHead,
) -> Result<Response, ApiError> {
    let request = authenticate_read(&state, &stream, &key, &head, RequestHead::require_get).await?;
    let authorized = request.authorize(&state).await;
    if state.drain.is_stopping() {
        return Err(ApiError::unavailable(
            "draining",
            "the server is stopping; come back",
            RETRY_SOON,
        ));
    }
    let user = request.principal.user();
    let permits = state.rules.acquire_user_permits(&head, Some(user))?;
    let (source, ended) = match authorized {
        Ok(channel) => open(&state, &request, &channel),
        Err(error) if error.is_temporary() => hold(&state, request),
        Err(error) => return Err(error),
    };
    let heartbeat = state.config.event_heartbeat;
    let feed = EventStream {
        state,
        source,
        ended,
        _permits: permits,
    };
    let events = warp::sse::keep_alive()
        .interval(heartbeat)
        .stream(unfold(Some(feed), next_event));
    let mut response = warp::sse::reply(events).into_response();
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
        .headers_mut()
        .insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

type EndOfRight = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// Subscribes to a channel. Returns it with the end of the right to it.
fn open(
    state: &Arc<ServerState>,
    request: &ReadRequest,
    channel: &Channel,
) -> (Source, EndOfRight) {
    let source = Source::Channel {
        event: state.catalog.get(channel.topic.stream).event.clone(),
        watcher: state.hub.subscribe_async(channel),
    };
    let lease = state
        .policy
        .lease(&request.principal, &state.catalog, channel);
    let ended = right_ended(Arc::clone(state), request.principal.lifetime(), lease);
    (source, Box::pin(ended))
}

/// Holds a stream whose rights can't be checked yet.
fn hold(state: &Arc<ServerState>, request: ReadRequest) -> (Source, EndOfRight) {
    let ended = right_ended(Arc::clone(state), request.principal.lifetime(), None);
    let source = Source::Held {
        request: Arc::new(request),
        has_status: false,
    };
    (source, Box::pin(ended))
}

async fn next_event(
    feed: Option<EventStream>,
) -> Option<(Result<Event, Infallible>, Option<EventStream>)> {
    let mut feed = feed?;
    let EventStream {
        state,
        source,
        ended,
        ..
    } = &mut feed;
    let next = async {
        match source {
            Source::Channel { event, watcher } => {
                Progress::Event(update_event(state, event, watcher.next().await))
            }
            Source::Held {
                has_status: has_status @ false,
                ..
            } => {
                *has_status = true;
                let staleness = json!({"stale": true, "since": state.clock.unix_s()});
                Progress::Event(status_event(&staleness))
            }
            Source::Held { request, .. } => retry(state, request).await,
        }
    };
    let progress = tokio::select! {
        biased;
        () = state.drain.stopping() => return Some((Ok(restart_event()), None)),
        () = ended => return None,
        progress = next => progress,
    };
    let event = match progress {
        Progress::Event(event) => event,
        Progress::Refused(error) => {
            let event = Event::default().event("error").data(refusal_data(&error));
            return Some((Ok(event), None));
        }
        Progress::Authorized(request, channel) => {
            (feed.source, feed.ended) = open(&feed.state, &request, &channel);
            status_event(&json!({"stale": false}))
        }
    };
    Some((Ok(event), Some(feed)))
}

/// The next step of a stream.
enum Progress {
    Event(Event),
    /// A held stream may be opened.
    Authorized(Arc<ReadRequest>, Channel),
    /// The client may not have a held stream.
    Refused(ApiError),
}

/// Checks the rights of a held stream until the database can answer.
async fn retry(state: &ServerState, request: &Arc<ReadRequest>) -> Progress {
    loop {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(RETRY_PAUSE_MS))).await;
        match request.authorize(state).await {
            Ok(channel) => return Progress::Authorized(Arc::clone(request), channel),
            Err(error) if error.is_temporary() => {}
            Err(error) => return Progress::Refused(error),
        }
    }
}

fn update_event(state: &ServerState, event: &str, update: SubscriberEvent) -> Event {
    match update {
        SubscriberEvent::Frame(newest) => Event::default()
            .event(event)
            .id(newest.version.0.to_string())
            .data(event_data(&newest.frame)),
        SubscriberEvent::Unreadable(error) => {
            let errors = &state.metrics.errors_sent;
            errors.increment(ErrorCode::Unavailable.as_str());
            Event::default().event("error").data(event_data(&error))
        }
        SubscriberEvent::Status(status) => {
            Event::default().event("status").data(event_data(&status))
        }
    }
}

/// Returns the `data` of a frame as the data of an event. A carriage return, which JSON of the
/// database may have between its tokens, would end the line of the event (HTML standard, section
/// 9.2.5).
fn event_data(frame: &Frame) -> String {
    frame_data(frame).replace('\r', " ")
}

fn status_event(staleness: &Value) -> Event {
    Event::default().event("status").data(staleness.to_string())
}

/// Returns the code and the message of an error, as in a frame `error`.
fn refusal_data(error: &ApiError) -> String {
    let body: Value = serde_json::from_str(&error.to_json()).unwrap_or_default();
    body["error"].to_string()
}

fn restart_event() -> Event {
    Event::default()
        .comment("restarting")
        .retry(Duration::from_millis(fastrand::u64(RECONNECT_DELAY_MS)))
}

/// Completes when the token has expired or was revoked, or the database has withdrawn the right.
async fn right_ended(
    state: Arc<ServerState>,
    lifetime: TokenLifetime,
    lease: Option<Arc<PermissionLease>>,
) {
    let token_ended = lifetime.wait_for_end(&state.clock);
    let Some(lease) = lease else {
        token_ended.await;
        return;
    };
    let withdrawn = async {
        while !lease.is_withdrawn() {
            tokio::time::sleep(state.policy.lease_check()).await;
        }
    };
    tokio::select! {
        _ = token_ended => {}
        () = withdrawn => {}
    }
}
