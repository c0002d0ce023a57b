//! The interface of an app that answers HTTP addresses.

use futures_util::future::BoxFuture;

use crate::app_message::{AppRequest, AppResponse};
use latido_admission::json_error;

/// The handler of one authorized request.
pub type AppHandler = Box<dyn FnOnce(AppRequest) -> BoxFuture<'static, AppResponse> + Send>;

/// How a request uses a session, as of long polling: a session outlives its requests, as a
/// WebSocket does. Pages of origins that are not allowed are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionUse {
    /// It opens a session, and has no body. It carries [`AppRequest::permits`], which the app keeps
    /// with the session.
    Open,
    /// It waits for messages of a session, and has no body. It is answered with an error soon
    /// after the server has begun to stop.
    Poll,
    /// It brings messages for a session.
    Send,
}

/// The HTTP addresses of an app.
pub trait HttpApp: Send + Sync {
    /// Returns whether the app answers this path, for any method; a wrong method is a 405 with
    /// `Allow`. The path is as received, not decoded.
    fn matches(&self, path: &str) -> bool;

    /// Returns the largest body the app accepts, in bytes.
    fn body_limit(&self) -> usize;

    /// Returns how a request uses a session of the app, or `None` if it uses none.
    fn session_use(&self, _request: &AppRequest) -> Option<SessionUse> {
        None
    }

    /// Matches a request with a route and authenticates its client, before the body is read; `body`
    /// is empty here. Returns the handler of the request, which is called at most once, with the
    /// body. Its future is dropped after ten seconds, for a poll after twenty, or when the client
    /// has disconnected.
    ///
    /// # Errors
    /// Returns the response that is sent instead of the handler's.
    fn authorize(&self, request: &AppRequest) -> Result<AppHandler, AppResponse>;

    /// Returns the response to a path that nothing on the app's own listener answers, or `None` for
    /// the server's.
    fn unknown_path(&self) -> Option<AppResponse> {
        None
    }

    /// Formats an error that the server answers on the app's behalf: 400 (the body broke off), 403
    /// (the origin of a session), 408, 413 or 503.
    fn error_response(
        &self,
        status: u16,
        code: &'static str,
        message: &'static str,
    ) -> AppResponse {
        AppResponse::json(status, json_error(code, message))
    }
}
