//! The steps of sleep. They are added to some runs; the other runs stay as they are.

use crate::script::{CitaWrite, Script, SimStep};
use crate::sleep_step::SleepStep;

/// One seed in this many has sleep beside the one at the end of each run.
const SLEEP_ONE_IN: u8 = 4;
/// The number of episodes in such a run.
const EPISODES: u8 = 3;

impl Script {
    /// Adds episodes of sleep to some of the runs.
    pub(super) fn with_sleep(mut self, mut random: fastrand::Rng) -> Self {
        if random.u8(0..SLEEP_ONE_IN) == 0 {
            for _ in 0..EPISODES {
                let steps = sleep_episode(&mut random);
                self.insert_spread(steps, &mut random);
            }
        }
        self
    }
}

/// Everybody leaves, the connections fall asleep, and somebody comes back before, while or after they
/// are closed.
fn sleep_episode(random: &mut fastrand::Rng) -> Vec<SimStep> {
    let (viewer, key, long) = (random.u8(..), random.u8(..), random.bool());
    let change = SimStep::Change(key, CitaWrite::Book(0));
    let mut steps = vec![
        SimStep::Sleep(SleepStep::Leave),
        SimStep::Sleep(SleepStep::Begin),
    ];
    push_notices(&mut steps, random);
    steps.push(change);
    if random.bool() {
        steps.push(SimStep::Hook(key));
        push_notices(&mut steps, random);
    }
    steps.extend([
        SimStep::Connect(viewer, 3600),
        SimStep::Subscribe(viewer, key, long),
        SimStep::Answer(0, true),
    ]);
    push_notices(&mut steps, random);
    steps.push(change);
    push_notices(&mut steps, random);
    steps.extend([
        SimStep::Sleep(SleepStep::ListenerNotices),
        SimStep::Sleep(SleepStep::LockHolderNotices),
        SimStep::Advance(random.u16(1..400)),
        SimStep::DeliverAll,
    ]);
    steps
}

fn push_notices(steps: &mut Vec<SimStep>, random: &mut fastrand::Rng) {
    let notices = [SleepStep::ListenerNotices, SleepStep::LockHolderNotices];
    for _ in 0..random.u8(0..3) {
        steps.extend(random.choice(notices).map(SimStep::Sleep));
    }
}
