//! The admin service's only task: it samples metrics every second and publishes rows for the system
//! topics that have viewers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::history::Reading;
use crate::{Operations, process};
use latido_base::drain::Drain;
use latido_base::ident::Topic;
use latido_stream::{StreamRow, SystemTopic};

/// The interval between two samples, and between two frames of a topic.
const TICK: Duration = Duration::from_secs(1);
/// The interval between dependency checks while there are viewers, and the time limit of one check.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const LOOK_LIMIT: Duration = Duration::from_secs(2);
/// The maximum number of clients in one frame: about two screens. The filter finds the others.
const CLIENTS_SHOWN: usize = 100;

enum Event {
    Stop,
    Tick,
    Grown,
    Looked,
}

pub(super) async fn run(admin: Arc<Operations>, drain: Drain) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut last = Instant::now();
    let mut checked_at: Option<Instant> = None;
    // Runs concurrently, because frames must not wait for a slow database.
    let mut check = futures_util::future::pending().boxed();
    loop {
        let event = tokio::select! {
            () = drain.stopping() => Event::Stop,
            _ = ticks.tick() => Event::Tick,
            () = admin.audience.grown() => Event::Grown,
            () = &mut check => Event::Looked,
        };
        match event {
            Event::Stop => return,
            Event::Tick => {
                let elapsed = std::mem::replace(&mut last, Instant::now()).elapsed();
                admin.lock_history().add(admin.reading(), elapsed);
            }
            Event::Grown => {}
            Event::Looked => check = futures_util::future::pending().boxed(),
        }
        let topics = admin.audience.topics();
        if topics.is_empty() {
            checked_at = None;
            continue;
        }
        if checked_at.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            checked_at = Some(Instant::now());
            let admin = Arc::clone(&admin);
            check = async move { drop(timeout(LOOK_LIMIT, admin.look()).await) }.boxed();
        }
        for topic in topics {
            admin.publish(&topic).await;
        }
    }
}

impl Operations {
    fn reading(&self) -> Reading {
        let metrics = &self.parts.metrics;
        let (topics, viewers) = self.parts.hub.counts();
        Reading {
            at_s: self.parts.clock.unix_s(),
            connections: u64::try_from(metrics.connections.get()).unwrap_or(0),
            viewers: viewers as u64,
            topics: topics as u64,
            dirty: self.parts.engine.dirty_keys() as u64,
            memory: process::memory_bytes().unwrap_or(0),
            reads: metrics.reads.total(),
            frames: metrics.frames_sent.get(),
            bytes: metrics.bytes_sent.get(),
            messages: metrics.messages_received.get(),
            changes: metrics.changes_received.total(),
            cpu: process::cpu_time(),
            read_time: metrics.read_seconds.snapshot(),
            change_time: metrics.change_to_frame_seconds.snapshot(),
        }
    }

    async fn publish(&self, topic: &Topic) {
        let columns = match SystemTopic::from_key(&topic.key) {
            Some(SystemTopic::State) => self.describe(),
            Some(SystemTopic::Clients(matching)) => {
                self.describe_clients(matching, CLIENTS_SHOWN).await
            }
            None => return,
        };
        self.published.fetch_add(1, Ordering::Relaxed);
        let clock_us = self.parts.clock.now().as_microsecond();
        self.parts.hub.publish(
            topic,
            &StreamRow {
                key: topic.key.clone(),
                columns: columns.to_string(),
                clock_us,
            },
        );
    }
}
