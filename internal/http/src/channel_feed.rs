//! One channel of an event stream: it is held while the client's rights are unknown, then followed
//! until the right ends.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::authenticate::{ReadRequest, subscribe};
use crate::error::ApiError;
use crate::history::{HistoryResult, PendingHistory};
use crate::state::ServerState;
use latido_auth::PermissionLease;
use latido_base::ident::{Channel, StreamId};
use latido_hub::{AsyncSubscriber, SubscriberEvent};
use latido_stream::ChannelError;

/// The range of the pause before the rights of a held channel are checked again, in milliseconds.
const RETRY_PAUSE_MS: std::ops::Range<u64> = 500..1_500;

/// A channel of one client's event stream.
pub(super) struct ChannelFeed {
    state: Arc<ServerState>,
    request: ReadRequest,
    source: Source,
    /// Changes when streams were replaced.
    reloads: watch::Receiver<u64>,
}

/// The origin of a channel's events.
enum Source {
    /// It is unknown whether the client may read the channel. The stream is held, since an
    /// `EventSource` gives up for ever after a 503.
    Held { is_told: bool },
    /// The stream was replaced or removed, and the rights to the channel must be checked again.
    Replaced,
    Open {
        stream: StreamId,
        event: String,
        watcher: AsyncSubscriber,
        /// The history, which comes before the first frame.
        history: Option<PendingHistory>,
        /// Completes when the database has withdrawn the right.
        withdrawn: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    },
}

/// What happened to a channel.
pub(super) enum FeedUpdate {
    /// The channel cannot be followed yet.
    Held,
    /// A held channel is followed from now on.
    Opened,
    /// A frame, an error or a status of the channel; the text is the stream's `event`.
    Event(String, SubscriberEvent),
    /// The history of the channel, or the reason why it does not come. Frames follow.
    History(HistoryResult),
    /// The client may not have a held channel. Nothing follows.
    Refused(ApiError),
    /// The database has withdrawn the right. Nothing follows.
    Withdrawn,
}

impl ChannelFeed {
    /// Checks the rights to the channel and follows it. Holds it if the rights are unknown.
    ///
    /// # Errors
    /// The client may not have the channel.
    pub(super) async fn open(
        state: &Arc<ServerState>,
        request: ReadRequest,
    ) -> Result<Self, ApiError> {
        let reloads = state.hub.reloads();
        let source = match request.authorize(state).await {
            Ok(channel) => Source::open(state, &request, &channel)?,
            Err(error) if error.is_temporary() => Source::Held { is_told: false },
            Err(error) => return Err(error),
        };
        Ok(Self {
            state: Arc::clone(state),
            request,
            source,
            reloads,
        })
    }

    /// Returns the name of the channel.
    pub(super) fn channel(&self) -> &str {
        &self.request.channel
    }

    /// Returns whether the channel is held because its stream does not work.
    pub(super) fn is_broken(&self) -> bool {
        let catalog = &self.state.catalog;
        match catalog.resolve(self.channel()) {
            Ok(channel) => catalog
                .status(channel.topic.stream)
                .has_broken_permissions(),
            Err(error) => error == ChannelError::Broken,
        }
    }

    /// Waits for the next update. Cancel-safe.
    pub(super) async fn next(&mut self) -> FeedUpdate {
        loop {
            let update = match &mut self.source {
                Source::Open { .. } => self.next_of_open().await,
                Source::Replaced => self.follow_replacement().await,
                Source::Held { is_told } if !*is_told => {
                    *is_told = true;
                    Some(FeedUpdate::Held)
                }
                Source::Held { .. } => Some(match self.retry().await {
                    Ok(source) => {
                        self.source = source;
                        FeedUpdate::Opened
                    }
                    Err(error) => FeedUpdate::Refused(error),
                }),
            };
            if let Some(update) = update {
                return update;
            }
        }
    }

    /// Waits for the next update of an open channel. Returns `None` if streams were replaced.
    async fn next_of_open(&mut self) -> Option<FeedUpdate> {
        let Source::Open {
            stream,
            event,
            watcher,
            history,
            withdrawn,
        } = &mut self.source
        else {
            return None;
        };
        tokio::select! {
            biased;
            Ok(()) = self.reloads.changed() => {}
            () = withdrawn => return Some(FeedUpdate::Withdrawn),
            result = pending_history(history) => return Some(FeedUpdate::History(result)),
            update = watcher.next(), if history.is_none() => {
                return Some(FeedUpdate::Event(event.clone(), update));
            }
        }
        if self.state.catalog.is_retired(*stream) {
            if history.is_none() {
                // The client has it.
                self.request.history = None;
            }
            self.source = Source::Replaced;
        }
        None
    }

    /// Follows the stream that has the channel's name now. Returns `None` if that begins.
    async fn follow_replacement(&mut self) -> Option<FeedUpdate> {
        let source = match self.request.authorize(&self.state).await {
            Ok(channel) => Source::open(&self.state, &self.request, &channel),
            Err(error) if error.is_temporary() => Ok(Source::Held { is_told: false }),
            Err(error) => Err(error),
        };
        match source {
            Ok(source) => {
                self.source = source;
                None
            }
            Err(error) => Some(FeedUpdate::Refused(error)),
        }
    }

    /// Checks the rights of a held channel until the database can answer.
    async fn retry(&self) -> Result<Source, ApiError> {
        loop {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(RETRY_PAUSE_MS))).await;
            match self.request.authorize(&self.state).await {
                Ok(channel) => return Source::open(&self.state, &self.request, &channel),
                Err(error) if error.is_temporary() => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Source {
    fn open(
        state: &Arc<ServerState>,
        request: &ReadRequest,
        channel: &Channel,
    ) -> Result<Self, ApiError> {
        let watcher = subscribe(state, channel)?;
        let catalog = &state.catalog;
        let lease = state.policy.lease(&request.principal, catalog, channel);
        Ok(Self::Open {
            stream: channel.topic.stream,
            event: catalog.get(channel.topic.stream).event.clone(),
            watcher,
            history: request
                .history
                .as_ref()
                .map(|turns| turns.read(state, channel)),
            withdrawn: Box::pin(right_withdrawn(Arc::clone(state), lease)),
        })
    }
}

/// Waits for the history once. Completes never if there is none to wait for.
async fn pending_history(history: &mut Option<PendingHistory>) -> HistoryResult {
    let Some(pending) = history else {
        return std::future::pending().await;
    };
    let result = pending.await;
    *history = None;
    result
}

/// Completes when the database has withdrawn the right. A right without a lease ends with the token.
async fn right_withdrawn(state: Arc<ServerState>, lease: Option<Arc<PermissionLease>>) {
    let Some(lease) = lease else {
        return std::future::pending().await;
    };
    while !lease.is_withdrawn() {
        tokio::time::sleep(state.policy.lease_check()).await;
    }
}
