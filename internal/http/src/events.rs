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

use crate::call::Call;
use crate::identity::{SOON, places, visit};
use crate::refusal::Refusal;
use crate::snapshot::data;
use crate::{Doors, Response};
use latido_auth::Principal;
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_hub::{SubscriberEvent, AsyncSubscriber};

/// The header that stops nginx from buffering events.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// The longest sleep towards a token's expiry, because the wall clock may be set meanwhile.
const EXPIRY_CHECK: Duration = Duration::from_secs(5);
/// The range of the reconnect delay, in milliseconds, sent to clients when the server stops. The
/// delay is random so that clients do not reconnect all at once.
const COME_BACK_MS: std::ops::Range<u64> = 1_000..5_000;

/// One client's event stream. It ends with the token, the server, or the client.
struct Feed {
    watcher: AsyncSubscriber,
    event: String,
    expired: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    drain: Drain,
    /// The permits that count the stream against the limits while it lasts.
    _places: Vec<OwnedSemaphorePermit>,
}

/// Answers with an event stream that does not end by itself.
pub(super) async fn follow(
    state: Arc<Doors>,
    stream: String,
    key: String,
    head: Call,
) -> Result<Response, Refusal> {
    let (channel, principal) = visit(&state, &stream, &key, &head, Call::gets).await?;
    if state.drain.is_stopping() {
        return Err(Refusal::unavailable(
            "draining",
            "the server is stopping; come back",
            SOON,
        ));
    }
    let permits = places(&state, &head, Some(principal.user()))?;
    let feed = Feed {
        _places: permits,
        watcher: state.hub.subscribe_async(&channel),
        event: state.catalog.get(channel.topic.stream).event.clone(),
        expired: Box::pin(ended(state.clock.clone(), principal)),
        drain: state.drain.clone(),
    };
    let events = warp::sse::keep_alive()
        .interval(state.config.event_heartbeat)
        .stream(unfold(Some(feed), next));
    let mut response = warp::sse::reply(events).into_response();
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
        .headers_mut()
        .insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

async fn next(feed: Option<Feed>) -> Option<(Result<Event, Infallible>, Option<Feed>)> {
    let mut feed = feed?;
    let update = tokio::select! {
        biased;
        () = feed.drain.stopping() => return Some((Ok(goodbye()), None)),
        () = &mut feed.expired => return None,
        update = feed.watcher.next() => update,
    };
    let event = match update {
        SubscriberEvent::Frame(newest) => Event::default()
            .event(feed.event.as_str())
            .id(newest.version.0.to_string())
            .data(data(&newest.frame)),
        SubscriberEvent::Status(status) => Event::default().event("status").data(data(&status)),
    };
    Some((Ok(event), Some(feed)))
}

fn goodbye() -> Event {
    Event::default()
        .comment("restarting")
        .retry(Duration::from_millis(fastrand::u64(COME_BACK_MS)))
}

/// Completes when the token has expired or was revoked.
async fn ended(clock: Clock, principal: Principal) {
    loop {
        let left_s =
            u64::try_from(principal.ends_at_s().saturating_sub(clock.unix_s())).unwrap_or(0);
        if left_s == 0 || principal.is_revoked() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(left_s).min(EXPIRY_CHECK)).await;
    }
}
