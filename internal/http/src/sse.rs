//! `GET /<stream>/<key>/events`: the topic's frames as Server-Sent Events; the newest frame wins.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::unfold;
use tokio::sync::OwnedSemaphorePermit;
use warp::Reply as _;
use warp::http::HeaderValue;
use warp::http::header::{CACHE_CONTROL, HeaderName};
use warp::sse::Event;

use crate::authenticate::authorize_read;
use crate::error::{ApiError, RETRY_SOON};
use crate::response::Response;
use crate::snapshot::frame_data;
use crate::state::ServerState;
use latido_admission::RequestHead;
use latido_auth::{PermissionLease, TokenLifetime};
use latido_base::drain::Drain;
use latido_hub::{AsyncSubscriber, SubscriberEvent};
use latido_protocol::ErrorCode;
use latido_telemetry::LabelledCounter;

/// The header that stops nginx from buffering events.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The range of the reconnect delay, in milliseconds, sent to clients when the server stops. The
/// delay is random so that clients do not reconnect all at once.
const RECONNECT_DELAY_MS: std::ops::Range<u64> = 1_000..5_000;

/// One client's event stream. It ends with the token, the right to the
/// channel, the server, or the client.
struct EventStream {
    watcher: AsyncSubscriber,
    event: String,
    ended: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    drain: Drain,
    /// The counter of errors sent.
    errors: LabelledCounter,
    /// The permits that count the stream against the limits while it lasts.
    _permits: Vec<OwnedSemaphorePermit>,
}

/// Answers with an event stream that does not end by itself.
pub(super) async fn stream_events(
    state: Arc<ServerState>,
    stream: String,
    key: String,
    head: RequestHead,
) -> Result<Response, ApiError> {
    let (channel, principal) =
        authorize_read(&state, &stream, &key, &head, RequestHead::require_get).await?;
    if state.drain.is_stopping() {
        return Err(ApiError::unavailable(
            "draining",
            "the server is stopping; come back",
            RETRY_SOON,
        ));
    }
    let permits = state
        .rules
        .acquire_user_permits(&head, Some(principal.user()))?;
    let feed = EventStream {
        _permits: permits,
        watcher: state.hub.subscribe_async(&channel),
        event: state.catalog.get(channel.topic.stream).event.clone(),
        ended: Box::pin(right_ended(
            Arc::clone(&state),
            principal.lifetime(),
            state.policy.lease(&principal, &state.catalog, &channel),
        )),
        drain: state.drain.clone(),
        errors: state.metrics.errors_sent.clone(),
    };
    let events = warp::sse::keep_alive()
        .interval(state.config.event_heartbeat)
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

async fn next_event(
    feed: Option<EventStream>,
) -> Option<(Result<Event, Infallible>, Option<EventStream>)> {
    let mut feed = feed?;
    let update = tokio::select! {
        biased;
        () = feed.drain.stopping() => return Some((Ok(restart_event()), None)),
        () = &mut feed.ended => return None,
        update = feed.watcher.next() => update,
    };
    let event = match update {
        SubscriberEvent::Frame(newest) => Event::default()
            .event(feed.event.as_str())
            .id(newest.version.0.to_string())
            .data(frame_data(&newest.frame)),
        SubscriberEvent::Unreadable(error) => {
            feed.errors.increment(ErrorCode::Unavailable.as_str());
            Event::default().event("error").data(frame_data(&error))
        }
        SubscriberEvent::Status(status) => {
            Event::default().event("status").data(frame_data(&status))
        }
    };
    Some((Ok(event), Some(feed)))
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
