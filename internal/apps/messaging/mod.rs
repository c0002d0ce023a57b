//! Messaging over Phoenix Channels, for unmodified `phoenix` clients: users' and conversations' channels, stored in Postgres.
//!
//! A client's push becomes one statement; the answer goes to that client. What everybody else hears, and the client as well, is told by the
//! `feed`: it reads what was committed, whoever committed it. So a message is broadcast because it is stored, and for no other reason.

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

use crate::apps::{Parts, Served};
use crate::auth::{KeyError, Verifier, VerifierConfig};
use crate::clock::Clock;
use crate::drain::Drain;
use crate::hub::exchange::Exchange;
use crate::postgres::apps::messaging::Messages;
use crate::session::Limits;
use feed::{Feed, Gate};
pub use feed::{Hints, Source};
use presence::{Lists, Roll};
use rates::Rates;
#[cfg(any(test, fuzzing))]
pub(crate) use socket::exercise;
pub use store::{Answer, Operation, Store, Windows};
pub use vocabulary::Vocabulary;

/// The app's name: in `LATIDO_APPS`, and what operators see.
pub const NAME: &str = "messaging";

/// What the app needs to be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The keys that tokens are verified with, and what tokens must say.
    pub verifier: VerifierConfig,
    /// What a client is taken to understand until its first push tells.
    pub vocabulary: Vocabulary,
    /// Messages that one user may send in an hour; at least 1.
    pub messages_an_hour: u32,
    /// How often one user may begin to type in an hour; at least 1.
    pub typing_an_hour: u32,
    /// How long messages may be repeated, edited, deleted.
    pub windows: Windows,
    /// Those of one socket. It is not pinged, for clients send a heartbeat of their own; whoever is silent is closed.
    pub limits: Limits,
    /// Connections to the database, of this app alone.
    pub pool_size: usize,
}

impl Config {
    /// The defaults, with these keys. The user is the token's `sub`, whatever else it names.
    pub fn new(mut verifier: VerifierConfig) -> Self {
        verifier.user_claims = &["sub"];
        verifier.session_claims = &["device_id", "session_id"];
        Self {
            verifier,
            vocabulary: Vocabulary::default(),
            messages_an_hour: 1000,
            typing_an_hour: 1000,
            windows: Windows::default(),
            limits: limits(Limits::default()),
            pool_size: 8,
        }
    }
}

/// Largest frame in bytes: a content of the largest size, though every character of it is escaped.
const MESSAGE_BYTES: u32 = 512 * 1024;
/// Clients send a heartbeat every 30 s.
const SILENCE_S: u32 = 60;

/// The server's limits with what is different here.
fn limits(server: Limits) -> Limits {
    Limits {
        message_bytes: MESSAGE_BYTES,
        heartbeat_s: SILENCE_S,
        silence_s: SILENCE_S,
        ..server
    }
}

/// Starts the app, on the current runtime. The database need not be there; until it is, clients are told to come back.
///
/// # Errors
/// A key that is not usable, or an address of the database.
pub fn start(config: &Config, parts: &Parts) -> anyhow::Result<Served> {
    let messages = Messages::new(parts.database.writer(config.pool_size)?);
    let config = Config {
        limits: limits(parts.limits),
        ..config.clone()
    };
    let app = Messaging::start(
        &config,
        messages,
        parts.messaging_hints.clone(),
        parts.clock.clone(),
        &parts.drain,
    )?;
    Ok(Served {
        piers: vec![Arc::new(app)],
        ..Served::default()
    })
}

/// What all sockets share.
struct Shared {
    exchange: Arc<Exchange>,
    store: Arc<dyn Store>,
    verifier: Verifier,
    gate: Arc<Gate>,
    roll: Arc<Roll>,
    hints: Hints,
    messages: Rates,
    typing: Rates,
    vocabulary: Vocabulary,
    windows: Windows,
    limits: Limits,
    clock: Clock,
}

/// The running app: what a listener serves.
#[derive(Clone)]
pub struct Messaging {
    shared: Arc<Shared>,
}

impl Messaging {
    /// Starts it, on the current runtime. The database need not be there; until it is, clients are told to come back. `hints` is where whoever
    /// listens to the database tells what was heard.
    ///
    /// # Errors
    /// The first key that is not usable.
    pub fn start(
        config: &Config,
        messages: Messages,
        hints: Hints,
        clock: Clock,
        drain: &Drain,
    ) -> Result<Self, KeyError> {
        let verifier = Verifier::new(&config.verifier, clock.clone())?;
        verifier.start(drain);
        Ok(Self::with(
            config,
            verifier,
            (Arc::new(messages.clone()), Arc::new(messages)),
            hints,
            clock,
            drain,
        ))
    }

    /// The same over any store.
    fn with(
        config: &Config,
        verifier: Verifier,
        (store, source): (Arc<dyn Store>, Arc<dyn Source>),
        hints: Hints,
        clock: Clock,
        drain: &Drain,
    ) -> Self {
        let roll = Arc::new(Roll::default());
        let lists = Lists {
            roll: Arc::clone(&roll),
            clock: clock.clone(),
        };
        let ticking = clock.clone();
        let exchange = Arc::new(Exchange::new(lists, move || ticking.now().as_microsecond()));
        let gate = Arc::new(Gate::default());
        let feed = Feed {
            source: Arc::clone(&source),
            exchange: Arc::clone(&exchange),
            gate: Arc::clone(&gate),
            roll: Arc::clone(&roll),
            hints: hints.clone(),
        };
        drain.spawn_until_stop(feed.run());
        drain.spawn_until_stop(presence::tell_contacts(
            Arc::clone(&roll),
            source,
            Arc::clone(&exchange),
            clock.clone(),
        ));
        let shared = Shared {
            exchange,
            store,
            verifier,
            gate,
            roll,
            hints,
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

/// How long an operation may take, all of it.
const OPERATION: Duration = Duration::from_secs(15);
