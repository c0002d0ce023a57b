//! Tests of the hub from the viewers' perspective.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::{FrameContent, SubscriberEvent};
use latido_base::ident::{Key, StreamId, Version};
use latido_stream::{KeyType, Stream};

#[derive(Default)]
struct ObserverLog(Mutex<Vec<(Topic, bool)>>);

impl WatchObserver for Arc<ObserverLog> {
    fn on_watched(&self, topic: &Topic) {
        self.0.lock().unwrap().push((topic.clone(), true));
    }

    fn on_unwatched(&self, topic: &Topic) {
        self.0.lock().unwrap().push((topic.clone(), false));
    }
}

fn catalog() -> Arc<Catalog> {
    Arc::new(Catalog::new(vec![Stream::test_stream(
        "estadisticas",
        Some(KeyType::Integer),
    )]))
}

fn hub() -> (Arc<Hub>, Arc<ObserverLog>) {
    let log = Arc::new(ObserverLog::default());
    (
        Arc::new(Hub::new(catalog(), Box::new(Arc::clone(&log)))),
        log,
    )
}

fn channel(name: &str) -> Channel {
    catalog().resolve(name).unwrap()
}

fn row(key: &str, n: u32, clock_us: i64) -> StreamRow {
    StreamRow {
        key: Key::from_canonical(key),
        columns: format!(r#"{{"n":{n}}}"#),
        clock_us,
    }
}

fn topic(key: &str) -> Topic {
    Topic {
        stream: StreamId(0),
        key: Key::from_canonical(key),
    }
}

#[test]
fn names_of_one_topic_share_a_snapshot_but_get_own_frames() {
    let (hub, log) = hub();
    let shard = hub.register_shard(|| {});
    let plain = hub
        .subscribe(shard.id(), &channel("estadisticas:7"))
        .unwrap();
    let alias = hub
        .subscribe(shard.id(), &channel("estadisticas:negocio_7"))
        .unwrap();
    assert_eq!(
        log.0.lock().unwrap().as_slice(),
        [(topic("7"), true)],
        "one topic"
    );
    assert!(plain.latest.is_none() && plain.room != alias.room);
    assert!(matches!(
        hub.publish(&topic("7"), &row("7", 1, 50)),
        PublishOutcome::First(Version(50))
    ));
    let pending = shard.take();
    assert!(
        pending.frames[&plain.room]
            .frame
            .payload()
            .contains(r#""channel":"estadisticas:7""#)
    );
    assert!(
        pending.frames[&alias.room]
            .frame
            .payload()
            .contains(r#""negocio_id":"negocio_7""#)
    );
    assert_eq!(
        pending.frames[&plain.room].version,
        pending.frames[&alias.room].version
    );
}

#[test]
fn only_changes_are_sent_and_newest_replaces_pending_frame() {
    let (hub, _) = hub();
    let wakes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&wakes);
    let shard = hub.register_shard(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let room = hub
        .subscribe(shard.id(), &channel("estadisticas:7"))
        .unwrap()
        .room;
    hub.publish(&topic("7"), &row("7", 1, 50));
    assert_eq!(
        hub.publish(&topic("7"), &row("7", 1, 60)),
        PublishOutcome::Unchanged
    );
    assert_eq!(
        hub.publish(&topic("7"), &row("7", 2, 40)),
        PublishOutcome::Changed(Version(51)),
        "a clock set back"
    );
    let pending = shard.take();
    assert_eq!(
        (pending.frames.len(), pending.frames[&room].version),
        (1, Version(51))
    );
    assert_eq!(wakes.load(Ordering::Relaxed), 1, "one wake-up for a burst");
    assert!(shard.take().frames.is_empty());
}

#[test]
fn returning_topic_continues_after_its_old_versions() {
    let (hub, log) = hub();
    let shard = hub.register_shard(|| {});
    let first = hub
        .subscribe(shard.id(), &channel("estadisticas:7"))
        .unwrap();
    hub.publish(&topic("7"), &row("7", 1, 1_000));
    hub.unsubscribe(shard.id(), first.room);
    assert_eq!(log.0.lock().unwrap().last(), Some(&(topic("7"), false)));
    assert_eq!(
        hub.publish(&topic("7"), &row("7", 2, 2_000)),
        PublishOutcome::Unwatched
    );
    let again = hub
        .subscribe(shard.id(), &channel("estadisticas:7"))
        .unwrap();
    assert!(again.latest.is_none() && again.room != first.room);
    assert_eq!(
        hub.publish(&topic("7"), &row("7", 2, 900)),
        PublishOutcome::First(Version(1_001))
    );
}

#[test]
fn failing_topic_is_told_once_and_to_new_viewers() {
    let (hub, _) = hub();
    let shard = hub.register_shard(|| {});
    let room = hub
        .subscribe(shard.id(), &channel("estadisticas:7"))
        .unwrap()
        .room;
    assert!(!hub.set_unreadable(&topic("8"), 5), "nobody watches it");
    hub.publish(&topic("7"), &row("7", 1, 50));
    shard.take();
    assert!(hub.set_unreadable(&topic("7"), 5) && !hub.set_unreadable(&topic("7"), 5));
    let told = shard.take().frames.swap_remove(&room).unwrap();
    let stale_since = Some(5);
    assert_eq!(told.content, FrameContent::Unreadable { stale_since });
    assert!(
        told.frame
            .payload()
            .contains(r#""channel":"estadisticas:7""#)
    );
    let alias = hub
        .subscribe(shard.id(), &channel("estadisticas:negocio_7"))
        .unwrap();
    let latest = alias.latest.unwrap();
    assert_eq!(
        (latest.content, latest.version),
        (told.content, told.version)
    );
    assert!(latest.frame.payload().contains("estadisticas:negocio_7"));
    // An equal row is sent all the same, and it is newer than the error.
    assert_eq!(
        hub.publish(&topic("7"), &row("7", 1, 50)),
        PublishOutcome::Recovered(Version(52))
    );
    assert_eq!(shard.take().frames.len(), 2);
    assert_eq!(
        hub.publish(&topic("7"), &row("7", 1, 60)),
        PublishOutcome::Unchanged
    );
}

#[test]
fn topic_that_was_never_read_can_fail() {
    let (hub, _) = hub();
    let shard = hub.register_shard(|| {});
    let room = hub
        .subscribe(shard.id(), &channel("estadisticas:7"))
        .unwrap()
        .room;
    assert!(hub.set_unreadable(&topic("7"), 5));
    let stale_since = None;
    assert_eq!(
        shard.take().frames[&room].content,
        FrameContent::Unreadable { stale_since },
        "there are no numbers that could be old"
    );
    hub.publish(&topic("7"), &row("7", 1, 50));
    let pending = shard.take();
    assert_eq!(
        pending.frames[&room].content,
        FrameContent::Snapshot,
        "the newest wins"
    );
}

#[test]
fn staleness_is_sent_once_and_to_new_viewers() {
    let (hub, _) = hub();
    let shard = hub.register_shard(|| {});
    hub.set_staleness(Staleness::Fresh);
    assert!(shard.take().status.is_none());
    hub.set_staleness(Staleness::StaleSince(5));
    hub.set_staleness(Staleness::StaleSince(5));
    assert!(shard.take().status.is_some());
    assert!(
        hub.subscribe(shard.id(), &channel("estadisticas:7"))
            .unwrap()
            .staleness_frame
            .is_some()
    );
    hub.set_staleness(Staleness::Fresh);
    assert!(
        hub.subscribe(shard.id(), &channel("estadisticas:7"))
            .unwrap()
            .staleness_frame
            .is_none()
    );
}

#[tokio::test]
async fn async_subscriber_gets_newest_frame_and_leaves_on_drop() {
    let (hub, log) = hub();
    let mut subscriber = hub.subscribe_async(&channel("estadisticas:7")).unwrap();
    hub.publish(&topic("7"), &row("7", 1, 1));
    hub.publish(&topic("7"), &row("7", 2, 2));
    assert_eq!(subscriber.next_frame().await.version, Version(2));
    let mut late = hub.subscribe_async(&channel("estadisticas:7")).unwrap();
    assert_eq!(late.next_frame().await.version, Version(2));
    hub.set_staleness(Staleness::StaleSince(9));
    assert!(matches!(late.next().await, SubscriberEvent::Status(_)));
    drop((subscriber, late));
    assert_eq!(
        log.0.lock().unwrap().as_slice(),
        [(topic("7"), true), (topic("7"), false)]
    );
    assert_eq!(hub.counts(), (0, 0));
}

proptest! {
    /// For any sequence of steps, the versions in each room rise, the counts are right, and the
    /// observer is notified of first and last viewers alternately.
    #[test]
    fn counts_and_order_hold(steps in prop::collection::vec((0u8..4, 0usize..2, 0usize..3, 0u32..3), 1..120)) {
        let (hub, log) = hub();
        let shards = [hub.register_shard(|| {}), hub.register_shard(|| {})];
        let names = ["estadisticas:1", "estadisticas:negocio_1", "estadisticas:2"];
        let mut subscriptions: Vec<(usize, usize, RoomId)> = Vec::new();
        let mut seen: std::collections::HashMap<(usize, RoomId), Version> = std::collections::HashMap::new();
        for (action, o, name, n) in steps {
            match action {
                0 => {
                    let subscribed = hub.subscribe(shards[o].id(), &channel(names[name])).unwrap();
                    subscriptions.push((o, name, subscribed.room));
                }
                1 => {
                    if let Some(index) = subscriptions.iter().position(|(shard, channel, _)| (*shard, *channel) == (o, name)) {
                        hub.unsubscribe(shards[o].id(), subscriptions.swap_remove(index).2);
                    }
                }
                2 => drop(hub.publish(&channel(names[name]).topic, &row("1", n, 7))),
                _ => {
                    for (room, frame) in shards[o].take().frames {
                        let before = seen.insert((o, room), frame.version).unwrap_or_default();
                        prop_assert!(frame.version > before);
                    }
                }
            }
            let mut topics: Vec<_> = subscriptions.iter().map(|(_, name, _)| *name == 2).collect();
            topics.sort_unstable();
            topics.dedup();
            prop_assert_eq!(hub.counts(), (topics.len(), subscriptions.len()));
        }
        let log = log.0.lock().unwrap();
        for key in ["1", "2"] {
            let notifications: Vec<_> = log.iter().filter(|(t, _)| *t == topic(key)).map(|(_, on)| *on).collect();
            prop_assert!(notifications.iter().enumerate().all(|(i, on)| *on == (i % 2 == 0)), "they alternate");
        }
    }
}
