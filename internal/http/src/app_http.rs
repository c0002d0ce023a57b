//! The interface of an app that answers HTTP addresses.

use futures_util::future::BoxFuture;

use crate::app_message::{AppRequest, AppResponse};
use latido_admission::json_error;

/// The HTTP addresses of an app.
pub trait HttpApp: Send + Sync {
    /// Returns whether the app answers this path, for any method; a wrong method is a 405 with
    /// `Allow`. The path is as received, not decoded.
    fn matches(&self, path: &str) -> bool;

    /// Returns the largest body the app accepts, in bytes.
    fn body_limit(&self) -> usize;

    /// Checks a request before its body is read; `body` is empty here.
    ///
    /// # Errors
    /// Returns the response that replaces the one to the request.
    fn authorize(&self, _request: &AppRequest) -> Result<(), AppResponse> {
        Ok(())
    }

    /// Answers a request. The future is dropped after ten seconds, or when the client has
    /// disconnected.
    fn handle(&self, request: AppRequest) -> BoxFuture<'static, AppResponse>;

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
