//! The addresses of long polling.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::oneshot;

use crate::authenticate::{ERRORS, Rejection, authenticate};
use crate::long_poll::request::{
    Status, error_response, gone_status, poll_response, session_token, split_batch,
    status_response, user_token,
};
use crate::long_poll::sessions::{Command, Sessions};
use crate::shared::MessagingShared;
use crate::upgrade::handler_spec;
use latido_base::drain::Drain;
use latido_event_bus::ConnectionSlot;
use latido_http::{AppHandler, AppRequest, AppResponse, HttpApp, SessionUse};

/// The paths, beside those of the WebSocket.
const PATHS: [&str; 2] = ["/socket/longpoll", "/messaging/socket/longpoll"];

/// The largest batch of messages, in bytes: at least two frames of the largest size.
const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// The addresses of long polling.
pub(crate) struct LongPoll {
    shared: Arc<MessagingShared>,
    sessions: Sessions,
    /// The number of the next poll.
    next_poll: AtomicU64,
}

impl LongPoll {
    /// Starts the task of the sessions.
    pub(crate) fn start(shared: Arc<MessagingShared>, drain: &Drain) -> Self {
        let sessions = Sessions::start(shared.clock.clone(), drain);
        Self {
            shared,
            sessions,
            next_poll: AtomicU64::new(0),
        }
    }

    /// Returns the token of a request's session, with its slot if it exists.
    fn session(&self, request: &AppRequest) -> Option<(String, Option<ConnectionSlot>)> {
        let token = session_token(request)?;
        let slot = self.sessions.tokens.slot(&token);
        Some((token, slot))
    }

    fn poll(&self, token: String, slot: ConnectionSlot) -> AppHandler {
        let sessions = self.sessions.clone();
        let number = self.next_poll.fetch_add(1, Ordering::Relaxed);
        Box::new(move |request| {
            Box::pin(async move {
                let mut guard = PollGuard {
                    sessions,
                    slot,
                    number,
                    is_answered: false,
                };
                let (answer, answered) = oneshot::channel();
                let command = Command::Poll(slot, number, answer);
                // The task has ended if it takes no command, and the session if it gives no answer.
                let _taken = guard.sessions.commands.send(command).await;
                let answered = answered.await;
                guard.is_answered = true;
                match answered {
                    Ok(answer) if answer.status == Status::Gone => {
                        status_response(gone_status(&request))
                    }
                    Ok(answer) => poll_response(answer.status, &token, &answer.frames),
                    Err(_) => status_response(gone_status(&request)),
                }
            })
        })
    }

    fn open(&self) -> AppHandler {
        let (shared, sessions) = (Arc::clone(&self.shared), self.sessions.clone());
        Box::new(move |mut request| {
            Box::pin(async move {
                let verified = match authenticate(&shared, &request, user_token(&request)).await {
                    Ok(verified) => verified,
                    Err(Rejection::Forbidden(_)) => return status_response(Status::Forbidden),
                    Err(Rejection::Unavailable) => {
                        return error_response(503, "unavailable").with_header("retry-after", "1");
                    }
                };
                let spec = Box::new(handler_spec(shared, verified));
                let (response, opened) = oneshot::channel();
                let command = Command::Open(spec, request.permits.take(), response);
                let _taken = sessions.commands.send(command).await;
                match opened.await {
                    Ok(token) => poll_response(Status::Gone, &token, &[]),
                    Err(_) => error_response(503, "unavailable"),
                }
            })
        })
    }

    fn receive(&self, slot: ConnectionSlot) -> AppHandler {
        let sessions = self.sessions.clone();
        Box::new(move |request| {
            Box::pin(async move {
                let frames = match split_batch(&request) {
                    Ok(frames) => frames,
                    Err(status) => return status_response(status),
                };
                let (response, received) = oneshot::channel();
                let command = Command::Receive(slot, frames, response);
                let _taken = sessions.commands.send(command).await;
                status_response(match received.await {
                    Ok(true) => Status::Ok,
                    Ok(false) | Err(_) => Status::Gone,
                })
            })
        })
    }
}

impl HttpApp for LongPoll {
    fn matches(&self, path: &str) -> bool {
        PATHS.contains(&path)
    }

    fn body_limit(&self) -> usize {
        MAX_BATCH_BYTES
    }

    fn session_use(&self, request: &AppRequest) -> Option<SessionUse> {
        match request.method() {
            "GET" if session_token(request).is_some() => Some(SessionUse::Poll),
            "GET" => Some(SessionUse::Open),
            "POST" => Some(SessionUse::Send),
            _ => None,
        }
    }

    fn authorize(&self, request: &AppRequest) -> Result<AppHandler, AppResponse> {
        match (request.method(), self.session(request)) {
            ("GET", None) => Ok(self.open()),
            ("GET", Some((token, Some(slot)))) => Ok(self.poll(token, slot)),
            ("POST", Some((_, Some(slot)))) => Ok(self.receive(slot)),
            ("GET" | "POST", _) => Err(status_response(gone_status(request))),
            _ => Err(ERRORS.method_not_allowed("GET, POST")),
        }
    }

    fn error_response(
        &self,
        status: u16,
        _code: &'static str,
        message: &'static str,
    ) -> AppResponse {
        error_response(status, message)
    }
}

impl std::fmt::Debug for LongPoll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LongPoll").finish_non_exhaustive()
    }
}

/// Reports a poll whose request ends before its answer is handed over, because the client has
/// aborted it.
struct PollGuard {
    sessions: Sessions,
    slot: ConnectionSlot,
    number: u64,
    is_answered: bool,
}

impl Drop for PollGuard {
    fn drop(&mut self) {
        if !self.is_answered {
            let command = Command::PollAborted(self.slot, self.number);
            // With a full queue the session ends a little later, because nobody polls.
            let _sent = self.sessions.commands.try_send(command);
        }
    }
}
