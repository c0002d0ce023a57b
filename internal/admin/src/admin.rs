//! What operators may see and do.

use crate::metrics_history::MetricsHistory;
use crate::system_topic_viewers::SystemTopicViewers;
use latido_auth::Verifier;
use latido_base::clock::Clock;
use latido_base::ident::UserId;
use latido_engine::Engine;
use latido_hub::{Hub, RoomStats};
use latido_session::CloseReason;
use latido_shard::{ClientId, ClientList, Shards, SweepResult};
use latido_stream::{Readiness, ReadinessReport};
use latido_telemetry::{Metrics, RecentEvent, RecentEventKind};
use serde_json::{Value, json};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The server's version, as the operators' page shows it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The parts of the server that the admin service inspects.
pub struct AdminDeps {
    /// The hub, for topics and viewers, and as the destination of the rows.
    pub hub: Arc<Hub>,
    /// The connection workers, for the list of clients.
    pub shards: Arc<Shards>,
    /// The engine, for the number of keys waiting to be read.
    pub engine: Engine,
    /// The server's counters and gauges.
    pub metrics: Arc<Metrics>,
    /// The verifier, for its readiness to verify tokens.
    pub verifier: Arc<Verifier>,
    /// The readiness check of the database, the listener and the streams.
    pub readiness: Arc<dyn Readiness>,
    /// The wall clock for displayed times.
    pub clock: Clock,
    /// A function that returns the number of open connections of all kinds and the limit for it.
    pub connection_usage: Box<dyn Fn() -> (usize, usize) + Send + Sync>,
}

impl fmt::Debug for AdminDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminDeps").finish_non_exhaustive()
    }
}

/// The admin service, one per server.
pub struct Admin {
    pub(super) deps: AdminDeps,
    pub(super) viewers: SystemTopicViewers,
    pub(super) started: Instant,
    pub(super) started_s: i64,
    /// Written once per second by the publisher, read by requests. Held for copies of a few
    /// kilobytes.
    pub(super) history: Mutex<MetricsHistory>,
    /// The result of the last dependency check.
    pub(super) dependency_status: Mutex<Option<DependencyStatus>>,
    /// The number of rows published on system topics. Only the publisher writes it. Relaxed: a
    /// counter for display and tests.
    pub(super) rows_published: AtomicU64,
}

/// The state of the server's dependencies at one moment.
#[derive(Debug, Clone)]
pub struct DependencyStatus {
    /// The state of the database, the listener and the streams.
    pub report: ReadinessReport,
    /// The duration of the check, in milliseconds. A check that timed out counts up to its
    /// cancellation.
    pub database_ms: f64,
    /// The time of the check, in Unix seconds.
    pub checked_at_s: i64,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    /// Returns up to `limit` clients that match; see [`Shards::clients`].
    pub async fn clients(&self, matching: &str, limit: usize) -> ClientList {
        self.deps
            .shards
            .list_clients(&matching.to_lowercase(), limit)
            .await
    }

    /// Returns the rooms with the most viewers.
    pub fn rooms(&self, limit: usize) -> RoomStats {
        self.deps.hub.room_stats(limit)
    }

    /// Returns the latest events, newest first, and the total number of events.
    pub fn events(&self, limit: usize) -> (Vec<RecentEvent>, u64) {
        (
            self.deps.metrics.recent_events.latest(limit),
            self.deps.metrics.recent_events.total(),
        )
    }

    /// Closes a connection on behalf of `operator` and returns its user. Returns `None` if the
    /// connection no longer exists.
    pub async fn disconnect(
        &self,
        id: ClientId,
        reason: CloseReason,
        operator: &UserId,
    ) -> Option<UserId> {
        let user = self.deps.shards.close_client(id, reason).await?;
        let (user_text, operator) = (user.as_str(), operator.as_str());
        tracing::info!(operator, user = user_text, client = %id, reason = reason.label(), "an operator closed a connection");
        self.record_operator_event(reason.label(), &format!("{operator} → {user_text} ({id})"));
        Some(user)
    }

    /// Checks every client now, on behalf of `operator`.
    pub async fn sweep(&self, operator: &UserId) -> SweepResult {
        let result = self.deps.shards.sweep().await;
        let operator = operator.as_str();
        tracing::info!(
            operator,
            clients = result.examined,
            closed = result.closed,
            "an operator requested a check of every client"
        );
        self.record_operator_event(
            "cleanup",
            &format!("{operator}: {} → {}", result.examined, result.closed),
        );
        result
    }

    fn record_operator_event(&self, reason: &'static str, detail: &str) {
        self.deps.metrics.recent_events.record(
            RecentEventKind::OperatorAction,
            reason,
            Some(detail),
        );
    }

    /// Returns the number of open WebSockets.
    pub fn open_connections(&self) -> i64 {
        self.deps.metrics.connections.get()
    }

    /// Returns the number of WebSockets since the start, including the open ones.
    pub fn total_connections(&self) -> u64 {
        self.deps.metrics.closes.total() + u64::try_from(self.open_connections()).unwrap_or(0)
    }

    /// Returns the number of frames handed to the kernel since the start.
    pub fn frames_sent(&self) -> u64 {
        self.deps.metrics.frames_sent.get()
    }

    /// Returns the number of events in the last minute. An entry that repeats counts each
    /// repetition.
    pub fn events_per_minute(&self) -> u64 {
        let since_ms = u64::try_from(self.deps.clock.unix_s() - 60).unwrap_or(0) * 1_000;
        let recent = self
            .deps
            .metrics
            .recent_events
            .latest(usize::MAX)
            .into_iter()
            .take_while(|entry| entry.at_ms >= since_ms);
        recent.map(|entry| entry.count).sum()
    }

    /// Returns the whole seconds since the start.
    pub fn uptime_s(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// Returns the number of topics with a viewer and the total number of viewers.
    pub fn viewer_counts(&self) -> (usize, usize) {
        self.deps.hub.counts()
    }

    /// Returns `true` if tokens can be verified.
    pub fn can_verify_tokens(&self) -> bool {
        self.deps.verifier.is_ready()
    }

    /// Checks the server's dependencies now and stores the result.
    pub async fn check_dependencies(&self) -> DependencyStatus {
        let started = Instant::now();
        let report = self.deps.readiness.check().await;
        let at_s = self.deps.clock.unix_s();
        let status = DependencyStatus {
            report,
            database_ms: started.elapsed().as_secs_f64() * 1_000.0,
            checked_at_s: at_s,
        };
        *self
            .dependency_status
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(status.clone());
        status
    }

    /// Returns the server's state as its system topic publishes it, with the last ten minutes of
    /// metrics.
    pub fn state_json(&self) -> Value {
        let mut state = self.server_json();
        state["history"] = self.lock_history().to_json();
        state["stream"] = json!({"published": self.rows_published.load(Ordering::Relaxed), "watched": self.viewers.topics().len()});
        state
    }

    pub(super) fn lock_history(&self) -> MutexGuard<'_, MetricsHistory> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
