//! Serving a request to an app, with the rules common to all addresses: the largest body and the
//! deadlines.

use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use futures_util::Stream;
use tokio::time::timeout;
use tracing::warn;

use crate::app_http::HttpApp;
use crate::app_message::{AppRequest, AppResponse};
use crate::body;
use crate::body::BodyReadError;
use crate::response::Response;
use crate::state::ServerState;
use latido_admission::RequestHead;

/// The time an app may take to answer a complete request.
const APP_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves a request to an app.
pub(super) async fn serve_app_request<B: Buf, E>(
    state: Arc<ServerState>,
    app: Arc<dyn HttpApp>,
    path: String,
    head: RequestHead,
    body: impl Stream<Item = Result<B, E>>,
) -> Response {
    let mut request = AppRequest::from_head(&head, &path, &state.config.proxies);
    let handle = match app.authorize(&request) {
        Ok(handle) => handle,
        Err(response) => return response.into_response(),
    };
    let closing =
        |response: AppResponse| response.with_header("connection", "close").into_response();
    request.body = match timeout(
        state.config.app_body_timeout,
        body::collect_body(body, app.body_limit()),
    )
    .await
    {
        Ok(Ok(body)) => body.into(),
        Ok(Err(BodyReadError::TooLarge)) => {
            return closing(app.error_response(413, "too_large", "the body is too large"));
        }
        Ok(Err(BodyReadError::Incomplete)) => {
            return closing(app.error_response(400, "bad_request", "the body broke off"));
        }
        Err(_) => return closing(app.error_response(408, "slow_body", "the body took too long")),
    };
    let response = timeout(APP_TIMEOUT, handle(request))
        .await
        .unwrap_or_else(|_| {
            warn!(path, "an app took too long to answer a request");
            app.error_response(503, "unavailable", "no answer in time; ask again later")
        });
    response.into_response()
}
