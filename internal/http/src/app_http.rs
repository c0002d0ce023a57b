//! The interface of an app that answers HTTP addresses.

use futures_util::future::BoxFuture;

use crate::app_message::{AppRequest, AppResponse};
use latido_admission::json_error;

/// The handler of one authorized request.
pub type AppHandler = Box<dyn FnOnce(AppRequest) -> BoxFuture<'static, AppResponse> + Send>;

/// The HTTP addresses of an app.
pub trait HttpApp: Send + Sync {
    /// Returns whether the app answers this path, for any method; a wrong method is a 405 with
    /// `Allow`. The path is as received, not decoded.
    fn matches(&self, path: &str) -> bool;

    /// Returns the largest body the app accepts, in bytes.
    fn body_limit(&self) -> usize;

    /// Matches a request with a route and authenticates its client, before the body is read; `body`
    /// is empty here. Returns the handler of the request, which is called at most once, with the
    /// body. Its future is dropped after ten seconds, or when the client has disconnected.
    ///
    /// # Errors
    /// Returns the response that is sent instead of the handler's.
    fn authorize(&self, request: &AppRequest) -> Result<AppHandler, AppResponse>;

    /// Returns the response to a path that nothing on the app's own listener answers, or `None` for
    /// the server's.
    fn unknown_path(&self) -> Option<AppResponse> {
        None
    }

    /// Formats an error that the server answers on the app's behalf: 400 (the body broke off), 408,
    /// 413 or 503.
    fn error_response(
        &self,
        status: u16,
        code: &'static str,
        message: &'static str,
    ) -> AppResponse {
        AppResponse::json(status, json_error(code, message))
    }
}
