//! The steps of a run, drawn from its seed before it begins. Removing one step leaves the others
//! unchanged.

use crate::database::WIDE;

/// The number of keys that are written and watched.
pub(super) const KEYS: u8 = 6;
/// The number of clients, each with its own user.
pub(super) const VIEWERS: usize = 4;
/// The number of transactions that can be open at the same time.
pub(super) const TRANSACTIONS: usize = 3;
/// The number of random steps in a run.
const STEPS: usize = 160;
/// The number of clients of a group. It exceeds the number of clients that a shard serves per turn,
/// so some come and go in the middle of a pass.
const CROWD: std::ops::RangeInclusive<u8> = 20..=40;
/// One seed in this many has a group. One in [`STALLED_ONE_IN`] has clients that do not read for
/// long.
const CROWDED_ONE_IN: u8 = 12;
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
    pub(super) crowd: u8,
    /// The key of the channel of the group.
    pub(super) crowded: u8,
    pub(super) steps: Vec<Step>,
}

/// An action of a client of the group.
#[derive(Debug, Clone, Copy)]
pub(super) enum Move {
    Come,
    Leave,
    Hangup,
    Stall,
    Wake,
}

/// A change of a writer to a key's citas.
#[derive(Debug, Clone, Copy)]
pub(super) enum Write {
    /// Adds a cita, at an offset in days from the first day.
    Book(i8),
    Serve,
    Cancel,
}

/// One step of a run. Numbers are taken modulo the number of objects; a step that is not applicable
/// does nothing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// Changes a key in a separate transaction.
    Change(u8, Write),
    /// Changes a key in one of the open transactions.
    Write(u8, u8, Write),
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
    LocksGone,
    KeeperNotices,
    KeeperBack,
    KeeperTakes,
    /// Switches between automatic reads and reads that go step by step.
    Flow(bool),
    Execute(u8),
    Finish(u8),
    Fail(u8, bool),
    DatabaseDown,
    DatabaseUp,
    /// Makes every read of this key fail.
    Poison(u8),
    Cure(u8),
    Connect(u8, u16),
    Hangup(u8),
    /// Subscribes a viewer to a key, by one of its two names.
    Subscribe(u8, u8, bool),
    Unsubscribe(u8, u8, bool),
    Pause(u8),
    Resume(u8),
    /// Lets a paused viewer read this number of bytes.
    Nibble(u8, u8),
    /// Sends a new token that is valid for this number of seconds, with or without the claims of
    /// the old one.
    Renew(u8, u16, bool),
    /// Sets the permission of a user in the database.
    Grant(u8, u8, bool),
    /// Answers a pending request of the shard's queues, or fails it.
    Answer(u8, bool),
    Hook(u8),
    /// Answers the reads. After the given number of shard rounds, in the middle of its sends, some
    /// clients of the group move: first the start index, then their number.
    Amid(u8, u8, u8, Move),
    Advance(u16),
    WallJump(i16),
    DatabaseClockJump(i16),
    /// Stops the server in order, or abruptly (below), and starts another one.
    Leave(u16),
    Restart,
}

impl Script {
    /// Returns the run of a seed.
    pub(super) fn of(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let lossy = random.u8(0..4) == 0;
        let zones = random.bool();
        let before_midnight_s = random.u32(0..120);
        let opening = (0..VIEWERS).flat_map(|viewer| {
            let viewer = u8::try_from(viewer).unwrap();
            [
                Step::Connect(viewer, 3600),
                Step::Subscribe(viewer, random.u8(..), random.bool()),
                Step::Answer(0, true),
            ]
        });
        let mut steps: Vec<_> = opening.collect();
        steps.extend((0..STEPS).map(|_| draw(&mut random)));
        if !lossy {
            steps.retain(|step| !matches!(step, Step::Lose(_)));
        }
        let script = Self {
            seed,
            lossy,
            zones,
            before_midnight_s,
            crowd: 0,
            crowded: 0,
            steps,
        };
        script.with_extras(fastrand::Rng::with_seed(!seed))
    }

    /// Adds combinations that random steps alone would produce too rarely.
    fn with_extras(mut self, mut random: fastrand::Rng) -> Self {
        if random.u8(0..STALLED_ONE_IN) == 0 {
            (0..EPISODES).for_each(|_| self.strew(stall(&mut random), &mut random));
        }
        if random.u8(0..CROWDED_ONE_IN) == 0 {
            (self.crowd, self.crowded) =
                (random.u8(CROWD), random.choice([0, 0, 0, WIDE]).unwrap());
            (0..EPISODES).for_each(|_| self.strew(rush(&self, &mut random), &mut random));
        }
        self
    }

    /// Inserts steps into the run in their order, with at most one other step between two of them.
    fn strew(&mut self, steps: Vec<Step>, random: &mut fastrand::Rng) {
        let mut at = random.usize(3 * VIEWERS..=self.steps.len());
        for step in steps {
            self.steps.insert(at.min(self.steps.len()), step);
            at += random.usize(1..=2);
        }
    }
}

/// A client stops reading while its socket fills, and reads again when no new frame comes.
fn stall(random: &mut fastrand::Rng) -> Vec<Step> {
    let (viewer, flag) = (random.u8(..), random.bool());
    let mut steps = vec![
        Step::Flow(true),
        Step::Subscribe(viewer, WIDE, flag),
        Step::Answer(0, true),
        Step::Pause(viewer),
    ];
    for _ in 0..random.u8(3..8) {
        steps.extend([
            Step::Change(WIDE, Write::Book(0)),
            Step::DeliverAll,
            Step::Advance(random.u16(1..50)),
        ]);
    }
    steps.push(if random.bool() {
        Step::Resume(viewer)
    } else {
        Step::Nibble(viewer, random.u8(..))
    });
    steps.push(Step::Resume(viewer));
    steps
}

/// The whole group is connected. A broadcast to it starts, and some clients move before all of them
/// have received it.
fn rush(script: &Script, random: &mut fastrand::Rng) -> Vec<Step> {
    let moves = [
        Move::Come,
        Move::Come,
        Move::Leave,
        Move::Hangup,
        Move::Stall,
        Move::Wake,
    ];
    let amid = Step::Amid(
        random.u8(0..4),
        random.u8(..),
        random.u8(1..5),
        random.choice(moves).unwrap(),
    );
    let come = Step::Amid(0, 0, script.crowd, Move::Come);
    // The engine does not read a key again right after a read.
    let later = Step::Advance(random.u16(50..500));
    vec![
        Step::Flow(true),
        come,
        later,
        Step::Change(script.crowded, Write::Book(0)),
        Step::DeliverAll,
        amid,
    ]
}

fn write(random: &mut fastrand::Rng) -> Write {
    match random.u8(0..6) {
        0..4 => Write::Book(random.i8(-1..3)),
        4 => Write::Serve,
        _ => Write::Cancel,
    }
}

/// Draws mostly ordinary steps, and each fault now and then.
fn draw(random: &mut fastrand::Rng) -> Step {
    let (a, b, flag) = (random.u8(..), random.u8(..), random.bool());
    match random.u16(0..400) {
        0..60 => Step::Change(a, write(random)),
        60..90 => Step::Write(a, b, write(random)),
        90..105 => Step::Commit(a),
        105..109 => Step::Rollback(a),
        109..134 => Step::Deliver,
        134..144 => Step::DeliverOne(a),
        144..150 => Step::DeliverAll,
        150..154 => Step::Duplicate(a),
        154..160 => Step::Lose(a),
        160..163 => Step::Forge(a),
        163..170 => [Step::Pause(a), Step::Resume(a)][usize::from(flag)],
        170..184 => [Step::ListenerCut, Step::ListenerBack][usize::from(flag)],
        184..212 => match b % 8 {
            0 => Step::LocksGone,
            1 | 2 => Step::KeeperNotices,
            3 | 4 => Step::KeeperBack,
            _ => Step::KeeperTakes,
        },
        212..218 => Step::Flow(flag),
        218..238 => Step::Execute(a),
        238..258 => Step::Finish(a),
        258..262 => Step::Fail(a, flag),
        262..268 => [Step::DatabaseDown, Step::DatabaseUp][usize::from(b % 3 > 0)],
        268..274 => [Step::Poison(a), Step::Cure(a)][usize::from(flag)],
        274..286 => Step::Connect(a, if b < 200 { 3600 } else { u16::from(b) }),
        286..289 => Step::Hangup(a),
        289..309 => Step::Subscribe(a, b, flag),
        309..317 => Step::Unsubscribe(a, b, flag),
        317..321 => Step::Resume(a),
        321..325 => Step::Nibble(a, b),
        325..328 => Step::Renew(a, if flag { 3600 } else { u16::from(b) }, random.bool()),
        328..332 => Step::Grant(a, b, flag),
        332..342 => Step::Answer(a, b > 20),
        342..348 => Step::Hook(a),
        348..380 => Step::Advance(u16::from(a)),
        380..392 => Step::Advance(u16::from(a) * 64),
        392..394 => Step::WallJump(random.i16(-200..200)),
        394..397 => Step::DatabaseClockJump(random.i16(-30_000..10_000)),
        397 => Step::Advance(60_000),
        398 => Step::Leave(u16::from(a)),
        _ => Step::Restart,
    }
}
