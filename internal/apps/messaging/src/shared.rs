//! The state that all sockets of the app share.

use std::sync::Arc;
use std::time::Duration;

use latido_auth::Verifier;
use latido_base::clock::Clock;
use latido_event_bus::EventBus;
use latido_session::SessionLimits;

use crate::api_version::ClientApiVersion;
use crate::change_feed::MembershipEpoch;
use crate::feed_trigger::FeedTrigger;
use crate::presence::PresenceTracker;
use crate::store::{MessageStore, MessageWindows};
use crate::user_rate_limit::UserRateLimit;

/// The time limit of one operation, including the wait for a database connection.
pub(crate) const OPERATION_TIMEOUT: Duration = Duration::from_secs(15);

/// The state that all sockets share.
pub(crate) struct MessagingShared {
    pub(crate) event_bus: Arc<EventBus>,
    pub(crate) store: Arc<dyn MessageStore>,
    pub(crate) verifier: Verifier,
    pub(crate) membership_epoch: Arc<MembershipEpoch>,
    pub(crate) presence_tracker: Arc<PresenceTracker>,
    pub(crate) trigger: FeedTrigger,
    pub(crate) message_limit: UserRateLimit,
    pub(crate) typing_limit: UserRateLimit,
    pub(crate) reaction_limit: UserRateLimit,
    pub(crate) status_limit: UserRateLimit,
    pub(crate) join_limit: UserRateLimit,
    pub(crate) assumed_api_version: Option<ClientApiVersion>,
    pub(crate) windows: MessageWindows,
    pub(crate) limits: SessionLimits,
    pub(crate) clock: Clock,
}
