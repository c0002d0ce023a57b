//! The running app: its change feed, its presence task and its sockets.

use std::sync::Arc;

use latido_auth::{KeyError, Verifier};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_event_bus::EventBus;

use crate::change_feed::{ChangeFeed, MembershipEpoch};
use crate::change_source::ChangeSource;
use crate::config::{Config, JOIN_BURST, REACTION_BURST, STATUS_BURST};
use crate::database::MessagingDatabase;
use crate::feed_trigger::FeedTrigger;
use crate::presence::{self, MessagingTopicPolicy, PresenceTracker};
use crate::shared::MessagingShared;
use crate::store::MessageStore;
use crate::user_rate_limit::UserRateLimit;

/// The running app, which a listener serves.
#[derive(Clone)]
pub(crate) struct MessagingApp {
    pub(crate) shared: Arc<MessagingShared>,
}

impl MessagingApp {
    /// Starts the app on the current runtime. The database may be down; until it is up, clients get
    /// a 503 and retry. The owner of the database listener reports notifications through `trigger`.
    /// Invalid tokens count together with those of the `server`.
    ///
    /// # Errors
    /// Returns the error of the first key that is not usable.
    pub(crate) fn start(
        config: &Config,
        messages: MessagingDatabase,
        trigger: FeedTrigger,
        server: &Verifier,
        clock: Clock,
        drain: &Drain,
    ) -> Result<Self, KeyError> {
        let verifier = Verifier::new(&config.verifier, clock.clone())?.with_limit_of(server);
        verifier.start(drain);
        Ok(Self::start_with_store(
            config,
            verifier,
            (Arc::new(messages.clone()), Arc::new(messages)),
            trigger,
            clock,
            drain,
        ))
    }

    /// Starts the app over any message store and change source.
    pub(crate) fn start_with_store(
        config: &Config,
        verifier: Verifier,
        (store, source): (Arc<dyn MessageStore>, Arc<dyn ChangeSource>),
        trigger: FeedTrigger,
        clock: Clock,
        drain: &Drain,
    ) -> Self {
        let presence_tracker = Arc::new(PresenceTracker::default());
        let topic_policy = MessagingTopicPolicy {
            presence_tracker: Arc::clone(&presence_tracker),
            clock: clock.clone(),
        };
        let bus_clock = clock.clone();
        let event_bus = Arc::new(EventBus::new(topic_policy, move || {
            bus_clock.now().as_microsecond()
        }));
        let membership_epoch = Arc::new(MembershipEpoch::default());
        let feed = ChangeFeed {
            source: Arc::clone(&source),
            event_bus: Arc::clone(&event_bus),
            membership_epoch: Arc::clone(&membership_epoch),
            presence_tracker: Arc::clone(&presence_tracker),
            trigger: trigger.clone(),
        };
        drain.spawn_until_stop(feed.run());
        drain.spawn_until_stop(presence::notify_contacts(
            Arc::clone(&presence_tracker),
            source,
            Arc::clone(&event_bus),
            clock.clone(),
        ));
        let shared = MessagingShared {
            event_bus,
            store,
            verifier,
            membership_epoch,
            presence_tracker,
            trigger,
            message_limit: UserRateLimit::new(config.messages_per_hour),
            typing_limit: UserRateLimit::new(config.typing_per_hour),
            reaction_limit: UserRateLimit::in_bursts(config.reactions_per_hour, REACTION_BURST),
            status_limit: UserRateLimit::in_bursts(config.statuses_per_hour, STATUS_BURST),
            join_limit: UserRateLimit::in_bursts(config.joins_per_hour, JOIN_BURST),
            assumed_api_version: config.assumed_api_version,
            windows: config.windows,
            limits: config.limits,
            clock,
        };
        Self {
            shared: Arc::new(shared),
        }
    }
}

impl std::fmt::Debug for MessagingApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessagingApp")
            .field("totals", &self.shared.event_bus.totals())
            .finish_non_exhaustive()
    }
}
