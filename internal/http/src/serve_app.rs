//! Serving a request to an app, with the rules common to all addresses: the largest body and the
//! deadlines, and the origins and limits of sessions.

use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use futures_util::Stream;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::app_http::{HttpApp, SessionUse};
use crate::app_message::{AppRequest, AppResponse};
use crate::body;
use crate::body::BodyReadError;
use crate::response::Response;
use crate::state::ServerState;
use latido_admission::{ConnectionLimits, RequestHead, allows_page};

/// The time an app may take to answer a complete request.
const APP_TIMEOUT: Duration = Duration::from_secs(10);

/// The time after which a poll is given up. Apps end theirs earlier.
const POLL_TIMEOUT: Duration = Duration::from_secs(20);

/// The app that a request is for, and the server around it.
pub(super) struct AppTarget {
    state: Arc<ServerState>,
    app: Arc<dyn HttpApp>,
    /// The limits on sessions. They equal those on connections but are counted apart, since a
    /// session has no connection of its own.
    sessions: ConnectionLimits,
}

impl AppTarget {
    pub(super) fn new(
        state: Arc<ServerState>,
        app: Arc<dyn HttpApp>,
        sessions: ConnectionLimits,
    ) -> Self {
        Self {
            state,
            app,
            sessions,
        }
    }

    /// Serves a request to the app.
    pub(super) async fn serve<B: Buf, E>(
        self,
        head: RequestHead,
        mut request: AppRequest,
        body: impl Stream<Item = Result<B, E>>,
    ) -> Response {
        let app = &self.app;
        let session_use = app.session_use(&request);
        if let Some(session_use) = session_use
            && let Err(response) = self.admit(session_use, &head, &mut request)
        {
            return response.into_response();
        }
        let handle = match app.authorize(&request) {
            Ok(handle) => handle,
            Err(response) => return response.into_response(),
        };
        let closing =
            |response: AppResponse| response.with_header("connection", "close").into_response();
        let body_limit = match session_use {
            Some(SessionUse::Open | SessionUse::Poll) => 0,
            Some(SessionUse::Send) | None => app.body_limit(),
        };
        request.body = match timeout(
            self.state.config.app_body_timeout,
            body::collect_body(body, body_limit),
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
            Err(_) => {
                return closing(app.error_response(408, "slow_body", "the body took too long"));
            }
        };
        let path = request.path().to_owned();
        let response = if session_use == Some(SessionUse::Poll) {
            tokio::select! {
                response = timeout(POLL_TIMEOUT, handle(request)) => response.ok(),
                () = self.end_of_polls() => None,
            }
        } else {
            let response = timeout(APP_TIMEOUT, handle(request)).await;
            response
                .inspect_err(|_| warn!(path, "an app took too long to answer a request"))
                .ok()
        };
        response
            .unwrap_or_else(|| {
                app.error_response(503, "unavailable", "no answer in time; ask again later")
            })
            .into_response()
    }

    /// Checks the origin of a request that uses a session, and takes the permits of a new one.
    fn admit(
        &self,
        session_use: SessionUse,
        head: &RequestHead,
        request: &mut AppRequest,
    ) -> Result<(), AppResponse> {
        let refused = |status, reason, message| {
            self.state.metrics.count_refusal(reason);
            Err(self.app.error_response(status, reason, message))
        };
        if !allows_page(&self.state.config.origins, &head.headers) {
            return refused(403, "origin", "pages of this origin may not connect here");
        }
        if session_use != SessionUse::Open {
            return Ok(());
        }
        match self
            .sessions
            .acquire(request.client.map(|client| client.ip()))
        {
            Ok(permits) => {
                request.permits = Some(permits);
                Ok(())
            }
            Err(exceeded) => refused(
                503,
                exceeded.label(),
                "there is no room for another session; come back later",
            ),
        }
    }

    /// Completes some time after the server has begun to stop. The times differ, because the
    /// clients come back at once.
    async fn end_of_polls(&self) {
        self.state.drain.stopping().await;
        sleep((self.state.config.drain_grace / 2).mul_f64(fastrand::f64())).await;
    }
}
