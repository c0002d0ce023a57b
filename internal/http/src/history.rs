//! The history of a channel: whether a request asks for it, and the wait for it.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};

use crate::error::ApiError;
use crate::state::ServerState;
use latido_base::ident::Channel;
use latido_hub::{HistoryReply, HistoryUnavailable};
use latido_net::query;
use latido_protocol::{ErrorCode, Frame, native};

/// The query parameter that asks for the history, which is no parameter of a stream.
pub(super) const HISTORY: &str = "history";

/// The wish for the history of each channel of a response. The channels of one response take turns:
/// the server keeps no more than one history for a client that reads slowly.
#[derive(Clone)]
pub(super) struct HistoryTurns(Arc<Semaphore>);

/// The history of a channel as a frame, or the reason why there is none.
pub(super) type HistoryResult = Result<Frame, HistoryError>;

/// A history that is on its way.
pub(super) type PendingHistory = Pin<Box<dyn Future<Output = HistoryResult> + Send + Sync>>;

/// The error for a channel whose history the client does not get. It gets the channel all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HistoryError {
    pub(super) code: ErrorCode,
    pub(super) message: &'static str,
}

impl HistoryTurns {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// Returns the turns if the query of an address asks for the history of its channel.
    ///
    /// # Errors
    /// The parameter has another value than `true` or `false`.
    pub(super) fn requested(query: &str) -> Result<Option<Self>, ApiError> {
        match query::value(query, HISTORY).as_deref() {
            None | Some("false") => Ok(None),
            Some("true") => Ok(Some(Self::new())),
            Some(_) => Err(ApiError::bad_request(
                "bad_request",
                "expected history=true or history=false",
            )),
        }
    }

    /// Asks for the history of a channel that the client watches already.
    pub(super) fn read(&self, state: &Arc<ServerState>, channel: &Channel) -> PendingHistory {
        let stream = state.catalog.get(channel.topic.stream);
        if stream.history_query.is_none() {
            let error = HistoryError {
                code: ErrorCode::NoHistory,
                message: native::NO_HISTORY_MESSAGE,
            };
            return Box::pin(std::future::ready(Err(error)));
        }
        let (turns, state, channel) = (Arc::clone(&self.0), Arc::clone(state), channel.clone());
        Box::pin(async move {
            let _turn = turns.acquire_owned().await;
            let (sender, result) = oneshot::channel();
            // The client may have left by the time of the reply.
            let reply = HistoryReply::new(|result| drop(sender.send(result)));
            state.hub.read_history(&channel, reply);
            let result = result.await.unwrap_or(Err(HistoryUnavailable));
            result.map_err(|HistoryUnavailable| HistoryError {
                code: ErrorCode::HistoryUnavailable,
                message: native::HISTORY_UNAVAILABLE_MESSAGE,
            })
        })
    }
}
