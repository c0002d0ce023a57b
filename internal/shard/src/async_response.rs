//! The responses to a shard's asynchronous requests.

use std::sync::Arc;

use crate::protocol_handler::AsyncResult;
use latido_auth::{PermissionSubject, Principal};
use latido_base::ident::Channel;
use latido_hub::HistoryResult;
use latido_session::{PermissionAnswer, ReauthError};

/// The response to a request.
pub(super) enum AsyncResponse {
    /// The result of a permission check for a subject.
    Permission(PermissionSubject, Channel, PermissionAnswer),
    /// The principal of a new token, or the reason for its rejection.
    Token(Result<Principal, ReauthError>),
    /// The history of the channel of this name.
    History(Arc<str>, HistoryResult),
    /// The output of an app's future.
    App(AsyncResult),
}
