//! The admin service's only task: it samples metrics every second and publishes rows for the system
//! topics that have viewers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::admin::{Admin, AdminDeps};
use crate::metrics_history::MetricsSample;
use crate::process_stats;
use crate::system_topic_viewers::SystemTopicViewers;
use latido_base::drain::Drain;
use latido_base::ident::Topic;
use latido_stream::{StreamRow, SystemTopic};

/// The interval between two samples, and between two frames of a topic.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// The interval between dependency checks while there are viewers, and the time limit of one check.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// The maximum number of clients in one frame: about two screens. The filter finds the others.
const MAX_CLIENTS_LISTED: usize = 100;

enum PublisherEvent {
    Stop,
    Tick,
    TopicAdded,
    DependenciesChecked,
}

impl Admin {
    /// Starts the admin service: it samples, and publishes while there are viewers, until the
    /// server stops. `viewers` must be the instance that [wraps](crate::SystemTopicViewers::wrap_observer)
    /// the engine's observer.
    pub fn start(parts: AdminDeps, viewers: SystemTopicViewers, drain: &Drain) -> Arc<Self> {
        let started_s = parts.clock.unix_s();
        let admin = Arc::new(Self {
            deps: parts,
            viewers,
            started: Instant::now(),
            started_s,
            history: Mutex::default(),
            dependency_status: Mutex::default(),
            rows_published: AtomicU64::new(0),
        });
        drain.spawn(run(Arc::clone(&admin), drain.clone()));
        admin
    }
}

async fn run(admin: Arc<Admin>, drain: Drain) {
    let mut ticks = interval(SAMPLE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut last = Instant::now();
    let mut checked_at: Option<Instant> = None;
    // Runs concurrently, because frames must not wait for a slow database.
    let mut check = futures_util::future::pending().boxed();
    loop {
        let event = tokio::select! {
            () = drain.stopping() => PublisherEvent::Stop,
            _ = ticks.tick() => PublisherEvent::Tick,
            () = admin.viewers.topic_added() => PublisherEvent::TopicAdded,
            () = &mut check => PublisherEvent::DependenciesChecked,
        };
        match event {
            PublisherEvent::Stop => return,
            PublisherEvent::Tick => {
                let elapsed = std::mem::replace(&mut last, Instant::now()).elapsed();
                admin.lock_history().add_sample(admin.sample(), elapsed);
            }
            PublisherEvent::TopicAdded => {}
            PublisherEvent::DependenciesChecked => check = futures_util::future::pending().boxed(),
        }
        let topics = admin.viewers.topics();
        if topics.is_empty() {
            checked_at = None;
            continue;
        }
        if checked_at.is_none_or(|at| at.elapsed() >= CHECK_INTERVAL) {
            checked_at = Some(Instant::now());
            let admin = Arc::clone(&admin);
            check = async move { drop(timeout(CHECK_TIMEOUT, admin.check_dependencies()).await) }
                .boxed();
        }
        for topic in topics {
            admin.publish(&topic).await;
        }
    }
}

impl Admin {
    fn sample(&self) -> MetricsSample {
        let metrics = &self.deps.metrics;
        let (topics, viewers) = self.deps.hub.counts();
        MetricsSample {
            at_s: self.deps.clock.unix_s(),
            connections: u64::try_from(metrics.connections.get()).unwrap_or(0),
            viewers: viewers as u64,
            topics: topics as u64,
            dirty_keys: self.deps.engine.dirty_keys() as u64,
            memory_bytes: process_stats::memory_bytes().unwrap_or(0),
            keys_read: metrics.reads.total(),
            frames_sent: metrics.frames_sent.get(),
            bytes_sent: metrics.bytes_sent.get(),
            messages_received: metrics.messages_received.get(),
            hints_received: metrics.changes_received.total(),
            cpu_time: process_stats::cpu_time(),
            read_time: metrics.read_seconds.snapshot(),
            change_time: metrics.change_to_frame_seconds.snapshot(),
        }
    }

    async fn publish(&self, topic: &Topic) {
        let columns = match SystemTopic::from_key(&topic.key) {
            Some(SystemTopic::State) => self.server_json(),
            Some(SystemTopic::Clients(matching)) => {
                self.clients_json(matching, MAX_CLIENTS_LISTED).await
            }
            None => return,
        };
        self.rows_published.fetch_add(1, Ordering::Relaxed);
        let clock_us = self.deps.clock.now().as_microsecond();
        self.deps.hub.publish(
            topic,
            &StreamRow {
                key: topic.key.clone(),
                columns: columns.to_string(),
                clock_us,
            },
        );
    }
}
