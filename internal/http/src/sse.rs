//! `GET /<stream>/<key>/events`: the channel's frames as Server-Sent Events; the newest frame wins.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use warp::Reply as _;
use warp::http::HeaderValue;
use warp::http::header::{CACHE_CONTROL, HeaderName};
use warp::sse::Event;

use crate::authenticate::{ReadRequest, authenticate_read};
use crate::channel_feed::{ChannelFeed, FeedUpdate};
use crate::error::{ApiError, RETRY_SOON};
use crate::history::{HistoryError, HistoryTurns};
use crate::response::Response;
use crate::snapshot::frame_data;
use crate::state::ServerState;
use latido_admission::RequestHead;
use latido_auth::Principal;
use latido_hub::SubscriberEvent;
use latido_protocol::{ErrorCode, Frame};

/// The header that stops nginx from buffering events.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The range of the reconnect delay, in milliseconds, sent to clients when the server stops. The
/// delay is random so that clients do not reconnect all at once.
const RECONNECT_DELAY_MS: std::ops::Range<u64> = 1_000..5_000;

/// The end of the token of an event stream.
pub(super) type TokenEnd = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// One client's event stream. It ends with the token, the right to the
/// channel, the server, or the client.
struct EventStream {
    state: Arc<ServerState>,
    feed: ChannelFeed,
    token_end: TokenEnd,
    /// The permits that count the stream against the limits while it lasts.
    _permits: Vec<OwnedSemaphorePermit>,
}

/// Answers with an event stream that does not end by itself.
pub(super) async fn stream_events(
    state: Arc<ServerState>,
    channel: String,
    head: RequestHead,
) -> Result<Response, ApiError> {
    let principal = authenticate_read(&state, &head, RequestHead::require_get).await?;
    let token_end = token_ended(&state, &principal);
    let request = ReadRequest {
        channel,
        principal: Arc::clone(&principal),
        history: HistoryTurns::requested(&head.query)?,
    };
    let feed = ChannelFeed::open(&state, request).await;
    let permits = admit(&state, &head, &principal)?;
    let heartbeat = state.config.event_heartbeat;
    let stream = EventStream {
        feed: feed?,
        state,
        token_end,
        _permits: permits,
    };
    Ok(event_response(unfold(Some(stream), next_event), heartbeat))
}

/// Counts an event stream against the user's limit, unless the server stops.
pub(super) fn admit(
    state: &ServerState,
    head: &RequestHead,
    principal: &Principal,
) -> Result<Vec<OwnedSemaphorePermit>, ApiError> {
    if state.drain.is_stopping() {
        return Err(ApiError::unavailable(
            "draining",
            "the server is stopping; come back",
            RETRY_SOON,
        ));
    }
    let permits = state
        .rules
        .acquire_user_permits(head, Some(principal.user()))?;
    Ok(permits)
}

/// Builds the response with an event stream.
pub(super) fn event_response(
    events: impl Stream<Item = Result<Event, Infallible>> + Send + Sync + 'static,
    heartbeat: Duration,
) -> Response {
    let events = warp::sse::keep_alive().interval(heartbeat).stream(events);
    let mut response = warp::sse::reply(events).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// Completes when the token has expired or was revoked.
pub(super) fn token_ended(state: &Arc<ServerState>, principal: &Principal) -> TokenEnd {
    let (state, lifetime) = (Arc::clone(state), principal.lifetime());
    Box::pin(async move {
        lifetime.wait_for_end(&state.clock).await;
    })
}

async fn next_event(
    stream: Option<EventStream>,
) -> Option<(Result<Event, Infallible>, Option<EventStream>)> {
    let mut stream = stream?;
    let EventStream {
        state,
        feed,
        token_end,
        ..
    } = &mut stream;
    let update = tokio::select! {
        biased;
        () = state.drain.stopping() => return Some((Ok(restart_event()), None)),
        () = token_end => return None,
        update = feed.next() => update,
    };
    let event = match update {
        FeedUpdate::Held => status_event(&json!({"stale": true, "since": state.clock.unix_s()})),
        FeedUpdate::Opened => status_event(&json!({"stale": false})),
        FeedUpdate::Event(event, update) => update_event(state, &event, update),
        FeedUpdate::History(Ok(frame)) => {
            Event::default().event("history").data(event_data(&frame))
        }
        FeedUpdate::History(Err(HistoryError { code, message })) => {
            state.metrics.errors_sent.increment(code.as_str());
            let data = json!({"code": code.as_str(), "message": message});
            Event::default().event("error").data(data.to_string())
        }
        FeedUpdate::Refused(error) => {
            let event = Event::default().event("error").data(refusal_data(&error));
            return Some((Ok(event), None));
        }
        FeedUpdate::Withdrawn => return None,
    };
    Some((Ok(event), Some(stream)))
}

fn update_event(state: &ServerState, event: &str, update: SubscriberEvent) -> Event {
    match update {
        SubscriberEvent::Frame(newest) => Event::default()
            .event(event)
            .id(newest.version.0.to_string())
            .data(event_data(&newest.frame)),
        SubscriberEvent::Unreadable(error, _) => {
            let errors = &state.metrics.errors_sent;
            errors.increment(ErrorCode::Unavailable.as_str());
            Event::default().event("error").data(event_data(&error))
        }
        SubscriberEvent::Status(status) => {
            Event::default().event("status").data(event_data(&status))
        }
    }
}

/// Returns the `data` of a frame as the data of an event.
fn event_data(frame: &Frame) -> String {
    in_one_line(frame_data(frame))
}

/// Replaces carriage returns, which JSON of the database may have between its tokens: one would end
/// the line of the event (HTML standard, section 9.2.5).
pub(super) fn in_one_line(json: &str) -> String {
    json.replace('\r', " ")
}

fn status_event(staleness: &Value) -> Event {
    Event::default().event("status").data(staleness.to_string())
}

/// Returns the code and the message of an error, as in a frame `error`.
fn refusal_data(error: &ApiError) -> String {
    json!({"code": error.code(), "message": error.message()}).to_string()
}

pub(super) fn restart_event() -> Event {
    Event::default()
        .comment("restarting")
        .retry(Duration::from_millis(fastrand::u64(RECONNECT_DELAY_MS)))
}
