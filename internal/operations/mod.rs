//! What operators see of a running server, and the topics that show it live.
//!
//! Once a second the counters are read into a ring of ten minutes, whoever looks. Everything else happens only while somebody watches a
//! topic of the server ([`crate::stream::SERVER`]): then its state, or the list of its clients, becomes a row, and the hub publishes it
//! like any other: versions, newest wins, silence if nothing changed. Neither the streams nor the clients pay for it.
//!
//! Rows are JSON text, as Postgres makes them for streams.

mod audience;
mod describe;
mod history;
mod process;
mod publisher;
mod readiness;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

use crate::auth::Verifier;
use crate::clock::Clock;
use crate::drain::Drain;
use crate::engine::Engine;
use crate::hub::{Hub, Survey};
use crate::ident::UserId;
use crate::session::CloseReason;
use crate::shard::{ClientId, Roster, Shards, Swept};
use crate::telemetry::{Entry, Kind, Metrics};

pub use audience::Audience;
pub use describe::{client_json, event_json, room_json};
use history::History;
pub use process::memory_bytes;
pub use readiness::{Readiness, Report, StreamReport};

/// What the version on the page is.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What operations look at.
pub struct Parts {
    /// Who watches what; and where the rows go.
    pub hub: Arc<Hub>,
    /// Who is connected.
    pub shards: Arc<Shards>,
    /// What waits to be read.
    pub engine: Engine,
    /// The counts.
    pub metrics: Arc<Metrics>,
    /// Whether tokens can be verified.
    pub verifier: Arc<Verifier>,
    /// The database, the listener, the streams.
    pub readiness: Arc<dyn Readiness>,
    /// For people.
    pub clock: Clock,
    /// Open connections of any kind, and how many there may be.
    pub seats: Box<dyn Fn() -> (usize, usize) + Send + Sync>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// See the module's documentation. One a server.
pub struct Operations {
    parts: Parts,
    audience: Audience,
    started: Instant,
    started_s: i64,
    /// Written once a second by the publisher, read by requests; held for copies of a few kilobytes.
    history: Mutex<History>,
    /// The last look at what the server stands on.
    outlook: Mutex<Option<Outlook>>,
    /// Rows made for topics of the server. Written by the publisher alone; relaxed, a count for people and tests.
    published: AtomicU64,
}

/// What the server stands on, as of a moment.
#[derive(Debug, Clone)]
pub struct Outlook {
    /// Database, listener, streams.
    pub report: Report,
    /// How long the database took to answer, or to be given up, in milliseconds.
    pub database_ms: f64,
    /// When that was, Unix seconds.
    pub at_s: i64,
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operations").finish_non_exhaustive()
    }
}

impl Operations {
    /// Operations of a server: samples, and publishes while somebody watches, until the server stops. `audience` is the one that was put
    /// [beside](Audience::beside) its engine.
    pub fn start(parts: Parts, audience: Audience, drain: &Drain) -> Arc<Self> {
        let started_s = parts.clock.unix_s();
        let operations = Arc::new(Self {
            parts,
            audience,
            started: Instant::now(),
            started_s,
            history: Mutex::default(),
            outlook: Mutex::default(),
            published: AtomicU64::new(0),
        });
        drain.spawn(publisher::run(Arc::clone(&operations), drain.clone()));
        operations
    }

    /// At most so many clients that match; see [`Shards::roster`].
    pub async fn clients(&self, matching: &str, most: usize) -> Roster {
        self.parts
            .shards
            .roster(&matching.to_lowercase(), most)
            .await
    }

    /// The rooms with the most viewers.
    pub fn rooms(&self, most: usize) -> Survey {
        self.parts.hub.survey(most)
    }

    /// The latest events, the newest first, and how many there were in all.
    pub fn events(&self, most: usize) -> (Vec<Entry>, u64) {
        (
            self.parts.metrics.journal.latest(most),
            self.parts.metrics.journal.total(),
        )
    }

    /// Ends a connection on behalf of `operator`; whose it was, unless it has gone already.
    pub async fn dismiss(
        &self,
        id: ClientId,
        reason: CloseReason,
        operator: &UserId,
    ) -> Option<UserId> {
        let user = self.parts.shards.dismiss(id, reason).await?;
        let (user_text, operator) = (user.as_str(), operator.as_str());
        tracing::info!(operator, user = user_text, client = %id, reason = reason.label(), "an operator closed a connection");
        self.note(reason.label(), &format!("{operator} → {user_text} ({id})"));
        Some(user)
    }

    /// Looks at every client now, on behalf of `operator`.
    pub async fn sweep(&self, operator: &UserId) -> Swept {
        let swept = self.parts.shards.sweep().await;
        let operator = operator.as_str();
        tracing::info!(
            operator,
            clients = swept.looked_at,
            closed = swept.closed,
            "an operator asked for a look at every client"
        );
        self.note(
            "cleanup",
            &format!("{operator}: {} → {}", swept.looked_at, swept.closed),
        );
        swept
    }

    fn note(&self, reason: &'static str, detail: &str) {
        self.parts
            .metrics
            .journal
            .note(Kind::Operator, reason, Some(detail));
    }

    /// Open WebSockets.
    pub fn connections(&self) -> i64 {
        self.parts.metrics.connections.get()
    }

    /// WebSockets since the start, open ones included.
    pub fn connections_in_all(&self) -> u64 {
        self.parts.metrics.closes.total() + u64::try_from(self.connections()).unwrap_or(0)
    }

    /// Frames handed to the kernel since the start.
    pub fn frames_sent(&self) -> u64 {
        self.parts.metrics.frames_sent.get()
    }

    /// Events of the last minute, each counted.
    pub fn events_per_minute(&self) -> u64 {
        let since_ms = u64::try_from(self.parts.clock.unix_s() - 60).unwrap_or(0) * 1_000;
        let recent = self
            .parts
            .metrics
            .journal
            .latest(usize::MAX)
            .into_iter()
            .take_while(|entry| entry.at_ms >= since_ms);
        recent.map(|entry| entry.count).sum()
    }

    /// Whole seconds since the start.
    pub fn uptime_s(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// Topics with a viewer, and viewers in all.
    pub fn counts(&self) -> (usize, usize) {
        self.parts.hub.counts()
    }

    /// Whether tokens can be verified.
    pub fn has_keys(&self) -> bool {
        self.parts.verifier.is_ready()
    }

    /// What the server stands on, looked at now.
    pub async fn look(&self) -> Outlook {
        let started = Instant::now();
        let report = self.parts.readiness.report().await;
        let at_s = self.parts.clock.unix_s();
        let outlook = Outlook {
            report,
            database_ms: started.elapsed().as_secs_f64() * 1_000.0,
            at_s,
        };
        *self.outlook.lock().unwrap_or_else(PoisonError::into_inner) = Some(outlook.clone());
        outlook
    }

    /// The state of the server, as its topic shows it, and the last ten minutes beside it.
    pub fn state_json(&self) -> Value {
        let mut state = self.describe();
        state["history"] = self.lock_history().to_json();
        state["stream"] = json!({"published": self.published.load(Ordering::Relaxed), "watched": self.audience.topics().len()});
        state
    }

    fn lock_history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
