//! Tests the dirty set against a model with random hints, viewers, failures and time.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use latido_base::ident::Key;

const KEYS_PER_STREAM: usize = 6;

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

#[derive(Debug, Clone)]
enum DirtySetStep {
    Watch(usize),
    Unwatch(usize),
    Mark(usize),
    Hook(usize),
    Take,
    Solo,
    Finish(usize, u8),
    Advance(u64),
}

fn step() -> impl Strategy<Value = DirtySetStep> {
    let key = 0..KEYS_PER_STREAM * 2;
    prop_oneof![
        3 => key.clone().prop_map(DirtySetStep::Watch),
        1 => key.clone().prop_map(DirtySetStep::Unwatch),
        6 => key.clone().prop_map(DirtySetStep::Mark),
        2 => key.prop_map(DirtySetStep::Hook),
        4 => Just(DirtySetStep::Take),
        2 => Just(DirtySetStep::Solo),
        4 => (0usize..4, 0u8..4).prop_map(|(n, how)| DirtySetStep::Finish(n, how)),
        3 => (1u64..60).prop_map(DirtySetStep::Advance),
    ]
}

/// The state that the specification requires after the steps so far.
#[derive(Default)]
struct DirtySetModel {
    watched: HashSet<Topic>,
    /// The keys that are marked and not yet read by a statement that started later and succeeded.
    owed: HashSet<Topic>,
    reading: Vec<ReadBatch<u32>>,
    last_start: HashMap<Topic, Instant>,
    waiting: HashSet<u32>,
    notified: HashSet<u32>,
}

impl DirtySetModel {
    fn record_batch(&mut self, batch: ReadBatch<u32>, now: Instant) -> Result<(), TestCaseError> {
        prop_assert!(!batch.keys.is_empty() && batch.keys.len() <= test_pacing().batch_keys);
        for key in &batch.keys {
            prop_assert!(self.watched.contains(&key.topic), "it has no viewers");
            prop_assert_eq!(key.topic.stream, batch.stream);
            let reading = self
                .reading
                .iter()
                .flat_map(|b| &b.keys)
                .any(|k| k.topic == key.topic);
            prop_assert!(!reading, "one statement at a time");
            prop_assert!(self.owed.remove(&key.topic), "read only if it must be");
            self.last_start.insert(key.topic.clone(), now);
        }
        self.reading.push(batch);
        Ok(())
    }
}

fn run(steps: Vec<DirtySetStep>) -> Result<(), TestCaseError> {
    let mut now = Instant::now();
    let mut dirty: DirtySet<u32> = DirtySet::new(test_pacing(), 2);
    let mut model = DirtySetModel::default();
    let mut waiter = 0;
    let at = |n: usize| {
        topic(
            u16::try_from(n / KEYS_PER_STREAM).unwrap(),
            n % KEYS_PER_STREAM,
        )
    };
    for step in steps {
        match step {
            DirtySetStep::Watch(n) => {
                if model.watched.insert(at(n)) {
                    watch_with_notifications(&mut dirty, &at(n), now);
                    model.owed.insert(at(n));
                }
            }
            DirtySetStep::Unwatch(n) => {
                model.watched.remove(&at(n));
                model.owed.remove(&at(n));
                dirty.unwatch(&at(n));
            }
            DirtySetStep::Mark(n) => {
                let mark = dirty.mark(&at(n), HintSource::Trigger, now);
                prop_assert_eq!(
                    mark == MarkOutcome::Unwatched,
                    !model.watched.contains(&at(n))
                );
                if mark != MarkOutcome::Unwatched {
                    prop_assert_eq!(mark == MarkOutcome::Marked, model.owed.insert(at(n)));
                }
            }
            DirtySetStep::Hook(n) => {
                waiter += 1;
                dirty.mark(&at(n), HintSource::Hook, now);
                if dirty.add_waiter(&at(n), waiter) {
                    model.owed.insert(at(n));
                    model.waiting.insert(waiter);
                }
            }
            DirtySetStep::Take => {
                if let Some(batch) = dirty.take_batch(now, |_| true) {
                    model.record_batch(batch, now)?;
                }
            }
            DirtySetStep::Solo => {
                if let Some(batch) = dirty.take_solo(now) {
                    prop_assert_eq!(batch.keys.len(), 1);
                    model.record_batch(batch, now)?;
                }
            }
            DirtySetStep::Finish(n, how) if !model.reading.is_empty() => {
                let batch = model.reading.swap_remove(n % model.reading.len());
                let outcome = [
                    BatchOutcome::Done { is_slow: false },
                    BatchOutcome::Done { is_slow: true },
                    BatchOutcome::Unavailable,
                    BatchOutcome::Rejected,
                ][usize::from(how)];
                if !matches!(outcome, BatchOutcome::Done { .. }) {
                    let again = batch
                        .keys
                        .iter()
                        .map(|k| k.topic.clone())
                        .filter(|t| model.watched.contains(t));
                    model.owed.extend(again);
                }
                let (notified, succeeded) = dirty.finish(batch, outcome, now);
                prop_assert_eq!(succeeded, matches!(outcome, BatchOutcome::Done { .. }));
                for waiter in notified {
                    prop_assert!(
                        model.waiting.contains(&waiter) && model.notified.insert(waiter),
                        "each waiter is notified once"
                    );
                }
            }
            DirtySetStep::Finish(..) => {}
            DirtySetStep::Advance(by) => now += ms(by),
        }
        prop_assert_eq!(dirty.pending_keys(), model.owed.len());
    }
    run_until_settled(dirty, model, now)
}

/// Lets the database recover: all owed keys are read within bounded time, and no read follows.
fn run_until_settled(
    mut dirty: DirtySet<u32>,
    mut model: DirtySetModel,
    mut now: Instant,
) -> Result<(), TestCaseError> {
    for batch in std::mem::take(&mut model.reading) {
        dirty.finish(batch, BatchOutcome::Done { is_slow: false }, now);
    }
    for _ in 0..400 {
        while let Some(batch) = dirty
            .take_batch(now, |_| true)
            .or_else(|| dirty.take_solo(now))
        {
            for key in &batch.keys {
                model.owed.remove(&key.topic);
            }
            dirty.finish(batch, BatchOutcome::Done { is_slow: false }, now);
        }
        match dirty.next_due() {
            Some(due) => now = now.max(due),
            None => break,
        }
    }
    prop_assert!(model.owed.is_empty(), "still owed: {:?}", model.owed);
    prop_assert_eq!(dirty.pending_keys(), 0);
    prop_assert!(dirty.next_due().is_none(), "an idle engine has no timer");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn dirty_set_matches_the_model(steps in prop::collection::vec(step(), 1..80)) {
        run(steps)?;
    }
}

#[test]
fn first_change_is_read_at_once_and_a_burst_at_the_interval() {
    let start = Instant::now();
    let mut dirty: DirtySet<u32> = DirtySet::new(test_pacing(), 1);
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
fn hot_key_is_polled_until_notifications_are_enabled() {
    let start = Instant::now();
    let mut dirty: DirtySet<u32> = DirtySet::new(
        ReadPacing {
            hot_from: Some(3),
            ..test_pacing()
        },
        1,
    );
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
    let mut dirty: DirtySet<u32> = DirtySet::new(
        ReadPacing {
            hot_from: Some(1),
            ..test_pacing()
        },
        1,
    );
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
    let mut dirty: DirtySet<u32> = DirtySet::new(test_pacing(), 2);
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
    let mut dirty: DirtySet<u32> = DirtySet::new(
        ReadPacing {
            batch_keys: 8,
            ..test_pacing()
        },
        1,
    );
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
    let mut dirty: DirtySet<u32> = DirtySet::new(test_pacing(), 1);
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
    let mut dirty: DirtySet<u32> = DirtySet::new(test_pacing(), 1);
    for n in 0..50_000 {
        watch_with_notifications(&mut dirty, &topic(0, n), now);
        dirty.unwatch(&topic(0, n));
    }
    assert!(dirty.ready[0].len() <= MAX_ABANDONED + 2 && dirty.queued.len() <= MAX_ABANDONED + 2);
}

#[test]
fn first_read_waits_for_notifications_but_not_for_long() {
    let start = Instant::now();
    let mut dirty: DirtySet<u32> = DirtySet::new(test_pacing(), 1);
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
    dirty.notifications_enabled(&topic(0, 2), start + ms(500));
    assert!(
        dirty.take_batch(start + ms(500), |_| true).is_some(),
        "but a key that was read too early is read again"
    );
}

#[test]
fn measured_heavy_key_is_read_alone_until_it_is_light() {
    let mut now = Instant::now();
    let mut dirty: DirtySet<u32> = DirtySet::new(
        ReadPacing {
            batch_keys: 8,
            ..test_pacing()
        },
        1,
    );
    let heavy_key = topic(0, 3);
    (0..8).for_each(|n| watch_with_notifications(&mut dirty, &topic(0, n), now));
    let with_cost = |mut batch: ReadBatch<u32>, cost: KeyCost| {
        for key in &mut batch.keys {
            key.cost = if key.topic == heavy_key {
                cost
            } else {
                KeyCost::Light
            };
        }
        batch
    };
    let batch = dirty.take_batch(now, |_| true).unwrap();
    assert_eq!(batch.keys.len(), 8, "no cost is known yet");
    dirty.finish(
        with_cost(batch, KeyCost::Heavy),
        BatchOutcome::Done { is_slow: false },
        now,
    );
    // The viewers leave and come back.
    dirty.unwatch(&heavy_key);
    watch_with_notifications(&mut dirty, &heavy_key, now);
    for cost in [KeyCost::Heavy, KeyCost::Light] {
        now += ms(1_000);
        dirty.mark_all(None, HintSource::Resync, now);
        let others = dirty.take_batch(now, |_| true).unwrap();
        assert_eq!(others.keys.len(), 7, "all others together, at once");
        dirty.finish(
            with_cost(others, cost),
            BatchOutcome::Done { is_slow: false },
            now,
        );
        let alone = dirty.take_solo(now).unwrap();
        assert_eq!(alone.keys[0].topic, heavy_key);
        let end = now + ms(300);
        dirty.finish(
            with_cost(alone, cost),
            BatchOutcome::Done { is_slow: false },
            end,
        );
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
            dirty.finish(
                with_cost(batch, cost),
                BatchOutcome::Done { is_slow: false },
                end,
            );
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
