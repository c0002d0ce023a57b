//! Tests the dirty set against a model with random hints, viewers, failures and time.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

const KEYS_PER_STREAM: usize = 6;

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
        4 => (0usize..4, 0u8..5).prop_map(|(n, how)| DirtySetStep::Finish(n, how)),
        3 => (1u64..60).prop_map(DirtySetStep::Advance),
    ]
}

/// Returns the pacing of the two streams. The second one has an interval of its own.
fn two_pacings() -> Vec<ReadPacing> {
    vec![test_pacing(), test_pacing().with_interval(ms(90))]
}

/// The state that the specification requires after the steps so far.
#[derive(Default)]
struct DirtySetModel {
    watched: HashSet<Topic>,
    /// The keys that are marked and not yet read by a statement that started later and succeeded.
    owed: HashSet<Topic>,
    reading: Vec<ReadBatch<u32>>,
    /// The start of the last read of each key since its viewers came, if it did not fail.
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
            let interval = two_pacings()[usize::from(batch.stream.0)].min_interval;
            let last = self.last_start.insert(key.topic.clone(), now);
            prop_assert!(last.is_none_or(|last| now >= last + interval), "too soon");
        }
        self.reading.push(batch);
        Ok(())
    }
}

/// The dirty set under test, next to the model.
struct ModelRun {
    now: Instant,
    dirty: DirtySet<u32>,
    model: DirtySetModel,
    last_waiter: u32,
}

fn run(steps: Vec<DirtySetStep>) -> Result<(), TestCaseError> {
    let mut run = ModelRun {
        now: Instant::now(),
        dirty: DirtySet::new(two_pacings()),
        model: DirtySetModel::default(),
        last_waiter: 0,
    };
    for step in steps {
        run.apply(step)?;
        prop_assert_eq!(run.dirty.pending_keys(), run.model.owed.len());
    }
    run_until_settled(run.dirty, run.model, run.now)
}

/// Returns the topic of a key, counted over all streams.
fn topic_at(n: usize) -> Topic {
    let stream = u16::try_from(n / KEYS_PER_STREAM).unwrap();
    topic(stream, n % KEYS_PER_STREAM)
}

impl ModelRun {
    fn apply(&mut self, step: DirtySetStep) -> Result<(), TestCaseError> {
        match step {
            DirtySetStep::Watch(n) => {
                if self.model.watched.insert(topic_at(n)) {
                    watch_with_notifications(&mut self.dirty, &topic_at(n), self.now);
                    self.model.owed.insert(topic_at(n));
                }
            }
            DirtySetStep::Unwatch(n) => {
                self.model.watched.remove(&topic_at(n));
                self.model.owed.remove(&topic_at(n));
                self.model.last_start.remove(&topic_at(n));
                self.dirty.unwatch(&topic_at(n));
            }
            DirtySetStep::Mark(n) => self.mark(&topic_at(n))?,
            DirtySetStep::Hook(n) => {
                self.last_waiter += 1;
                self.dirty.mark(&topic_at(n), HintSource::Hook, self.now);
                if self.dirty.add_waiter(&topic_at(n), self.last_waiter) {
                    self.model.owed.insert(topic_at(n));
                    self.model.waiting.insert(self.last_waiter);
                }
            }
            DirtySetStep::Take => {
                if let Some(batch) = self.dirty.take_batch(self.now, |_| true) {
                    self.model.record_batch(batch, self.now)?;
                }
            }
            DirtySetStep::Solo => {
                if let Some(batch) = self.dirty.take_solo(self.now) {
                    prop_assert_eq!(batch.keys.len(), 1);
                    self.model.record_batch(batch, self.now)?;
                }
            }
            DirtySetStep::Finish(n, how) => self.finish(n, how)?,
            DirtySetStep::Advance(by) => self.now += ms(by),
        }
        Ok(())
    }

    fn mark(&mut self, topic: &Topic) -> Result<(), TestCaseError> {
        let outcome = self.dirty.mark(topic, HintSource::Trigger, self.now);
        prop_assert_eq!(
            outcome == MarkOutcome::Unwatched,
            !self.model.watched.contains(topic)
        );
        if outcome != MarkOutcome::Unwatched {
            let is_new = self.model.owed.insert(topic.clone());
            prop_assert_eq!(outcome == MarkOutcome::Marked, is_new);
        }
        Ok(())
    }

    /// Ends one of the statements in progress, if there is one.
    fn finish(&mut self, n: usize, how: u8) -> Result<(), TestCaseError> {
        let Self { model, dirty, .. } = self;
        if model.reading.is_empty() {
            return Ok(());
        }
        let batch = model.reading.swap_remove(n % model.reading.len());
        let outcome = [
            BatchOutcome::Done { is_slow: false },
            BatchOutcome::Done { is_slow: true },
            BatchOutcome::Unavailable,
            BatchOutcome::Rejected,
            BatchOutcome::Broken,
        ][usize::from(how)];
        if matches!(outcome, BatchOutcome::Unavailable | BatchOutcome::Rejected) {
            let again = batch
                .keys
                .iter()
                .map(|k| k.topic.clone())
                .filter(|t| model.watched.contains(t));
            model.owed.extend(again);
        }
        if !matches!(outcome, BatchOutcome::Done { .. }) {
            for key in &batch.keys {
                model.last_start.remove(&key.topic);
            }
        }
        let (notified, succeeded) = dirty.finish(batch, outcome, self.now);
        prop_assert_eq!(succeeded, matches!(outcome, BatchOutcome::Done { .. }));
        for waiter in notified {
            prop_assert!(
                model.waiting.contains(&waiter) && model.notified.insert(waiter),
                "each waiter is notified once"
            );
        }
        Ok(())
    }
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
