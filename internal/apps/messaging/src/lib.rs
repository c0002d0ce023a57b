//! Messaging over Phoenix Channels, for unmodified `phoenix` clients: channels per user and per
//! conversation, stored in PostgreSQL.
//!
//! A client's push becomes one statement, and its reply goes to that client. All other events, also
//! those that the sending client receives, come from the `change_feed`. The feed reads committed
//! changes, no matter which program committed them. A message is therefore broadcast because it is
//! stored, and for no other reason.

mod api_version;
mod change_feed;
mod change_source;
mod channels;
mod connection;
mod connection_topics;
mod database;
mod feed_trigger;
mod frames;
mod payload;
mod presence;
mod settings;
mod store;
mod upgrade;
mod user_rate_limit;

use std::sync::Arc;
use std::time::Duration;

pub use api_version::ClientApiVersion;
use change_feed::{ChangeFeed, MembershipEpoch};
pub use change_source::ChangeSource;
#[cfg(any(test, fuzzing, feature = "testing"))]
pub use channels::fuzz_channel_session;
pub use database::{
    ChangeCursor, MessageDraft, MessagingDatabase, ReactionOutcome, SCHEMA, StoredMessage,
    WriteOutcome,
};
use feed_trigger::FeedTrigger;
use futures_util::future::BoxFuture;
use latido_app_kit::{App, AppDeps, AppSchema, AppServices, ServerSettings, Starter};
use latido_auth::{KeyError, Verifier, VerifierConfig};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_event_bus::EventBus;
use latido_postgres::{Database, Finding};
use latido_session::SessionLimits;
use latido_settings::{SettingsReader, Variable};
use presence::{MessagingTopicPolicy, PresenceTracker};
pub use store::{MessageStore, MessageWindows, StoreOperation, StoreResponse};
use user_rate_limit::UserRateLimit;

/// The app's name in `LATIDO_APPS` and in the operators' views.
pub const NAME: &str = "messaging";

/// The configuration of the messaging app.
#[derive(Debug, Clone)]
pub struct Config {
    /// The keys that verify tokens, and the claims that tokens must carry.
    pub verifier: VerifierConfig,
    /// The API version that a client is assumed to use until its first version-specific push.
    pub default_api_version: ClientApiVersion,
    /// The number of messages that one user may send per hour; at least 1.
    pub messages_per_hour: u32,
    /// The number of times that one user may start typing per hour; at least 1.
    pub typing_per_hour: u32,
    /// The periods in which messages may be retried, edited and deleted.
    pub windows: MessageWindows,
    /// The limits of one socket. The server does not ping it, because clients send their own
    /// heartbeat. A silent client is closed.
    pub limits: SessionLimits,
    /// The number of database connections that are reserved for this app.
    pub pool_size: usize,
}

impl Config {
    /// Returns the defaults with these keys. The user is the token's `sub`, even if the token names
    /// other users.
    pub fn new(mut verifier: VerifierConfig) -> Self {
        verifier.user_claims = &["sub"];
        verifier.session_claims = &["device_id", "session_id"];
        Self {
            verifier,
            default_api_version: ClientApiVersion::default(),
            messages_per_hour: PER_HOUR,
            typing_per_hour: PER_HOUR,
            windows: MessageWindows::default(),
            limits: socket_limits(SessionLimits::default()),
            pool_size: POOL_SIZE,
        }
    }
}

/// The default number of messages, and of beginnings to type, of one user per hour.
const PER_HOUR: u32 = 1000;
/// The default number of database connections.
const POOL_SIZE: usize = 8;
/// The largest frame, in bytes: a content of the largest size with every character of it escaped.
const MAX_FRAME_BYTES: u32 = 512 * 1024;
/// The idle timeout, in seconds. Clients send a heartbeat every 30 s, so this allows for one that
/// is lost.
const IDLE_TIMEOUT_S: u32 = 60;

/// Returns the server's limits with the values that differ for this app.
fn socket_limits(server: SessionLimits) -> SessionLimits {
    SessionLimits {
        message_bytes: MAX_FRAME_BYTES,
        heartbeat_s: IDLE_TIMEOUT_S,
        idle_timeout_s: IDLE_TIMEOUT_S,
        ..server
    }
}

/// The app, as the list of apps names it.
#[derive(Debug)]
pub struct Messaging;

impl App for Messaging {
    fn name(&self) -> &'static str {
        NAME
    }

    fn variables(&self) -> &'static [Variable] {
        settings::VARIABLES
    }

    fn schema(&self) -> Option<&'static AppSchema> {
        Some(&SCHEMA)
    }

    fn examine<'a>(&'a self, database: &'a Database) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(async {
            let messages = MessagingDatabase::new(database.clone());
            vec![match messages.check_schema().await {
                Ok(()) => Finding::ok(NAME, "its tables are there"),
                Err(error) => Finding::failure(NAME, error.to_string())
                    .remedy("latido install, with the app switched on"),
            }]
        })
    }

    fn configure(&self, reader: &mut SettingsReader<'_>, server: &ServerSettings<'_>) -> Starter {
        let config = Config::from_settings(reader, server.verifier);
        Arc::new(move |deps| start(&config, deps))
    }
}

/// Starts the app. The database may be down; until it is up, clients get a 503 and retry.
fn start(config: &Config, deps: &AppDeps) -> anyhow::Result<AppServices> {
    let messages = MessagingDatabase::new(deps.database.writer(config.pool_size)?);
    let config = Config {
        limits: socket_limits(deps.limits),
        ..config.clone()
    };
    let trigger = FeedTrigger::default();
    let app = MessagingApp::start(
        &config,
        messages,
        trigger.clone(),
        deps.clock.clone(),
        &deps.drain,
    )?;
    Ok(AppServices {
        websocket_apps: vec![Arc::new(app)],
        notifications: Some(Arc::new(trigger)),
        ..AppServices::default()
    })
}

/// The state that all sockets share.
struct MessagingShared {
    event_bus: Arc<EventBus>,
    store: Arc<dyn MessageStore>,
    verifier: Verifier,
    membership_epoch: Arc<MembershipEpoch>,
    presence_tracker: Arc<PresenceTracker>,
    trigger: FeedTrigger,
    message_limit: UserRateLimit,
    typing_limit: UserRateLimit,
    default_api_version: ClientApiVersion,
    windows: MessageWindows,
    limits: SessionLimits,
    clock: Clock,
}

/// The running app, which a listener serves.
#[derive(Clone)]
pub struct MessagingApp {
    shared: Arc<MessagingShared>,
}

impl MessagingApp {
    /// Starts the app on the current runtime. The database may be down; until it is up, clients get
    /// a 503 and retry. The owner of the database listener reports notifications through `trigger`.
    ///
    /// # Errors
    /// Returns the error of the first key that is not usable.
    pub fn start(
        config: &Config,
        messages: MessagingDatabase,
        trigger: FeedTrigger,
        clock: Clock,
        drain: &Drain,
    ) -> Result<Self, KeyError> {
        let verifier = Verifier::new(&config.verifier, clock.clone())?;
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
    fn start_with_store(
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
            default_api_version: config.default_api_version,
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

/// The time limit of one operation, including the wait for a database connection.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(15);
