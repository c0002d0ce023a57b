//! The responses to a shard's asynchronous requests.

use crate::protocol_handler::AsyncResult;
use latido_auth::{PermissionSubject, Principal};
use latido_base::ident::Channel;
use latido_session::{PermissionAnswer, ReauthError};

/// The response to a request.
pub(super) enum AsyncResponse {
    /// The result of a permission check for a subject.
    Permission(PermissionSubject, Channel, PermissionAnswer),
    /// The principal of a new token, or the reason for its rejection.
    Token(Result<Principal, ReauthError>),
    /// The output of an app's future.
    App(AsyncResult),
}
