//! Tests of the dirty set: pacing, polling, heavy keys and first reads.

use std::time::{Duration, Instant};

use super::*;
use crate::read_batch::{BatchOutcome, KeyCost, ReadBatch};
use latido_base::ident::Key;

#[path = "dirty_set_model_tests.rs"]
mod model;

fn topic(stream: u16, key: usize) -> Topic {
    Topic {
        stream: StreamId(stream),
        key: Key::from_canonical(&key.to_string()),
    }
}

fn test_pacing() -> ReadPacing {
    ReadPacing {
        batch_keys: 3,
        min_interval: Duration::from_millis(40),
        ..ReadPacing::default()
    }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Adds a key whose writers notify already.
fn watch_with_notifications(dirty: &mut DirtySet<u32>, topic: &Topic, now: Instant) {
    dirty.watch(topic);
    dirty.notifications_enabled(topic, now);
}

#[test]
fn first_change_is_read_at_once_and_a_burst_at_the_interval() {
    let start = Instant::now();
    let mut dirty: DirtySet<u32> = DirtySet::new(vec![test_pacing()]);
    watch_with_notifications(&mut dirty, &topic(0, 1), start);
    let mut reads = 0;
    for n in 0..1_000 {
        let now = start + ms(n);
        dirty.mark(&topic(0, 1), HintSource::Trigger, now);
        if let Some(batch) = dirty.take_batch(now, |_| true) {
            assert!(reads > 0 || n == 0, "at once");
            reads += 1;
            dirty.finish(batch, BatchOutcome::Done { is_slow: false }, now);
        }
    }
    assert_eq!(reads, 25);
}

#[test]
fn stream_is_read_at_its_own_interval() {
    let start = Instant::now();
    let pacing = vec![test_pacing(), test_pacing().with_interval(ms(500))];
    let mut dirty: DirtySet<u32> = DirtySet::new(pacing);
    let mut reads = [0; 2];
    for stream in 0..2 {
        watch_with_notifications(&mut dirty, &topic(stream, 1), start);
    }
    for n in 0..1_000 {
        let now = start + ms(n);
        for stream in 0..2 {
            dirty.mark(&topic(stream, 1), HintSource::Trigger, now);
        }
        while let Some(batch) = dirty.take_batch(now, |_| true) {
            reads[usize::from(batch.stream.0)] += 1;
            dirty.finish(batch, BatchOutcome::Done { is_slow: false }, now);
        }
    }
    assert_eq!(reads, [25, 2]);
}

/// Reads the key, and marks it again. It waits for the interval.
fn delay(dirty: &mut DirtySet<u32>, key: &Topic, now: Instant) {
    watch_with_notifications(dirty, key, now);
    let batch = dirty.take_batch(now, |_| true).expect("it is due");
    dirty.finish(batch, BatchOutcome::Done { is_slow: false }, now);
    dirty.mark(key, HintSource::Trigger, now);
    assert!(dirty.take_batch(now, |_| true).is_none());
}

#[test]
fn next_viewer_does_not_wait_for_the_interval() {
    let start = Instant::now();
    let mut dirty: DirtySet<u32> = DirtySet::new(vec![test_pacing().with_interval(ms(500))]);
    let key = topic(0, 1);
    for viewer in 0..3 {
        let now = start + ms(viewer);
        delay(&mut dirty, &key, now);
        dirty.unwatch(&key);
    }
    // The entries that the first two viewers left behind are no reason to read too soon.
    let mut reads = Vec::new();
    watch_with_notifications(&mut dirty, &key, start + ms(3));
    for n in 3..1_200 {
        let now = start + ms(n);
        while let Some(batch) = dirty.take_batch(now, |_| true) {
            reads.push(n);
            dirty.finish(batch, BatchOutcome::Done { is_slow: false }, now);
        }
        dirty.mark(&key, HintSource::Trigger, now);
    }
    assert_eq!(reads, [3, 503, 1_003]);
}

#[test]
fn viewers_that_leave_a_delayed_key_do_not_fill_the_queues() {
    let start = Instant::now();
    let mut dirty: DirtySet<u32> = DirtySet::new(vec![test_pacing().with_interval(ms(60_000))]);
    for n in 0..10_000 {
        let key = topic(0, usize::try_from(n % 100).unwrap());
        delay(&mut dirty, &key, start + ms(n));
        dirty.unwatch(&key);
    }
    assert!(dirty.delayed.len() <= 2_000 && dirty.queued.len() <= 2_000);
}

#[test]
fn limit_of_a_hot_key_follows_the_interval() {
    let hot_from = |interval| test_pacing().with_interval(ms(interval)).hot_from;
    assert_eq!(hot_from(10), Some(1_000));
    assert_eq!((hot_from(1_000), hot_from(0)), (Some(200), None));
}

#[test]
fn hot_key_is_polled_until_notifications_are_enabled() {
    let start = Instant::now();
    let mut dirty: DirtySet<u32> = DirtySet::new(vec![ReadPacing {
        hot_from: Some(3),
        ..test_pacing()
    }]);
    watch_with_notifications(&mut dirty, &topic(0, 1), start);
    let read = |dirty: &mut DirtySet<u32>, now: Instant, changed: bool| {
        let mut batch = dirty.take_batch(now, |_| true)?;
        batch.keys[0].has_changed = changed;
        dirty.finish(batch, BatchOutcome::Done { is_slow: false }, now);
        Some(dirty.take_polling_changes())
    };
    for _ in 0..3 {
        dirty.mark(&topic(0, 1), HintSource::Trigger, start);
    }
    assert_eq!(
        read(&mut dirty, start, true),
        Some(vec![(topic(0, 1), PollingChange::StartPolling)])
    );
    dirty.start_polling(&topic(0, 1), start);
    for n in 1..10 {
        assert_eq!(dirty.next_due(), Some(start + ms(n * 40)));
        assert_eq!(
            read(&mut dirty, start + ms(n * 40 - 1), true),
            None,
            "not before the interval is over"
        );
        assert_eq!(
            read(&mut dirty, start + ms(n * 40), true),
            Some(vec![]),
            "without a notification"
        );
    }
    let stops: Vec<_> = (10..40)
        .filter_map(|n| read(&mut dirty, start + ms(n * 40), false))
        .flatten()
        .collect();
    assert_eq!(stops, [(topic(0, 1), PollingChange::StopPolling)]);
    dirty.notifications_enabled(&topic(0, 1), start + ms(1_600));
    assert_eq!(
        read(&mut dirty, start + ms(1_600), false),
        Some(vec![]),
        "reads changes made without a notification"
    );
    assert_eq!(
        (dirty.pending_keys(), dirty.next_due()),
        (0, None),
        "and no timer is left"
    );
}

#[test]
fn polled_heavy_key_uses_at_most_a_tenth_of_the_time() {
    let start = Instant::now();
    let mut dirty: DirtySet<u32> = DirtySet::new(vec![ReadPacing {
        hot_from: Some(1),
        ..test_pacing()
    }]);
    watch_with_notifications(&mut dirty, &topic(0, 1), start);
    let read = |dirty: &mut DirtySet<u32>, now: Instant, took: Duration| {
        let mut batch = dirty
            .take_solo(now)
            .or_else(|| dirty.take_batch(now, |_| true))
            .unwrap();
        batch.keys[0].cost = KeyCost::Heavy;
        dirty.finish(batch, BatchOutcome::Done { is_slow: false }, now + took);
    };
    dirty.mark(&topic(0, 1), HintSource::Trigger, start);
    read(&mut dirty, start, ms(10));
    dirty.mark(&topic(0, 1), HintSource::Trigger, start + ms(10));
    assert_eq!(
        dirty.next_due(),
        Some(start + ms(40)),
        "notified: half of the time, at the usual interval"
    );
    dirty.start_polling(&topic(0, 1), start + ms(10));
    for (took, pause) in [
        (ms(10), ms(90)),
        (ms(300), ms(1_000)),
        (ms(3_000), ms(3_000)),
        (ms(2), ms(38)),
    ] {
        let now = dirty.next_due().unwrap();
        read(&mut dirty, now, took);
        assert_eq!(dirty.next_due(), Some(now + took + pause), "after {took:?}");
    }
}

#[test]
fn busy_stream_does_not_starve_another() {
    let now = Instant::now();
    let mut dirty: DirtySet<u32> = DirtySet::new(vec![test_pacing(); 2]);
    (0..9).for_each(|n| watch_with_notifications(&mut dirty, &topic(0, n), now));
    watch_with_notifications(&mut dirty, &topic(1, 0), now);
    let streams: Vec<_> = std::iter::from_fn(|| dirty.take_batch(now, |_| true))
        .map(|b| b.stream.0)
        .collect();
    assert_eq!(streams, [0, 1, 0, 0]);
}

#[test]
fn heavy_key_ends_up_alone_and_the_others_together() {
    let mut now = Instant::now();
    let mut dirty: DirtySet<u32> = DirtySet::new(vec![ReadPacing {
        batch_keys: 8,
        ..test_pacing()
    }]);
    let heavy_key = topic(0, 3);
    (0..8).for_each(|n| watch_with_notifications(&mut dirty, &topic(0, n), now));
    for _ in 0..12 {
        now += ms(100);
        dirty.mark_all(None, HintSource::Resync, now);
        while let Some(batch) = dirty
            .take_batch(now, |_| true)
            .or_else(|| dirty.take_solo(now))
        {
            let slow = batch.keys.iter().any(|k| k.topic == heavy_key);
            dirty.finish(batch, BatchOutcome::Done { is_slow: slow }, now);
        }
    }
    now += ms(100);
    dirty.mark_all(None, HintSource::Resync, now);
    assert_eq!(dirty.take_batch(now, |_| true).unwrap().keys.len(), 7);
    assert_eq!(dirty.take_solo(now).unwrap().keys[0].topic, heavy_key);
}

#[test]
fn rechecks_after_a_hook_end() {
    let start = Instant::now();
    let mut dirty: DirtySet<u32> = DirtySet::new(vec![test_pacing()]);
    watch_with_notifications(&mut dirty, &topic(0, 1), start);
    dirty.schedule_recheck(&topic(0, 1), start);
    let mut reads = Vec::new();
    let mut now = start;
    loop {
        while let Some(batch) = dirty.take_batch(now, |_| true) {
            reads.push(now.duration_since(start));
            dirty.finish(batch, BatchOutcome::Done { is_slow: false }, now);
        }
        match dirty.next_due() {
            Some(due) => now = due.max(now),
            None => break,
        }
    }
    assert_eq!(reads, [0, 100, 200, 400, 800, 1600, 2000].map(ms));
}

#[test]
fn short_lived_viewers_do_not_fill_the_queues() {
    let now = Instant::now();
    let mut dirty: DirtySet<u32> = DirtySet::new(vec![test_pacing()]);
    for n in 0..50_000 {
        watch_with_notifications(&mut dirty, &topic(0, n), now);
        dirty.unwatch(&topic(0, n));
    }
    assert!(dirty.ready[0].len() <= MAX_ABANDONED + 2 && dirty.queued.len() <= MAX_ABANDONED + 2);
}

#[test]
fn first_read_waits_for_notifications_but_not_for_long() {
    let start = Instant::now();
    let mut dirty: DirtySet<u32> = DirtySet::new(vec![test_pacing()]);
    dirty.watch(&topic(0, 1));
    dirty.schedule_first_read(&topic(0, 1), start + ms(30));
    dirty.watch(&topic(0, 2));
    dirty.schedule_first_read(&topic(0, 2), start + ms(30));
    assert!(dirty.take_batch(start, |_| true).is_none());
    dirty.notifications_enabled(&topic(0, 1), start + ms(1));
    let batch = dirty.take_batch(start + ms(1), |_| true).unwrap();
    assert_eq!(batch.keys.len(), 1);
    dirty.finish(batch, BatchOutcome::Done { is_slow: false }, start + ms(2));
    let late = dirty.take_batch(start + ms(30), |_| true).unwrap();
    assert_eq!(
        late.keys[0].topic,
        topic(0, 2),
        "and the first one is not read twice"
    );
    dirty.finish(late, BatchOutcome::Done { is_slow: false }, start + ms(31));
    assert_eq!(dirty.unsettled_keys(), 1, "one more read follows");
    dirty.notifications_enabled(&topic(0, 2), start + ms(500));
    let again = dirty
        .take_batch(start + ms(500), |_| true)
        .expect("a key that was read too early is read again");
    assert_eq!(
        (dirty.pending_keys(), dirty.unsettled_keys()),
        (0, 1),
        "the read is not finished"
    );
    dirty.finish(
        again,
        BatchOutcome::Done { is_slow: false },
        start + ms(501),
    );
    assert_eq!(dirty.unsettled_keys(), 0);
}

#[test]
fn measured_heavy_key_is_read_alone_until_it_is_light() {
    let mut now = Instant::now();
    let mut dirty: DirtySet<u32> = DirtySet::new(vec![ReadPacing {
        batch_keys: 8,
        ..test_pacing()
    }]);
    let heavy_key = topic(0, 3);
    (0..8).for_each(|n| watch_with_notifications(&mut dirty, &topic(0, n), now));
    let finish = |dirty: &mut DirtySet<u32>, mut batch: ReadBatch<u32>, cost, now| {
        for key in &mut batch.keys {
            key.cost = if key.topic == heavy_key {
                cost
            } else {
                KeyCost::Light
            };
        }
        dirty.finish(batch, BatchOutcome::Done { is_slow: false }, now);
    };
    let batch = dirty.take_batch(now, |_| true).unwrap();
    assert_eq!(batch.keys.len(), 8, "no cost is known yet");
    finish(&mut dirty, batch, KeyCost::Heavy, now);
    // The viewers leave and come back.
    dirty.unwatch(&heavy_key);
    watch_with_notifications(&mut dirty, &heavy_key, now);
    for cost in [KeyCost::Heavy, KeyCost::Light] {
        now += ms(1_000);
        dirty.mark_all(None, HintSource::Resync, now);
        let others = dirty.take_batch(now, |_| true).unwrap();
        assert_eq!(others.keys.len(), 7, "all others together, at once");
        finish(&mut dirty, others, cost, now);
        let alone = dirty.take_solo(now).unwrap();
        assert_eq!(alone.keys[0].topic, heavy_key);
        let end = now + ms(300);
        finish(&mut dirty, alone, cost, end);
        dirty.mark(&heavy_key, HintSource::Trigger, end);
        let again = dirty
            .take_batch(end, |_| true)
            .or_else(|| dirty.take_solo(end));
        assert_eq!(
            again.is_none(),
            cost == KeyCost::Heavy,
            "the pause of a heavy key is as long as its read"
        );
        if let Some(batch) = again {
            finish(&mut dirty, batch, cost, end);
        }
        now = end;
    }
    now += ms(1_000);
    dirty.mark_all(None, HintSource::Resync, now);
    assert_eq!(
        dirty.take_batch(now, |_| true).unwrap().keys.len(),
        8,
        "a heavy key that shrank is in the batch again"
    );
}

/// Nothing is taken out of the set while the database is away.
#[test]
fn viewers_that_come_and_go_during_an_outage_leave_nothing() {
    let (start, mut dirty) = (Instant::now(), DirtySet::<u32>::new(vec![test_pacing()]));
    for n in 0..10_000 {
        let watched = topic(0, n);
        dirty.watch(&watched);
        dirty.schedule_first_read(&watched, start);
        dirty.unwatch(&watched);
    }
    dirty.watch(&topic(0, 1));
    for n in 0..10_000_u64 {
        dirty.schedule_first_read(&topic(0, 1), start + ms(n));
    }
    assert!(
        dirty.scheduled_marks.len() <= 2_000,
        "{}",
        dirty.scheduled_marks.len()
    );
    assert!(dirty.is_pending(&topic(0, 1)));
    dirty.promote_due(start + ms(10_000));
    assert_eq!(dirty.pending_keys(), 1);
}
