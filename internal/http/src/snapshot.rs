//! `GET /<stream>/<key>`: the newest values of a channel, once.

use std::sync::Arc;

use futures_util::FutureExt as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::timeout;
use warp::http::header::{CACHE_CONTROL, ETAG, HeaderName, IF_NONE_MATCH, VARY};
use warp::http::{HeaderValue, StatusCode};

use crate::authenticate::{ReadRequest, authenticate_read, subscribe};
use crate::error::{ApiError, RETRY_SOON};
use crate::etag::{entity_tag, etag_matches};
use crate::history::{HistoryError, HistoryResult, HistoryTurns};
use crate::response::{Response, json_response};
use crate::state::ServerState;
use latido_admission::RequestHead;
use latido_base::ident::Channel;
use latido_hub::{AsyncSubscriber, SubscriberEvent, Unreadable, VersionedFrame};
use latido_protocol::native::UNREADABLE_MESSAGE;
use latido_protocol::{ErrorCode, Frame};

/// The header that is present while the database can't be read and the values may be old.
const X_STALE: HeaderName = HeaderName::from_static("x-stale");

/// Present if the history has more rows than the response.
const X_TRUNCATED: HeaderName = HeaderName::from_static("x-truncated");

/// Answers with the `data` of the current frame, or with the rows of the history if the client asks
/// for it. If the topic has no viewers, the row is read first.
pub(super) async fn serve_snapshot(
    state: Arc<ServerState>,
    channel: String,
    head: RequestHead,
) -> Result<Response, ApiError> {
    let principal = authenticate_read(&state, &head, RequestHead::require_read).await?;
    let history = HistoryTurns::requested(&head.query)?;
    let request = ReadRequest {
        channel,
        principal,
        history: None,
    };
    let reloads = state.hub.reloads();
    let channel = request.authorize(&state).await?;
    let watcher = subscribe(&state, &channel)?;
    if let Some(turns) = history {
        return serve_history(turns.read(&state, &channel).await);
    }
    let newest = newest_frame(&state, &request, (channel, watcher), reloads);
    let (newest, mut watcher) = timeout(state.config.answer_timeout, newest)
        .await
        .map_err(|_| unavailable("the statistics could not be read in time; ask again"))??;
    let stale = matches!(
        watcher.next().now_or_never(),
        Some(SubscriberEvent::Status(_))
    );
    Ok(build_response(&newest, &head, stale))
}

fn unavailable(message: &'static str) -> ApiError {
    ApiError::unavailable("unavailable", message, RETRY_SOON)
}

/// Waits for the newest frame of a channel. If its stream is replaced meanwhile, follows the one that
/// has its name then.
async fn newest_frame(
    state: &ServerState,
    request: &ReadRequest,
    (mut channel, mut watcher): (Channel, AsyncSubscriber),
    mut reloads: watch::Receiver<u64>,
) -> Result<(VersionedFrame, AsyncSubscriber), ApiError> {
    loop {
        tokio::select! {
            newest = watcher.next_readable_frame() => {
                let newest = newest.map_err(|Unreadable| unavailable(UNREADABLE_MESSAGE))?;
                return Ok((newest, watcher));
            }
            Ok(()) = reloads.changed() => {}
        }
        if state.catalog.is_retired(channel.topic.stream) {
            channel = request.authorize(state).await?;
            watcher = subscribe(state, &channel)?;
        }
    }
}

/// Answers with the rows of a history.
fn serve_history(result: HistoryResult) -> Result<Response, ApiError> {
    match result {
        Ok(frame) => {
            let payload = FramePayload::of(&frame);
            let mut response = json_response(payload.data().to_owned());
            let headers = response.headers_mut();
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
            headers.insert(VARY, HeaderValue::from_static("Authorization"));
            if payload.truncated {
                headers.insert(X_TRUNCATED, HeaderValue::from_static("true"));
            }
            Ok(response)
        }
        Err(HistoryError {
            code: ErrorCode::NoHistory,
            message,
        }) => Err(ApiError::new(StatusCode::NOT_FOUND, "no_history", message)),
        Err(HistoryError { message, .. }) => Err(ApiError::unavailable(
            "history_unavailable",
            message,
            RETRY_SOON,
        )),
    }
}

fn build_response(newest: &VersionedFrame, head: &RequestHead, stale: bool) -> Response {
    let tag = row_tag(frame_data(&newest.frame));
    let mut response = if etag_matches(&head.header(IF_NONE_MATCH), &tag) {
        let mut response = Response::new("".into());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        json_response(frame_data(&newest.frame).to_owned())
    };
    let headers = response.headers_mut();
    headers.extend(HeaderValue::try_from(tag).map(|tag| (ETAG, tag)));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(VARY, HeaderValue::from_static("Authorization"));
    if stale {
        headers.insert(X_STALE, HeaderValue::from_static("true"));
    }
    response
}

/// Computes the entity tag of a row from its columns. A key that nobody watches is read for each
/// request, which changes the version and the time of the reading, but not the row. The tag is
/// therefore weak.
fn row_tag(data: &str) -> String {
    // The time of the reading comes last.
    let columns = data.rsplit_once(r#","timestamp":"#);
    let columns = columns.map_or(data, |(columns, _)| columns);
    format!("W/{}", entity_tag(columns.as_bytes()))
}

/// What the answers need of a frame. One that cannot be read has nothing.
#[derive(Deserialize, Default)]
struct FramePayload<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    /// Whether a history lacks rows at its end.
    #[serde(default)]
    truncated: bool,
}

impl<'a> FramePayload<'a> {
    fn of(frame: &'a Frame) -> Self {
        serde_json::from_str(frame.payload()).unwrap_or_default()
    }

    /// Returns the data byte for byte, because parsing could change a number.
    fn data(&self) -> &'a str {
        self.data.map_or("null", RawValue::get)
    }
}

/// Returns the `data` of a frame.
pub(super) fn frame_data(frame: &Frame) -> &str {
    FramePayload::of(frame).data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_depends_on_the_columns_alone() {
        let tag = row_tag(r#"{"id":"1","a":1,"timestamp":7}"#);
        assert_eq!(tag, row_tag(r#"{"id":"1","a":1,"timestamp":8}"#));
        assert!(tag.starts_with("W/\""), "{tag}");
        for other in [
            r#"{"id":"1","a":2,"timestamp":7}"#,
            r#"{"id":"2","a":1,"timestamp":7}"#,
            r#"{"id":"1","a":",\"timestamp\":1","timestamp":7}"#,
            r#"{"id":"1","a":",\"timestamp\":2","timestamp":7}"#,
        ] {
            assert_ne!(tag, row_tag(other), "{other}");
        }
    }

    #[test]
    fn data_is_copied_byte_for_byte() {
        let frame = Frame::text(
            r#"{"type":"stats","data":{"a":1.10,"b":123456789012345678901234567890},"channel":"x:1","v":7}"#,
        );
        assert_eq!(
            frame_data(&frame),
            r#"{"a":1.10,"b":123456789012345678901234567890}"#
        );
    }
}
