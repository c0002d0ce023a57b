//! Tests the dirty set against a model with random hints, viewers, failures and time.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use latido_base::ident::Key;

const KEYS: usize = 6;

fn topic(stream: u16, key: usize) -> Topic {
    Topic {
        stream: StreamId(stream),
        key: Key::from_canonical(&key.to_string()),
    }
}

fn pace() -> Pace {
    Pace {
        batch_keys: 3,
        min_interval: Duration::from_millis(40),
        ..Pace::default()
    }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Adds a key whose writers notify already.
fn watch(dirty: &mut Dirty<u32>, topic: &Topic, now: Instant) {
    dirty.watch(topic);
    dirty.armed(topic, now);
}

#[derive(Debug, Clone)]
enum Step {
    Watch(usize),
    Unwatch(usize),
    Mark(usize),
    Hook(usize),
    Take,
    Solo,
    Finish(usize, u8),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS * 2;
    prop_oneof![
        3 => key.clone().prop_map(Step::Watch),
        1 => key.clone().prop_map(Step::Unwatch),
        6 => key.clone().prop_map(Step::Mark),
        2 => key.prop_map(Step::Hook),
        4 => Just(Step::Take),
        2 => Just(Step::Solo),
        4 => (0usize..4, 0u8..4).prop_map(|(n, how)| Step::Finish(n, how)),
        3 => (1u64..60).prop_map(Step::Pass),
    ]
}

/// The state that the specification requires after the steps so far.
#[derive(Default)]
struct Model {
    watched: HashSet<Topic>,
    /// The keys that are marked and not yet read by a statement that started later and succeeded.
    owed: HashSet<Topic>,
    reading: Vec<Batch<u32>>,
    last_start: HashMap<Topic, Instant>,
    waiting: HashSet<u32>,
    told: HashSet<u32>,
}

impl Model {
    fn took(&mut self, batch: Batch<u32>, now: Instant) -> Result<(), TestCaseError> {
        prop_assert!(!batch.keys.is_empty() && batch.keys.len() <= pace().batch_keys);
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

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut now = Instant::now();
    let mut dirty: Dirty<u32> = Dirty::new(pace(), 2);
    let mut model = Model::default();
    let mut waiter = 0;
    let at = |n: usize| topic(u16::try_from(n / KEYS).unwrap(), n % KEYS);
    for step in steps {
        match step {
            Step::Watch(n) => {
                if model.watched.insert(at(n)) {
                    watch(&mut dirty, &at(n), now);
                    model.owed.insert(at(n));
                }
            }
            Step::Unwatch(n) => {
                model.watched.remove(&at(n));
                model.owed.remove(&at(n));
                dirty.unwatch(&at(n));
            }
            Step::Mark(n) => {
                let mark = dirty.mark(&at(n), Source::Trigger, now);
                prop_assert_eq!(mark == Mark::Unwatched, !model.watched.contains(&at(n)));
                if mark != Mark::Unwatched {
                    prop_assert_eq!(mark == Mark::Marked, model.owed.insert(at(n)));
                }
            }
            Step::Hook(n) => {
                waiter += 1;
                dirty.mark(&at(n), Source::Hook, now);
                if dirty.wait(&at(n), waiter) {
                    model.owed.insert(at(n));
                    model.waiting.insert(waiter);
                }
            }
            Step::Take => {
                if let Some(batch) = dirty.take(now, |_| true) {
                    model.took(batch, now)?;
                }
            }
            Step::Solo => {
                if let Some(batch) = dirty.take_solo(now) {
                    prop_assert_eq!(batch.keys.len(), 1);
                    model.took(batch, now)?;
                }
            }
            Step::Finish(n, how) if !model.reading.is_empty() => {
                let batch = model.reading.swap_remove(n % model.reading.len());
                let outcome = [
                    Outcome::Done { slow: false },
                    Outcome::Done { slow: true },
                    Outcome::Unavailable,
                    Outcome::Rejected,
                ][usize::from(how)];
                if !matches!(outcome, Outcome::Done { .. }) {
                    let again = batch
                        .keys
                        .iter()
                        .map(|k| k.topic.clone())
                        .filter(|t| model.watched.contains(t));
                    model.owed.extend(again);
                }
                let (notified, succeeded) = dirty.finish(batch, outcome, now);
                prop_assert_eq!(succeeded, matches!(outcome, Outcome::Done { .. }));
                for waiter in notified {
                    prop_assert!(
                        model.waiting.contains(&waiter) && model.told.insert(waiter),
                        "each waiter is notified once"
                    );
                }
            }
            Step::Finish(..) => {}
            Step::Pass(by) => now += ms(by),
        }
        prop_assert_eq!(dirty.waiting(), model.owed.len());
    }
    settle(dirty, model, now)
}

/// Lets the database recover: all owed keys are read within bounded time, and no read follows.
fn settle(mut dirty: Dirty<u32>, mut model: Model, mut now: Instant) -> Result<(), TestCaseError> {
    for batch in std::mem::take(&mut model.reading) {
        dirty.finish(batch, Outcome::Done { slow: false }, now);
    }
    for _ in 0..400 {
        while let Some(batch) = dirty.take(now, |_| true).or_else(|| dirty.take_solo(now)) {
            for key in &batch.keys {
                model.owed.remove(&key.topic);
            }
            dirty.finish(batch, Outcome::Done { slow: false }, now);
        }
        match dirty.next_due() {
            Some(due) => now = now.max(due),
            None => break,
        }
    }
    prop_assert!(model.owed.is_empty(), "still owed: {:?}", model.owed);
    prop_assert_eq!(dirty.waiting(), 0);
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
    let mut dirty: Dirty<u32> = Dirty::new(pace(), 1);
    watch(&mut dirty, &topic(0, 1), start);
    let mut reads = 0;
    for n in 0..1_000 {
        let now = start + ms(n);
        dirty.mark(&topic(0, 1), Source::Trigger, now);
        if let Some(batch) = dirty.take(now, |_| true) {
            assert!(reads > 0 || n == 0, "at once");
            reads += 1;
            dirty.finish(batch, Outcome::Done { slow: false }, now);
        }
    }
    assert_eq!(reads, 25);
}

#[test]
fn hot_key_is_polled_until_notifications_are_enabled() {
    let start = Instant::now();
    let mut dirty: Dirty<u32> = Dirty::new(
        Pace {
            hot_from: Some(3),
            ..pace()
        },
        1,
    );
    watch(&mut dirty, &topic(0, 1), start);
    let read = |dirty: &mut Dirty<u32>, now: Instant, changed: bool| {
        let mut batch = dirty.take(now, |_| true)?;
        batch.keys[0].changed = changed;
        dirty.finish(batch, Outcome::Done { slow: false }, now);
        Some(dirty.take_turns())
    };
    for _ in 0..3 {
        dirty.mark(&topic(0, 1), Source::Trigger, start);
    }
    assert_eq!(
        read(&mut dirty, start, true),
        Some(vec![(topic(0, 1), Turn::Hot)])
    );
    dirty.time(&topic(0, 1), start);
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
    assert_eq!(stops, [(topic(0, 1), Turn::Cool)]);
    dirty.armed(&topic(0, 1), start + ms(1_600));
    assert_eq!(
        read(&mut dirty, start + ms(1_600), false),
        Some(vec![]),
        "reads changes made without a notification"
    );
    assert_eq!(
        (dirty.waiting(), dirty.next_due()),
        (0, None),
        "and no timer is left"
    );
}

#[test]
fn polled_heavy_key_uses_at_most_a_tenth_of_the_time() {
    let start = Instant::now();
    let mut dirty: Dirty<u32> = Dirty::new(
        Pace {
            hot_from: Some(1),
            ..pace()
        },
        1,
    );
    watch(&mut dirty, &topic(0, 1), start);
    let read = |dirty: &mut Dirty<u32>, now: Instant, took: Duration| {
        let mut batch = dirty
            .take_solo(now)
            .or_else(|| dirty.take(now, |_| true))
            .unwrap();
        batch.keys[0].weight = Weight::Giant;
        dirty.finish(batch, Outcome::Done { slow: false }, now + took);
    };
    dirty.mark(&topic(0, 1), Source::Trigger, start);
    read(&mut dirty, start, ms(10));
    dirty.mark(&topic(0, 1), Source::Trigger, start + ms(10));
    assert_eq!(
        dirty.next_due(),
        Some(start + ms(40)),
        "notified: half of the time, at the usual interval"
    );
    dirty.time(&topic(0, 1), start + ms(10));
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
    let mut dirty: Dirty<u32> = Dirty::new(pace(), 2);
    (0..9).for_each(|n| watch(&mut dirty, &topic(0, n), now));
    watch(&mut dirty, &topic(1, 0), now);
    let streams: Vec<_> = std::iter::from_fn(|| dirty.take(now, |_| true))
        .map(|b| b.stream.0)
        .collect();
    assert_eq!(streams, [0, 1, 0, 0]);
}

#[test]
fn heavy_key_ends_up_alone_and_the_others_together() {
    let mut now = Instant::now();
    let mut dirty: Dirty<u32> = Dirty::new(
        Pace {
            batch_keys: 8,
            ..pace()
        },
        1,
    );
    let heavy_key = topic(0, 3);
    (0..8).for_each(|n| watch(&mut dirty, &topic(0, n), now));
    for _ in 0..12 {
        now += ms(100);
        dirty.mark_all(None, Source::Resync, now);
        while let Some(batch) = dirty.take(now, |_| true).or_else(|| dirty.take_solo(now)) {
            let slow = batch.keys.iter().any(|k| k.topic == heavy_key);
            dirty.finish(batch, Outcome::Done { slow }, now);
        }
    }
    now += ms(100);
    dirty.mark_all(None, Source::Resync, now);
    assert_eq!(dirty.take(now, |_| true).unwrap().keys.len(), 7);
    assert_eq!(dirty.take_solo(now).unwrap().keys[0].topic, heavy_key);
}

#[test]
fn rechecks_after_a_hook_end() {
    let start = Instant::now();
    let mut dirty: Dirty<u32> = Dirty::new(pace(), 1);
    watch(&mut dirty, &topic(0, 1), start);
    dirty.remind(&topic(0, 1), start);
    let mut reads = Vec::new();
    let mut now = start;
    loop {
        while let Some(batch) = dirty.take(now, |_| true) {
            reads.push(now.duration_since(start));
            dirty.finish(batch, Outcome::Done { slow: false }, now);
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
    let mut dirty: Dirty<u32> = Dirty::new(pace(), 1);
    for n in 0..50_000 {
        watch(&mut dirty, &topic(0, n), now);
        dirty.unwatch(&topic(0, n));
    }
    assert!(dirty.ready[0].len() <= ABANDONED + 2 && dirty.queued.len() <= ABANDONED + 2);
}

#[test]
fn first_read_waits_for_notifications_but_not_for_long() {
    let start = Instant::now();
    let mut dirty: Dirty<u32> = Dirty::new(pace(), 1);
    dirty.watch(&topic(0, 1));
    dirty.provide(&topic(0, 1), start + ms(30));
    dirty.watch(&topic(0, 2));
    dirty.provide(&topic(0, 2), start + ms(30));
    assert!(dirty.take(start, |_| true).is_none());
    dirty.armed(&topic(0, 1), start + ms(1));
    let batch = dirty.take(start + ms(1), |_| true).unwrap();
    assert_eq!(batch.keys.len(), 1);
    dirty.finish(batch, Outcome::Done { slow: false }, start + ms(2));
    let late = dirty.take(start + ms(30), |_| true).unwrap();
    assert_eq!(
        late.keys[0].topic,
        topic(0, 2),
        "and the first one is not read twice"
    );
    dirty.finish(late, Outcome::Done { slow: false }, start + ms(31));
    dirty.armed(&topic(0, 2), start + ms(500));
    assert!(
        dirty.take(start + ms(500), |_| true).is_some(),
        "but a key that was read too early is read again"
    );
}

#[test]
fn measured_heavy_key_is_read_alone_until_it_is_light() {
    let mut now = Instant::now();
    let mut dirty: Dirty<u32> = Dirty::new(
        Pace {
            batch_keys: 8,
            ..pace()
        },
        1,
    );
    let heavy_key = topic(0, 3);
    (0..8).for_each(|n| watch(&mut dirty, &topic(0, n), now));
    let with_cost = |mut batch: Batch<u32>, cost: Weight| {
        for key in &mut batch.keys {
            key.weight = if key.topic == heavy_key {
                cost
            } else {
                Weight::Light
            };
        }
        batch
    };
    let batch = dirty.take(now, |_| true).unwrap();
    assert_eq!(batch.keys.len(), 8, "no cost is known yet");
    dirty.finish(
        with_cost(batch, Weight::Giant),
        Outcome::Done { slow: false },
        now,
    );
    // The viewers leave and come back.
    dirty.unwatch(&heavy_key);
    watch(&mut dirty, &heavy_key, now);
    for cost in [Weight::Giant, Weight::Light] {
        now += ms(1_000);
        dirty.mark_all(None, Source::Resync, now);
        let others = dirty.take(now, |_| true).unwrap();
        assert_eq!(others.keys.len(), 7, "all others together, at once");
        dirty.finish(with_cost(others, cost), Outcome::Done { slow: false }, now);
        let alone = dirty.take_solo(now).unwrap();
        assert_eq!(alone.keys[0].topic, heavy_key);
        let end = now + ms(300);
        dirty.finish(with_cost(alone, cost), Outcome::Done { slow: false }, end);
        dirty.mark(&heavy_key, Source::Trigger, end);
        let again = dirty.take(end, |_| true).or_else(|| dirty.take_solo(end));
        assert_eq!(
            again.is_none(),
            cost == Weight::Giant,
            "the pause of a heavy key is as long as its read"
        );
        if let Some(batch) = again {
            dirty.finish(with_cost(batch, cost), Outcome::Done { slow: false }, end);
        }
        now = end;
    }
    now += ms(1_000);
    dirty.mark_all(None, Source::Resync, now);
    assert_eq!(
        dirty.take(now, |_| true).unwrap().keys.len(),
        8,
        "a heavy key that shrank is in the batch again"
    );
}
