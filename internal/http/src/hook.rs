//! `POST /notify/<stream>`: a hint that a key may have changed, answered after the key was read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Buf;
use futures_util::Stream;
use tokio::time::timeout_at;
use tracing::debug;
use warp::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderName, ORIGIN};
use warp::http::{HeaderValue, StatusCode};

use crate::body::BodyReadError;
use crate::error::ApiError;
use crate::hook_body::BodyFormat;
use crate::response::{Response, json_response};
use crate::state::ServerState;
use crate::{body, hook_body};
use latido_admission::RequestHead;
use latido_base::ident::{StreamId, Topic};
use latido_base::token_bucket::SharedTokenBucket;
use latido_net::query::decode_segment;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The change hook of one listener.
pub(super) struct Hook {
    state: Arc<ServerState>,
    bucket: SharedTokenBucket,
}

impl Hook {
    pub(super) fn new(state: Arc<ServerState>) -> Self {
        let bucket = SharedTokenBucket::new(
            state.config.hook_per_second,
            state.config.hook_burst,
            Instant::now(),
        );
        Self { state, bucket }
    }

    /// Answers within the hook's deadline, which body and read share.
    pub(super) async fn notify<B: Buf, E>(
        self: Arc<Self>,
        path: String,
        head: RequestHead,
        body: impl Stream<Item = Result<B, E>>,
    ) -> Result<Response, ApiError> {
        let config = &self.state.config;
        let deadline = tokio::time::Instant::now() + config.hook_timeout;
        let stream = self.resolve_stream(&path)?;
        let format = self.check_request(&head)?;
        let body = timeout_at(deadline, body::collect_body(body, config.hook_body_bytes))
            .await
            .map_err(|_| body_timed_out())?;
        let topic = self.parse_topic(stream, format, &body.map_err(body_error)?)?;
        match timeout_at(deadline, self.state.engine.read_now(&topic)).await {
            Ok(Ok(())) => Ok(json_response(r#"{"status":"processed"}"#.into())),
            failed => {
                // Logged at debug: the engine has logged the reason, and a hook comes with every
                // change.
                debug!(key = %topic.key, in_time = failed.is_ok(), "a hook's key could not be read; it stays marked");
                Err(read_failed())
            }
        }
    }

    /// Resolves the stream of a path: one of the extra names, or the stream's own.
    fn resolve_stream(&self, path: &str) -> Result<StreamId, ApiError> {
        let path = decode_segment(path).ok_or_else(ApiError::not_found)?;
        let ServerState {
            config, catalog, ..
        } = &*self.state;
        let named = config
            .hook_paths
            .iter()
            .filter(|hook| hook.path == path)
            .find_map(|hook| catalog.find(&hook.stream));
        named
            .or_else(|| catalog.find(&path))
            .ok_or_else(ApiError::not_found)
    }

    /// Runs the checks that come before the body: method, key, rate, content type and announced
    /// size. Returns the format of the body.
    fn check_request(&self, head: &RequestHead) -> Result<BodyFormat, ApiError> {
        head.require_post()?;
        if let Some(key) = &self.state.hook_key {
            let presented = head.headers.get(API_KEY).map(HeaderValue::as_bytes);
            if !presented
                .or_else(|| head.bearer().map(str::as_bytes))
                .is_some_and(|presented| key.matches(presented))
            {
                debug!(
                    peer = head.remote_addr_text(),
                    "a hook without the key was refused"
                );
                let error = ApiError::unauthorized(
                    "Bearer",
                    "expected X-API-Key, or Authorization: Bearer, with the hook's key",
                );
                return Err(error.with_metric_label("hook_key"));
            }
        }
        if !self.bucket.try_take(Instant::now()) {
            let error = ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limited",
                "too many hooks; this one was not looked at",
            );
            return Err(error.retry_after(Duration::from_secs(1)));
        }
        let format = BodyFormat::of(
            &head.header(CONTENT_TYPE),
            head.headers.contains_key(ORIGIN),
        );
        let format = format.ok_or_else(|| {
            ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "expected Content-Type: application/json",
            )
        })?;
        // With `Expect: 100-continue`, an oversize body need not be sent at all. Other oversize
        // bodies are read; see `body`.
        let announced = head.header(CONTENT_LENGTH).parse::<u64>().unwrap_or(0);
        if announced > self.state.config.hook_body_bytes as u64 && head.headers.contains_key(EXPECT)
        {
            return Err(body_error(BodyReadError::TooLarge));
        }
        Ok(format)
    }

    fn parse_topic(
        &self,
        stream: StreamId,
        format: BodyFormat,
        body: &[u8],
    ) -> Result<Topic, ApiError> {
        let definition = self.state.catalog.get(stream);
        // Without the database the types are unknown, so the key can't be checked. Nobody can be
        // subscribed to it either.
        let types = definition.key_types.get().ok_or_else(read_failed)?;
        let key = hook_body::parse(body, format, definition, types)
            .map_err(|error| ApiError::bad_request("bad_hook", error.to_string()))?;
        Ok(Topic { stream, key })
    }
}

fn read_failed() -> ApiError {
    let message = "the statistics could not be read now; the change stays marked and is retried";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "unsettled", message)
}

fn body_timed_out() -> ApiError {
    ApiError::new(
        StatusCode::REQUEST_TIMEOUT,
        "slow_body",
        "the body took too long",
    )
    .close_connection()
}

fn body_error(error: BodyReadError) -> ApiError {
    debug!(%error, "a hook's body was refused");
    match error {
        BodyReadError::TooLarge => ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "the body is too large",
        )
        .close_connection(),
        BodyReadError::Incomplete => {
            ApiError::bad_request("bad_request", "the body broke off").close_connection()
        }
    }
}
