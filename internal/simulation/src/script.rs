//! The steps of a run, drawn from its seed before it begins. Removing one step leaves the others
//! unchanged.

use crate::order_step::OrderStep;
use crate::sleep_step::SleepStep;
use crate::stream_step::StreamStep;

/// A key whose rows are so long that a full socket accepts them only in part.
pub(super) const WIDE: u8 = 4;

/// The number of keys that are written and watched.
pub(super) const KEYS: u8 = 6;
/// The first key of the second stream of citas. The first one has the keys below it.
const SECOND_STREAM_FROM: u8 = 3;
/// The number of clients, each with its own user.
pub(super) const VIEWERS: usize = 4;
/// The number of transactions that can be open at the same time.
pub(super) const TRANSACTIONS: usize = 3;
/// The number of random steps in a run.
const STEPS: usize = 160;
/// The number of clients of a group. It exceeds the number of clients that a shard serves per turn,
/// so some come and go in the middle of a pass.
const GROUP_SIZE: std::ops::RangeInclusive<u8> = 20..=40;
/// One seed in this many has a group. One in [`STALLED_ONE_IN`] has clients that do not read for
/// long.
const GROUP_ONE_IN: u8 = 12;
const STALLED_ONE_IN: u8 = 6;
/// The number of extra episodes in such a run.
const EPISODES: u8 = 10;

/// The steps of one run and its settings.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) seed: u64,
    /// True if notifications may be lost silently. Only then the sweep runs, so it hides nothing in
    /// other runs.
    pub(super) lossy: bool,
    /// True if the zone of each key is read from the database; otherwise all keys are in one zone.
    pub(super) zones: bool,
    /// The start of the run, in seconds before the first midnight.
    pub(super) before_midnight_s: u32,
    /// The number of clients besides the [`VIEWERS`], all on one channel.
    pub(super) group_size: u8,
    /// The key of the channel of the group.
    pub(super) group_key: u8,
    pub(super) steps: Vec<SimStep>,
}

/// An action of a client of the group.
#[derive(Debug, Clone, Copy)]
pub(super) enum GroupMove {
    Connect,
    Unsubscribe,
    Disconnect,
    Stall,
    Wake,
}

/// A change of a writer to a key's citas.
#[derive(Debug, Clone, Copy)]
pub(super) enum CitaWrite {
    /// Adds a cita, at an offset in days from the first day.
    Book(i8),
    Serve,
    Cancel,
}

/// One step of a run. Numbers are taken modulo the number of objects; a step that is not applicable
/// does nothing.
#[derive(Debug, Clone, Copy)]
pub(super) enum SimStep {
    /// Changes a key in a separate transaction.
    Change(u8, CitaWrite),
    /// Changes a key in one of the open transactions.
    Write(u8, u8, CitaWrite),
    Commit(u8),
    Rollback(u8),
    /// Delivers the oldest notification in transit. The next two deliver any one, and all.
    Deliver,
    DeliverOne(u8),
    DeliverAll,
    Duplicate(u8),
    Lose(u8),
    /// Delivers a notification that was never sent.
    Forge(u8),
    ListenerCut,
    ListenerBack,
    /// Ends the connection that holds the locks; the server notices it later.
    LocksLost,
    LockHolderNotices,
    LockHolderBack,
    LockHolderAcquires,
    /// Switches between automatic reads and reads that go step by step.
    ReadFlow(bool),
    Execute(u8),
    Finish(u8),
    Fail(u8, bool),
    DatabaseDown,
    DatabaseUp,
    /// Makes the database refuse the query of this stream, or accept it again.
    Break(u8),
    Mend(u8),
    /// Lets the server examine the streams that do not work.
    Examine,
    /// Makes every read of this key fail.
    Poison(u8),
    Cure(u8),
    Connect(u8, u16),
    Disconnect(u8),
    /// Subscribes a viewer to a key, by one of its two names.
    Subscribe(u8, u8, bool),
    Unsubscribe(u8, u8, bool),
    Pause(u8),
    Resume(u8),
    /// Lets a paused viewer read this number of bytes.
    ReadBytes(u8, u8),
    /// Sends a new token that is valid for this number of seconds, with or without the claims of
    /// the old one.
    Renew(u8, u16, bool),
    /// A step of the streams over orders.
    Order(OrderStep),
    Sleep(SleepStep),
    /// A step of the client of an event stream.
    EventStream(StreamStep),
    /// Sets the permission of a user in the database.
    Grant(u8, u8, bool),
    /// Looks up the rights in use again.
    Recheck,
    /// Answers a pending request of the shard's queues, or fails it.
    Answer(u8, bool),
    Hook(u8),
    /// Answers the reads. After the given number of shard rounds, in the middle of its sends, some
    /// clients of the group move: first the start index, then their number.
    DuringBroadcast(u8, u8, u8, GroupMove),
    Advance(u16),
    WallJump(i16),
    DatabaseClockJump(i16),
    /// Stops the server in order, or abruptly (below), and starts another one.
    Shutdown(u16),
    Restart,
}

/// Returns the number of the stream that has this key.
pub(super) fn stream_of(key: u8) -> u8 {
    u8::from(key >= SECOND_STREAM_FROM)
}

impl Script {
    /// Returns the run of a seed.
    pub(super) fn from_seed(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let lossy = random.u8(0..4) == 0;
        let zones = random.bool();
        let before_midnight_s = random.u32(0..120);
        let opening = (0..VIEWERS).flat_map(|viewer| {
            let viewer = u8::try_from(viewer).unwrap();
            [
                SimStep::Connect(viewer, 3600),
                SimStep::Subscribe(viewer, random.u8(..), random.bool()),
                SimStep::Answer(0, true),
            ]
        });
        let mut steps: Vec<_> = opening.collect();
        steps.extend((0..STEPS).map(|_| draw_step(&mut random)));
        if !lossy {
            steps.retain(|step| !matches!(step, SimStep::Lose(_)));
        }
        let script = Self {
            seed,
            lossy,
            zones,
            before_midnight_s,
            group_size: 0,
            group_key: 0,
            steps,
        };
        script
            .with_extras(fastrand::Rng::with_seed(!seed))
            .with_orders(fastrand::Rng::with_seed(seed.rotate_left(32)))
            .with_sleep(fastrand::Rng::with_seed(seed.rotate_left(16)))
            .with_event_streams(fastrand::Rng::with_seed(seed.rotate_left(48)))
    }

    /// Adds combinations that random steps alone would produce too rarely.
    fn with_extras(mut self, mut random: fastrand::Rng) -> Self {
        if random.u8(0..STALLED_ONE_IN) == 0 {
            (0..EPISODES).for_each(|_| self.insert_spread(stall_episode(&mut random), &mut random));
        }
        if random.u8(0..GROUP_ONE_IN) == 0 {
            (self.group_size, self.group_key) = (
                random.u8(GROUP_SIZE),
                random.choice([0, 0, 0, WIDE]).unwrap(),
            );
            (0..EPISODES)
                .for_each(|_| self.insert_spread(group_episode(&self, &mut random), &mut random));
        }
        self
    }

    /// Inserts steps into the run in their order, with at most one other step between two of them.
    pub(super) fn insert_spread(&mut self, steps: Vec<SimStep>, random: &mut fastrand::Rng) {
        let mut at = random.usize(3 * VIEWERS..=self.steps.len());
        for step in steps {
            self.steps.insert(at.min(self.steps.len()), step);
            at += random.usize(1..=2);
        }
    }
}

/// A client stops reading while its socket fills, and reads again when no new frame comes.
fn stall_episode(random: &mut fastrand::Rng) -> Vec<SimStep> {
    let (viewer, flag) = (random.u8(..), random.bool());
    let mut steps = vec![
        SimStep::ReadFlow(true),
        SimStep::Subscribe(viewer, WIDE, flag),
        SimStep::Answer(0, true),
        SimStep::Pause(viewer),
    ];
    for _ in 0..random.u8(3..8) {
        steps.extend([
            SimStep::Change(WIDE, CitaWrite::Book(0)),
            SimStep::DeliverAll,
            SimStep::Advance(random.u16(1..50)),
        ]);
    }
    steps.push(if random.bool() {
        SimStep::Resume(viewer)
    } else {
        SimStep::ReadBytes(viewer, random.u8(..))
    });
    steps.push(SimStep::Resume(viewer));
    steps
}

/// The whole group is connected. A broadcast to it starts, and some clients move before all of them
/// have received it.
fn group_episode(script: &Script, random: &mut fastrand::Rng) -> Vec<SimStep> {
    let moves = [
        GroupMove::Connect,
        GroupMove::Connect,
        GroupMove::Unsubscribe,
        GroupMove::Disconnect,
        GroupMove::Stall,
        GroupMove::Wake,
    ];
    let amid = SimStep::DuringBroadcast(
        random.u8(0..4),
        random.u8(..),
        random.u8(1..5),
        random.choice(moves).unwrap(),
    );
    let come = SimStep::DuringBroadcast(0, 0, script.group_size, GroupMove::Connect);
    // The engine does not read a key again right after a read.
    let later = SimStep::Advance(random.u16(50..500));
    vec![
        SimStep::ReadFlow(true),
        come,
        later,
        SimStep::Change(script.group_key, CitaWrite::Book(0)),
        SimStep::DeliverAll,
        amid,
    ]
}

fn random_write(random: &mut fastrand::Rng) -> CitaWrite {
    match random.u8(0..6) {
        0..4 => CitaWrite::Book(random.i8(-1..3)),
        4 => CitaWrite::Serve,
        _ => CitaWrite::Cancel,
    }
}

/// Draws mostly ordinary steps, and each fault now and then.
fn draw_step(random: &mut fastrand::Rng) -> SimStep {
    let (a, b, flag) = (random.u8(..), random.u8(..), random.bool());
    match random.u16(0..412) {
        0..60 => SimStep::Change(a, random_write(random)),
        60..90 => SimStep::Write(a, b, random_write(random)),
        90..105 => SimStep::Commit(a),
        105..109 => SimStep::Rollback(a),
        109..134 => SimStep::Deliver,
        134..144 => SimStep::DeliverOne(a),
        144..150 => SimStep::DeliverAll,
        150..154 => SimStep::Duplicate(a),
        154..160 => SimStep::Lose(a),
        160..163 => SimStep::Forge(a),
        163..170 => [SimStep::Pause(a), SimStep::Resume(a)][usize::from(flag)],
        170..184 => [SimStep::ListenerCut, SimStep::ListenerBack][usize::from(flag)],
        184..212 => match b % 8 {
            0 => SimStep::LocksLost,
            1 | 2 => SimStep::LockHolderNotices,
            3 | 4 => SimStep::LockHolderBack,
            _ => SimStep::LockHolderAcquires,
        },
        212..218 => SimStep::ReadFlow(flag),
        218..238 => SimStep::Execute(a),
        238..258 => SimStep::Finish(a),
        258..262 => SimStep::Fail(a, flag),
        262..268 => [SimStep::DatabaseDown, SimStep::DatabaseUp][usize::from(b % 3 > 0)],
        268..274 => [SimStep::Poison(a), SimStep::Cure(a)][usize::from(flag)],
        274..286 => SimStep::Connect(a, if b < 200 { 3600 } else { u16::from(b) }),
        286..289 => SimStep::Disconnect(a),
        289..309 => SimStep::Subscribe(a, b, flag),
        309..317 => SimStep::Unsubscribe(a, b, flag),
        317..321 => SimStep::Resume(a),
        321..325 => SimStep::ReadBytes(a, b),
        325..328 => SimStep::Renew(a, if flag { 3600 } else { u16::from(b) }, random.bool()),
        328..330 => SimStep::Grant(a, b, flag),
        330..332 => SimStep::Recheck,
        332..342 => SimStep::Answer(a, b > 20),
        342..348 => SimStep::Hook(a),
        348..380 => SimStep::Advance(u16::from(a)),
        380..392 => SimStep::Advance(u16::from(a) * 64),
        392..394 => SimStep::WallJump(random.i16(-200..200)),
        394..397 => SimStep::DatabaseClockJump(random.i16(-30_000..10_000)),
        397 => SimStep::Advance(60_000),
        398 => SimStep::Shutdown(u16::from(a)),
        400..404 => SimStep::Break(a),
        404..408 => SimStep::Mend(a),
        408..412 => SimStep::Examine,
        _ => SimStep::Restart,
    }
}
