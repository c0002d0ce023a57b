//! All metrics of one server, in one registry. Each server has its own, because two servers may run
//! in one process.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::app_metrics::{AppMetricFamilies, AppMetrics};
use crate::exposition::{self, Exposition};
use crate::histogram::DurationHistogram;
use crate::labelled_counter::LabelledCounter;
use crate::recent_events::{RecentEventKind, RecentEvents};
use crate::sampled_gauges::SampledGauges;
use crate::size_histogram::SizeHistogram;

/// The metrics that every part of the server updates. They are atomics and cheap to share.
#[derive(Default)]
pub struct Metrics {
    registry: Registry,
    /// Open WebSocket connections of all kinds.
    pub connections: Gauge,
    /// Open TCP connections of any kind.
    pub sockets: Gauge,
    topics: Gauge,
    param_sets: Gauge,
    subscribers: Gauge,
    dirty_keys: Gauge,
    moved_keys: Gauge,
    /// Frames handed to the kernel.
    pub frames_sent: Counter,
    /// Bytes handed to the kernel on WebSocket connections.
    pub bytes_sent: Counter,
    /// Messages received on WebSocket connections.
    pub messages_received: Counter,
    /// Frames that a slow client never received because a newer frame replaced them.
    pub frames_superseded: Counter,
    /// Keys read, by the source that marked them dirty.
    pub reads: LabelledCounter,
    /// Read statements that failed, by kind.
    pub read_failures: LabelledCounter,
    /// The number of keys that one statement reads.
    pub batch_keys: SizeHistogram,
    /// The duration of one read statement.
    pub read_seconds: DurationHistogram,
    /// The time from the arrival of a notification until its frames are handed to the shards.
    pub change_to_frame_seconds: DurationHistogram,
    /// Histories of topics that were asked for, by result.
    pub histories: LabelledCounter,
    /// Rows of histories that were read.
    pub history_rows: Counter,
    /// The duration of one statement that reads histories.
    pub history_seconds: DurationHistogram,
    /// Change hints received, by source.
    pub changes_received: LabelledCounter,
    /// Hints for a key that was already dirty.
    pub changes_coalesced: Counter,
    /// Hints for a key without viewers.
    pub changes_unwatched: Counter,
    /// Changes that only the sweep found. Zero proves that the triggers see every change.
    pub corrections: Counter,
    /// Those of each stream that were found while every trigger was installed and notifications
    /// arrived, so that nothing explains them.
    pub stream_corrections: LabelledCounter,
    /// Keys compared with a stream's verification query, by result.
    pub verifications: LabelledCounter,
    /// Streams that are read with their verification query because their own query was wrong.
    pub active_verifications: Gauge,
    /// The streams of which the database refuses a query.
    pub broken_streams: Gauge,
    /// 1 while notifications arrive, otherwise 0.
    pub listener_up: Gauge,
    /// The fill level of the database server's notification queue, from 0 to 1.
    pub notify_queue_usage: Gauge<f64, AtomicU64>,
    /// Key buckets whose watch lock is held, so that writers know that they are watched.
    pub interest_held: Gauge,
    /// Key buckets that are watched but whose watch lock is not held yet.
    pub interest_missing: Gauge,
    /// Keys that changed so often that a timer read them for a while.
    pub hot_keys: Counter,
    /// Failures that triggers reported: the writes succeeded, and every key was read again.
    pub trigger_failures: Counter,
    /// 1 while the connections to the database are closed because nobody watches anything.
    pub asleep: Gauge,
    /// Times that a use of the database ended that.
    pub wakes: Counter,
    /// Times that the listener lost its connection or failed to connect.
    pub listener_reconnects: Counter,
    /// 1 while viewers are notified that the data may be stale, otherwise 0.
    pub stale: Gauge,
    /// Requests and upgrades refused, by reason.
    pub refusals: LabelledCounter,
    /// Subscriptions and requests refused, because the key had too many choices of parameters.
    pub param_sets_refused: Counter,
    /// Error frames sent, by code.
    pub errors_sent: LabelledCounter,
    /// WebSocket connections closed, by reason.
    pub closes: LabelledCounter,
    apps: AppMetricFamilies,
    /// The latest events, for the operators' page.
    pub recent_events: RecentEvents,
}

impl Metrics {
    /// Creates all metrics at zero, registered under `latido_…`.
    pub fn new() -> Self {
        let registry = Registry::with_prefix("latido");
        let (reads, changes_received) = (
            LabelledCounter::new("source"),
            LabelledCounter::new("source"),
        );
        let (read_failures, errors_sent) =
            (LabelledCounter::new("kind"), LabelledCounter::new("code"));
        let [checks, histories] = ["result"; 2].map(LabelledCounter::new);
        let stream_corrections = LabelledCounter::new("stream");
        let mut m = Self {
            registry,
            reads,
            changes_received,
            read_failures,
            errors_sent,
            verifications: checks,
            histories,
            stream_corrections,
            ..Self::default()
        };
        m.register_counters();
        m.register_gauges();
        m.register_histograms();
        m.apps.register(&mut m.registry);
        m
    }

    fn register_counters(&mut self) {
        self.register_message_counters();
        self.register_change_counters();
        self.register_error_counters();
        self.register_rejection_counters();
    }

    fn register_message_counters(&mut self) {
        let r = &mut self.registry;
        r.register(
            "frames_sent",
            "Frames handed to the kernel",
            self.frames_sent.clone(),
        );
        r.register_with_unit(
            "sent",
            "Bytes handed to the kernel on WebSockets",
            Unit::Bytes,
            self.bytes_sent.clone(),
        );
        r.register(
            "messages_received",
            "Messages received on WebSockets",
            self.messages_received.clone(),
        );
        r.register(
            "frames_superseded",
            "Frames replaced by a newer one before a slow client took them",
            self.frames_superseded.clone(),
        );
    }

    fn register_change_counters(&mut self) {
        let r = &mut self.registry;
        r.register(
            "reads",
            "Keys read, by what made them dirty",
            self.reads.clone(),
        );
        r.register(
            "read_failures",
            "Statements that failed, by kind",
            self.read_failures.clone(),
        );
        r.register(
            "histories",
            "Histories of topics that clients asked for, by result",
            self.histories.clone(),
        );
        r.register(
            "history_rows",
            "Rows of histories that were read",
            self.history_rows.clone(),
        );
        r.register(
            "changes_received",
            "Hints that a key changed, by source",
            self.changes_received.clone(),
        );
        r.register(
            "changes_coalesced",
            "Hints for a key that was dirty already",
            self.changes_coalesced.clone(),
        );
        r.register(
            "changes_unwatched",
            "Hints for a key that nobody watches",
            self.changes_unwatched.clone(),
        );
        r.register(
            "hot_keys",
            "Keys that became so busy that they were read on a timer",
            self.hot_keys.clone(),
        );
        r.register(
            "listener_reconnects",
            "Times that the listener had to connect again",
            self.listener_reconnects.clone(),
        );
        r.register(
            "wakes",
            "Times that the connections to the database were opened again after their sleep",
            self.wakes.clone(),
        );
    }

    fn register_error_counters(&mut self) {
        let r = &mut self.registry;
        r.register(
            "corrections",
            "Changes that only the sweep found; zero proves that triggers see everything",
            self.corrections.clone(),
        );
        r.register(
            "stream_corrections",
            "Changes that only the sweep found while all triggers were installed, by stream",
            self.stream_corrections.clone(),
        );
        r.register(
            "checks",
            "Keys compared with their stream's check, by result",
            self.verifications.clone(),
        );
        r.register(
            "trigger_failures",
            "Batches of notifications in which a trigger reported that it failed, so that every key is read again",
            self.trigger_failures.clone(),
        );
    }

    fn register_rejection_counters(&mut self) {
        let r = &mut self.registry;
        r.register(
            "refusals",
            "Requests and upgrades refused, by reason",
            self.refusals.clone(),
        );
        r.register(
            "errors_sent",
            "Error frames sent, by code",
            self.errors_sent.clone(),
        );
        r.register(
            "param_sets_refused",
            "Subscriptions and requests refused, since their key had too many choices of parameters",
            self.param_sets_refused.clone(),
        );
        r.register("closes", "WebSockets ended, by reason", self.closes.clone());
    }

    fn register_gauges(&mut self) {
        let r = &mut self.registry;
        r.register(
            "connections",
            "Open WebSocket connections",
            self.connections.clone(),
        );
        r.register("sockets", "Open TCP connections", self.sockets.clone());
        r.register("topics", "Topics with a viewer", self.topics.clone());
        r.register(
            "param_sets",
            "Topics with a viewer that have parameters",
            self.param_sets.clone(),
        );
        r.register(
            "subscribers",
            "Subscriptions of all viewers",
            self.subscribers.clone(),
        );
        r.register(
            "dirty_keys",
            "Keys waiting to be read",
            self.dirty_keys.clone(),
        );
        let help = "Streams read with their check, since their query was wrong";
        r.register(
            "checks_standing_in",
            help,
            self.active_verifications.clone(),
        );
        r.register(
            "broken_streams",
            "Streams of which the database refuses a query",
            self.broken_streams.clone(),
        );
        r.register(
            "listener_up",
            "1 while notifications arrive",
            self.listener_up.clone(),
        );
        r.register(
            "asleep",
            "1 while the connections to the database are closed, since nobody watches anything",
            self.asleep.clone(),
        );
        r.register(
            "notify_queue_usage",
            "Fill level of the database server's notification queue, from 0 to 1",
            self.notify_queue_usage.clone(),
        );
        r.register(
            "interest_held",
            "Buckets of keys whose writers know that they are watched",
            self.interest_held.clone(),
        );
        r.register(
            "interest_missing",
            "Watched buckets whose writers can't be told yet",
            self.interest_missing.clone(),
        );
        r.register(
            "moved_keys",
            "Keys that wait for the transactions that were open when rows moved to them",
            self.moved_keys.clone(),
        );
        r.register(
            "stale",
            "1 while viewers are told that numbers may be old",
            self.stale.clone(),
        );
    }

    fn register_histograms(&mut self) {
        let r = &mut self.registry;
        r.register(
            "batch_keys",
            "Keys read by one statement",
            self.batch_keys.0.clone(),
        );
        r.register_with_unit(
            "read",
            "Duration of a statement",
            Unit::Seconds,
            self.read_seconds.clone(),
        );
        r.register_with_unit(
            "history",
            "Duration of a statement that reads histories",
            Unit::Seconds,
            self.history_seconds.clone(),
        );
        let help = "From the notification's arrival to the frames being handed to the shards";
        r.register_with_unit(
            "change_to_frame",
            help,
            Unit::Seconds,
            self.change_to_frame_seconds.clone(),
        );
    }

    /// Returns the metrics of one app.
    pub fn app(&self, app: &'static str) -> AppMetrics {
        self.apps.for_app(app)
    }

    /// Counts a refusal and records it as a recent event.
    pub fn count_refusal(&self, reason: &'static str) {
        self.refusals.increment(reason);
        self.recent_events
            .record(RecentEventKind::Refused, reason, None);
    }

    /// Renders all metrics as text.
    pub fn render(&self, gauges: SampledGauges, exposition: Exposition) -> String {
        let as_i64 = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.topics.set(as_i64(gauges.topics));
        self.param_sets.set(as_i64(gauges.param_sets));
        self.subscribers.set(as_i64(gauges.subscribers));
        self.dirty_keys.set(as_i64(gauges.dirty_keys));
        self.moved_keys.set(as_i64(gauges.moved_keys));
        let mut text = String::new();
        // Writing to a `String` cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        match exposition {
            Exposition::OpenMetrics => text,
            Exposition::Classic => exposition::to_classic(&text),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
