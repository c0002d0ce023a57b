//! Messaging over Phoenix Channels, for unmodified `phoenix` clients: channels per user and per
//! conversation, stored in PostgreSQL.
//!
//! A client's push becomes one statement, and its reply goes to that client. All other events, also
//! those that the sending client receives, come from the `change_feed`. The feed reads committed
//! changes, no matter which program committed them. A message is therefore broadcast because it is
//! stored, and for no other reason.

mod feed;
mod frames;
mod guest;
mod payload;
mod pier;
mod presence;
mod rates;
mod socket;
mod store;
mod vocabulary;

use std::sync::Arc;
use std::time::Duration;

pub use feed::Source;
use feed::{Feed, Gate};
use latido_app_kit::{Hints, Parts, Served};
use latido_auth::{KeyError, Verifier, VerifierConfig};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_event_bus::EventBus;
use latido_postgres::apps::messaging::MessagingDatabase;
use latido_session::SessionLimits;
use presence::{Lists, Roll};
use rates::Rates;
#[cfg(any(test, fuzzing, feature = "testing"))]
pub use socket::exercise;
pub use store::{Answer, Operation, Store, Windows};
pub use vocabulary::Vocabulary;

/// The app's name in `LATIDO_APPS` and in the operators' views.
pub const NAME: &str = "messaging";

/// The configuration of the messaging app.
#[derive(Debug, Clone)]
pub struct Config {
    /// The keys that verify tokens, and the claims that tokens must carry.
    pub verifier: VerifierConfig,
    /// The API version that a client is assumed to use until its first version-specific push.
    pub vocabulary: Vocabulary,
    /// The number of messages that one user may send per hour; at least 1.
    pub messages_an_hour: u32,
    /// The number of times that one user may start typing per hour; at least 1.
    pub typing_an_hour: u32,
    /// The periods in which messages may be retried, edited and deleted.
    pub windows: Windows,
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
            vocabulary: Vocabulary::default(),
            messages_an_hour: 1000,
            typing_an_hour: 1000,
            windows: Windows::default(),
            limits: limits(SessionLimits::default()),
            pool_size: 8,
        }
    }
}

/// The largest frame, in bytes: a content of the largest size with every character of it escaped.
const MESSAGE_BYTES: u32 = 512 * 1024;
/// The idle timeout, in seconds. Clients send a heartbeat every 30 s, so this allows for one that
/// is lost.
const SILENCE_S: u32 = 60;

/// Returns the server's limits with the values that differ for this app.
fn limits(server: SessionLimits) -> SessionLimits {
    SessionLimits {
        message_bytes: MESSAGE_BYTES,
        heartbeat_s: SILENCE_S,
        idle_timeout_s: SILENCE_S,
        ..server
    }
}

/// Starts the app on the current runtime. The database may be down; until it is up, clients get a
/// 503 and retry.
///
/// # Errors
/// Returns an error if a key or the database address is not usable.
pub fn start(config: &Config, deps: &Parts) -> anyhow::Result<Served> {
    let messages = MessagingDatabase::new(deps.database.writer(config.pool_size)?);
    let config = Config {
        limits: limits(deps.limits),
        ..config.clone()
    };
    let app = Messaging::start(
        &config,
        messages,
        deps.messaging_hints.clone(),
        deps.clock.clone(),
        &deps.drain,
    )?;
    Ok(Served {
        piers: vec![Arc::new(app)],
        ..Served::default()
    })
}

/// The state that all sockets share.
struct Shared {
    exchange: Arc<EventBus>,
    store: Arc<dyn Store>,
    verifier: Verifier,
    gate: Arc<Gate>,
    roll: Arc<Roll>,
    hints: Hints,
    messages: Rates,
    typing: Rates,
    vocabulary: Vocabulary,
    windows: Windows,
    limits: SessionLimits,
    clock: Clock,
}

/// The running app, which a listener serves.
#[derive(Clone)]
pub struct Messaging {
    shared: Arc<Shared>,
}

impl Messaging {
    /// Starts the app on the current runtime. The database may be down; until it is up, clients get
    /// a 503 and retry. The owner of the database listener reports notifications through `trigger`.
    ///
    /// # Errors
    /// Returns the error of the first key that is not usable.
    pub fn start(
        config: &Config,
        messages: MessagingDatabase,
        trigger: Hints,
        clock: Clock,
        drain: &Drain,
    ) -> Result<Self, KeyError> {
        let verifier = Verifier::new(&config.verifier, clock.clone())?;
        verifier.start(drain);
        Ok(Self::with(
            config,
            verifier,
            (Arc::new(messages.clone()), Arc::new(messages)),
            trigger,
            clock,
            drain,
        ))
    }

    /// Starts the app over any message store and change source.
    fn with(
        config: &Config,
        verifier: Verifier,
        (store, source): (Arc<dyn Store>, Arc<dyn Source>),
        trigger: Hints,
        clock: Clock,
        drain: &Drain,
    ) -> Self {
        let presence_tracker = Arc::new(Roll::default());
        let topic_policy = Lists {
            roll: Arc::clone(&presence_tracker),
            clock: clock.clone(),
        };
        let bus_clock = clock.clone();
        let event_bus = Arc::new(EventBus::new(topic_policy, move || {
            bus_clock.now().as_microsecond()
        }));
        let membership_epoch = Arc::new(Gate::default());
        let feed = Feed {
            source: Arc::clone(&source),
            exchange: Arc::clone(&event_bus),
            gate: Arc::clone(&membership_epoch),
            roll: Arc::clone(&presence_tracker),
            hints: trigger.clone(),
        };
        drain.spawn_until_stop(feed.run());
        drain.spawn_until_stop(presence::tell_contacts(
            Arc::clone(&presence_tracker),
            source,
            Arc::clone(&event_bus),
            clock.clone(),
        ));
        let shared = Shared {
            exchange: event_bus,
            store,
            verifier,
            gate: membership_epoch,
            roll: presence_tracker,
            hints: trigger,
            messages: Rates::new(config.messages_an_hour),
            typing: Rates::new(config.typing_an_hour),
            vocabulary: config.vocabulary,
            windows: config.windows,
            limits: config.limits,
            clock,
        };
        Self {
            shared: Arc::new(shared),
        }
    }
}

impl std::fmt::Debug for Messaging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Messaging")
            .field("totals", &self.shared.exchange.totals())
            .finish_non_exhaustive()
    }
}

/// The time limit of one operation, including the wait for a database connection.
const OPERATION: Duration = Duration::from_secs(15);
