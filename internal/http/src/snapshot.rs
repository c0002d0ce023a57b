//! `GET /<stream>/<key>`: the newest values of a topic, once.

use std::sync::Arc;

use futures_util::FutureExt as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::timeout;
use warp::http::header::{CACHE_CONTROL, ETAG, HeaderName, IF_NONE_MATCH, VARY};
use warp::http::{HeaderValue, StatusCode};

use crate::call::Call;
use crate::identity::{SOON, visit};
use crate::refusal::{Refusal, json_response};
use crate::{Doors, Response};
use latido_hub::{SubscriberEvent, VersionedFrame};
use latido_protocol::Frame;

/// The header that is present while the database can't be read and the values may be old.
const X_STALE: HeaderName = HeaderName::from_static("x-stale");

/// Answers with the `data` of the current frame. If the topic has no viewers, the row is read
/// first.
pub(super) async fn show(
    state: Arc<Doors>,
    stream: String,
    key: String,
    head: Call,
) -> Result<Response, Refusal> {
    let (channel, _) = visit(&state, &stream, &key, &head, Call::reads).await?;
    let mut watcher = state.hub.subscribe_async(&channel);
    let timed_out = |_| {
        Refusal::unavailable(
            "unavailable",
            "the statistics could not be read in time; ask again",
            SOON,
        )
    };
    let newest = timeout(state.config.answer_timeout, watcher.next_frame())
        .await
        .map_err(timed_out)?;
    let stale = matches!(watcher.next().now_or_never(), Some(SubscriberEvent::Status(_)));
    Ok(respond(&newest, &head, stale))
}

fn respond(newest: &VersionedFrame, head: &Call, stale: bool) -> Response {
    let tag = format!("\"{}\"", newest.version.0);
    let mut response = if tag_matches(&head.header(IF_NONE_MATCH), &tag) {
        let mut response = Response::new("".into());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        json_response(data(&newest.frame).to_owned())
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

/// Returns the `data` of a frame, byte for byte, because parsing could change a number.
pub(super) fn data(frame: &Frame) -> &str {
    #[derive(Deserialize)]
    struct Payload<'a> {
        #[serde(borrow)]
        data: &'a RawValue,
    }
    serde_json::from_str::<Payload<'_>>(frame.payload())
        .map_or("null", |payload| payload.data.get())
}

/// Returns whether `If-None-Match` contains the entity tag.
pub(super) fn tag_matches(if_none_match: &str, tag: &str) -> bool {
    if_none_match
        .split(',')
        .map(str::trim)
        .any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_copied_byte_for_byte() {
        let frame = Frame::text(
            r#"{"type":"stats","data":{"a":1.10,"b":123456789012345678901234567890},"channel":"x:1","v":7}"#,
        );
        assert_eq!(
            data(&frame),
            r#"{"a":1.10,"b":123456789012345678901234567890}"#
        );
    }

    #[test]
    fn entity_tags_match_in_every_client_format() {
        for same in ["\"7\"", "W/\"7\"", "\"6\", \"7\"", "*"] {
            assert!(tag_matches(same, "\"7\""), "{same}");
        }
        for other in ["", "7", "\"77\"", "\"6\""] {
            assert!(!tag_matches(other, "\"7\""), "{other}");
        }
    }
}
