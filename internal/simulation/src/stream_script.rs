//! The steps of event streams. They are added to some runs; the other runs stay as they are.

use crate::event_stream::EVENT_STREAMS;
use crate::script::{Script, SimStep, VIEWERS};
use crate::stream_step::StreamStep;

/// One seed in this many has event streams.
const STREAMS_ONE_IN: u8 = 3;
/// The number of random steps in such a run.
const STEPS: usize = 40;

impl Script {
    /// Adds clients of event streams to some of the runs.
    pub(super) fn with_event_streams(mut self, mut random: fastrand::Rng) -> Self {
        if random.u8(0..STREAMS_ONE_IN) > 0 {
            return self;
        }
        for _ in 0..STEPS {
            let at = random.usize(3 * VIEWERS..=self.steps.len());
            let step = SimStep::EventStream(draw_step(&mut random));
            self.steps.insert(at, step);
        }
        self
    }
}

fn draw_step(random: &mut fastrand::Rng) -> StreamStep {
    let client = random.u8(0..u8::try_from(EVENT_STREAMS).unwrap());
    match random.u8(0..20) {
        0..12 => StreamStep::Follow(client, random.u8(..), random.bool()),
        12..15 => StreamStep::GiveUp(client, random.u8(..)),
        15 => StreamStep::Close(client),
        16 | 17 => StreamStep::Pause(client),
        _ => StreamStep::Resume(client),
    }
}
