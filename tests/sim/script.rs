//! What happens in a run, drawn from its seed before it begins: taking a step out of it leaves the others as they are.

use crate::simulation::database::WIDE;

/// Keys that are written and watched.
pub(super) const KEYS: u8 = 6;
/// Clients, each with a user of its own.
pub(super) const VIEWERS: usize = 4;
/// Transactions that may be open at a time.
pub(super) const TRANSACTIONS: usize = 3;
/// Steps of a run.
const STEPS: usize = 160;
/// Clients of a crowd: more than a shard serves of one room in a turn, so that some come and go in the middle of a pass.
const CROWD: std::ops::RangeInclusive<u8> = 20..=40;
/// One seed in so many has a crowd, and one in so many clients that don't read for long.
const CROWDED_ONE_IN: u8 = 12;
const STALLED_ONE_IN: u8 = 6;
/// Each run has its extras so often.
const EPISODES: u8 = 10;

/// One run.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) seed: u64,
    /// Notifications may be lost without anybody noticing: only then the sweep runs, so that it hides nothing elsewhere.
    pub(super) lossy: bool,
    /// Each key's zone is asked of the database; else all are in one.
    pub(super) zones: bool,
    /// Seconds from the first midnight.
    pub(super) before_midnight_s: u32,
    /// Clients beside the [`VIEWERS`], all of one channel.
    pub(super) crowd: u8,
    /// The key of that channel.
    pub(super) crowded: u8,
    pub(super) steps: Vec<Step>,
}

/// What a client of the crowd does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Move {
    Come,
    Leave,
    Hangup,
    Stall,
    Wake,
}

/// What a writer does to a key's citas.
#[derive(Debug, Clone, Copy)]
pub(super) enum Write {
    /// A new one, so many days from the first.
    Book(i8),
    Serve,
    Cancel,
}

/// One thing that happens. Numbers are taken modulo what there is; a step that means nothing at its time does nothing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// In a transaction of its own.
    Change(u8, Write),
    /// In one of the open transactions.
    Write(u8, u8, Write),
    Commit(u8),
    Rollback(u8),
    /// The oldest notification under way arrives, or any, or all.
    Deliver,
    DeliverOne(u8),
    DeliverAll,
    Duplicate(u8),
    Lose(u8),
    /// A notification that nobody sent.
    Forge(u8),
    ListenerCut,
    ListenerBack,
    /// The connection that holds the locks ends, and a while later that is seen.
    LocksGone,
    KeeperNotices,
    KeeperBack,
    KeeperTakes,
    /// Reads do what they do at their pace, or step by step.
    Flow(bool),
    Execute(u8),
    Finish(u8),
    Fail(u8, bool),
    DatabaseDown,
    DatabaseUp,
    /// Whatever reads this key is refused.
    Poison(u8),
    Cure(u8),
    Connect(u8, u16),
    Hangup(u8),
    /// A viewer, a key, and which of its two names.
    Subscribe(u8, u8, bool),
    Unsubscribe(u8, u8, bool),
    Pause(u8),
    Resume(u8),
    /// A paused viewer takes so many bytes.
    Nibble(u8, u8),
    /// A new token, good for so many seconds, with or without what the old one's claims granted.
    Renew(u8, u16, bool),
    /// The database says what a user may read, from now on.
    Grant(u8, u8, bool),
    /// The desk's question is answered, or can't be.
    Answer(u8, bool),
    Hook(u8),
    /// Reads are answered; so many rounds of the shard later, in the middle of what it sends, some of the crowd move: from one on, so many.
    Amid(u8, u8, u8, Move),
    Advance(u16),
    WallJump(i16),
    DatabaseClockJump(i16),
    /// The server stops in order, or not, and another one starts.
    Leave(u16),
    Restart,
}

impl Script {
    /// The run of a seed.
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

    /// What luck alone would bring together too seldom.
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

    /// Puts steps into the run, in their order, with at most one other between two of them.
    fn strew(&mut self, steps: Vec<Step>, random: &mut fastrand::Rng) {
        let mut at = random.usize(3 * VIEWERS..=self.steps.len());
        for step in steps {
            self.steps.insert(at.min(self.steps.len()), step);
            at += random.usize(1..=2);
        }
    }
}

/// A client stops reading while its socket fills, and reads again when nothing new comes.
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

/// All of the crowd are there; something is said to them, and some of them move before everybody has heard it.
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
    // A key that was read a moment ago is not read again at once.
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

/// Ordinary life for the most part; each fault now and then.
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
