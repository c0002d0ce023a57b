//! `GET /events?channel=…&history=…`: the frames of several channels as Server-Sent Events.
//!
//! The data of an event is the whole frame of the WebSocket, which names its channel. The channels
//! are independent: each is held, refused and withdrawn for itself, and the newest frame of each
//! wins. A channel that `history` names gets its history first.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::stream::{SelectAll, iter, select_all, unfold};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::OwnedSemaphorePermit;
use warp::sse::Event;

use crate::authenticate::{ReadRequest, authenticate_read};
use crate::channel_feed::{ChannelFeed, FeedUpdate};
use crate::error::ApiError;
use crate::history::{HISTORY, HistoryError, HistoryTurns};
use crate::response::Response;
use crate::sse::{TokenEnd, admit, event_response, in_one_line, restart_event, token_ended};
use crate::state::ServerState;
use latido_admission::RequestHead;
use latido_base::ident::Version;
use latido_hub::SubscriberEvent;
use latido_net::query;
use latido_protocol::{ErrorCode, Frame, ServerReply, Staleness, native};
use latido_session::SessionLimits;
use latido_stream::ChannelError;

/// One client's event stream.
struct ChannelsStream {
    state: Arc<ServerState>,
    channels: SelectAll<EventsOfChannel>,
    token_end: TokenEnd,
    /// The status of the database that was sent last. Each channel reports it.
    status: Option<Frame>,
    /// The permits that count the stream against the limits while it lasts.
    _permits: Vec<OwnedSemaphorePermit>,
}

type EventsOfChannel = Pin<Box<dyn Stream<Item = ChannelEvent> + Send + Sync>>;

/// An event of a channel, or of the database.
enum ChannelEvent {
    /// A frame with the stream's `event`.
    Snapshot(String, Version, Frame),
    History(Frame),
    /// The channel's status.
    Status(Frame),
    /// The status of the database, of which each channel reports every change.
    DatabaseStatus(Frame),
    Error(ErrorCode, Frame),
}

/// Answers with the events of all channels that the query names, until the last of them ends.
pub(super) async fn stream_channels(
    state: Arc<ServerState>,
    head: RequestHead,
) -> Result<Response, ApiError> {
    let principal = authenticate_read(&state, &head, RequestHead::require_get).await?;
    let names = channel_names(&head.query, &state.session_limits.get())?;
    let with_history: Vec<_> = query::values(&head.query, HISTORY).collect();
    let history = HistoryTurns::new();
    let token_end = token_ended(&state, &principal);
    let opening = names.iter().map(|name| {
        let request = ReadRequest {
            channel: name.clone(),
            principal: Arc::clone(&principal),
            history: with_history.contains(name).then(|| history.clone()),
        };
        ChannelFeed::open(&state, request)
    });
    let opened = join_all(opening).await;
    let permits = admit(&state, &head, &principal)?;
    let is_refused = opened.iter().all(Result::is_err);
    let mut channels = Vec::with_capacity(opened.len());
    for (name, feed) in names.iter().zip(opened) {
        match feed {
            Ok(feed) => channels.push(ChannelEvents::new(&state, feed).into_stream()),
            Err(error) if is_refused => return Err(error),
            Err(error) => channels.push(Box::pin(iter([refusal(&error, name)]))),
        }
    }
    let heartbeat = state.config.event_heartbeat;
    let stream = ChannelsStream {
        state,
        channels: select_all(channels),
        token_end,
        status: None,
        _permits: permits,
    };
    Ok(event_response(unfold(Some(stream), next_event), heartbeat))
}

/// Returns the names of the channels of a query, each once, with and without their history.
fn channel_names(query: &str, limits: &SessionLimits) -> Result<Vec<String>, ApiError> {
    let mut names: Vec<String> = Vec::new();
    let pairs = query::pairs(query);
    let named = pairs.filter(|(parameter, _)| parameter == "channel" || parameter == HISTORY);
    for (_, name) in named {
        if !names.contains(&name) {
            names.push(name);
        }
        if names.len() > limits.channels {
            return Err(ApiError::bad_request(
                "too_many_channels",
                limits.too_many_channels_message(),
            ));
        }
    }
    match names.is_empty() {
        true => Err(ApiError::bad_request(
            "bad_request",
            "expected ?channel=stream:key, once for each channel",
        )),
        false => Ok(names),
    }
}

async fn next_event(
    stream: Option<ChannelsStream>,
) -> Option<(Result<Event, Infallible>, Option<ChannelsStream>)> {
    let mut stream = stream?;
    loop {
        let ChannelsStream {
            state,
            channels,
            token_end,
            status,
            ..
        } = &mut stream;
        let event = tokio::select! {
            biased;
            () = state.drain.stopping() => return Some((Ok(restart_event()), None)),
            () = token_end => return None,
            event = channels.next() => event?,
        };
        let event = match event {
            ChannelEvent::DatabaseStatus(frame) if status.as_ref() == Some(&frame) => continue,
            ChannelEvent::DatabaseStatus(frame) => {
                *status = Some(frame.clone());
                to_event("status", &frame)
            }
            ChannelEvent::Status(frame) => to_event("status", &frame),
            ChannelEvent::History(frame) => to_event("history", &frame),
            ChannelEvent::Error(code, frame) => {
                state.metrics.errors_sent.increment(code.as_str());
                to_event("error", &frame)
            }
            ChannelEvent::Snapshot(event, version, frame) => {
                to_event(&event, &frame).id(version.0.to_string())
            }
        };
        return Some((Ok(event), Some(stream)));
    }
}

/// Builds an event with the whole frame.
fn to_event(event: &str, frame: &Frame) -> Event {
    let data = in_one_line(frame.payload());
    Event::default().event(event).data(data)
}

fn error(code: ErrorCode, message: String, channel: &str) -> ChannelEvent {
    let reply = ServerReply::Error {
        code,
        message,
        channel: Some(channel.to_owned()),
    };
    ChannelEvent::Error(code, Frame::text(&native::encode_reply(&reply)))
}

/// Returns the event for a channel that the client may not have. A code that has no frame of its
/// own means that the server cannot answer now.
fn refusal(refused: &ApiError, channel: &str) -> ChannelEvent {
    let code = ErrorCode::ALL
        .into_iter()
        .find(|code| code.as_str() == refused.code());
    let code = code.unwrap_or(ErrorCode::Unavailable);
    error(code, refused.message().to_owned(), channel)
}

/// The events of one channel.
struct ChannelEvents {
    state: Arc<ServerState>,
    feed: ChannelFeed,
    /// True once the client got a snapshot.
    has_numbers: bool,
    /// True while the client was told that the channel is stale.
    is_stale: bool,
}

impl ChannelEvents {
    fn new(state: &Arc<ServerState>, feed: ChannelFeed) -> Self {
        Self {
            state: Arc::clone(state),
            feed,
            has_numbers: false,
            is_stale: false,
        }
    }

    fn into_stream(self) -> EventsOfChannel {
        let updates = unfold(Some(self), |events| async {
            let mut events = events?;
            let update = events.feed.next().await;
            let is_last = matches!(update, FeedUpdate::Refused(_) | FeedUpdate::Withdrawn);
            let update = events.on_update(update);
            Some((iter(update), (!is_last).then_some(events)))
        });
        Box::pin(updates.flatten())
    }

    fn on_update(&mut self, update: FeedUpdate) -> Vec<ChannelEvent> {
        match update {
            // The stream's first frame says that it works.
            FeedUpdate::Held if self.feed.is_broken() => {
                vec![self.error(ErrorCode::Unavailable, ChannelError::Broken.to_string())]
            }
            FeedUpdate::Held => vec![self.stale_since(self.state.clock.unix_s())],
            FeedUpdate::Opened => self.fresh().into_iter().collect(),
            FeedUpdate::History(Ok(frame)) => vec![ChannelEvent::History(frame)],
            FeedUpdate::History(Err(HistoryError { code, message })) => {
                self.state.metrics.errors_sent.increment(code.as_str());
                let channel = self.feed.channel();
                let frame = native::encode_history_error(channel, code, message);
                vec![ChannelEvent::History(frame)]
            }
            FeedUpdate::Event(event, SubscriberEvent::Frame(newest)) => {
                self.has_numbers = true;
                let frame = ChannelEvent::Snapshot(event, newest.version, newest.frame);
                std::iter::once(frame).chain(self.fresh()).collect()
            }
            FeedUpdate::Event(_, SubscriberEvent::Unreadable(frame, stale_since)) => {
                let since = stale_since.filter(|_| self.has_numbers && !self.is_stale);
                let status = since.map(|since| self.stale_since(since));
                let error = ChannelEvent::Error(ErrorCode::Unavailable, frame);
                std::iter::once(error).chain(status).collect()
            }
            FeedUpdate::Event(_, SubscriberEvent::Status(status)) => {
                vec![ChannelEvent::DatabaseStatus(status)]
            }
            FeedUpdate::Refused(refused) => vec![refusal(&refused, self.feed.channel())],
            FeedUpdate::Withdrawn => {
                vec![self.error(ErrorCode::Forbidden, native::FORBIDDEN_MESSAGE.to_owned())]
            }
        }
    }

    fn error(&self, code: ErrorCode, message: String) -> ChannelEvent {
        error(code, message, self.feed.channel())
    }

    fn stale_since(&mut self, since_s: i64) -> ChannelEvent {
        self.is_stale = true;
        self.status(Staleness::StaleSince(since_s))
    }

    /// Returns the event that the channel is not stale any more, if the client was told that it is.
    fn fresh(&mut self) -> Option<ChannelEvent> {
        std::mem::take(&mut self.is_stale).then(|| self.status(Staleness::Fresh))
    }

    fn status(&self, staleness: Staleness) -> ChannelEvent {
        let frame = native::encode_channel_staleness(self.feed.channel(), staleness);
        ChannelEvent::Status(frame)
    }
}
