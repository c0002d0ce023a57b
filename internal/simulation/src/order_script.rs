//! The steps of the streams over orders. They are added to some runs; the other runs stay as they
//! are.

use crate::order_model::ORDERS;
use crate::order_step::OrderStep;
use crate::script::{Script, SimStep, TRANSACTIONS, VIEWERS};
use crate::topics::{SHOPS, TOPICS, first_topic_of_shop, topic_of_account};

/// One seed in this many has orders.
const ORDERS_ONE_IN: u8 = 3;
/// The number of random steps in such a run, and of extra episodes.
const STEPS: usize = 60;
const EPISODES: u8 = 4;

impl Script {
    /// Adds steps of orders to some of the runs.
    pub(super) fn with_orders(mut self, mut random: fastrand::Rng) -> Self {
        if random.u8(0..ORDERS_ONE_IN) > 0 {
            return self;
        }
        for viewer in 0..u8::try_from(VIEWERS).unwrap() {
            let at = 3 * usize::from(viewer + 1) + 2 * usize::from(viewer);
            let step = OrderStep::Subscribe(viewer, random.u8(..), random.bool());
            self.steps.insert(at, SimStep::Order(step));
            self.steps.insert(at + 1, SimStep::Answer(0, true));
        }
        for _ in 0..STEPS {
            let at = random.usize(5 * VIEWERS..=self.steps.len());
            let step = draw_step(&mut random);
            self.steps.insert(at, step);
        }
        (0..EPISODES).for_each(|_| self.insert_spread(move_episode(&mut random), &mut random));
        (0..EPISODES).for_each(|_| self.insert_spread(pace_episode(&mut random), &mut random));
        self
    }
}

/// An order moves while another transaction is open that adds a line to it.
fn move_episode(random: &mut fastrand::Rng) -> Vec<SimStep> {
    let (viewer, order) = (random.u8(..), random.u8(0..ORDERS));
    let (writer, mover) = random.choice([(0, 1), (1, 0), (0, 2), (2, 1)]).unwrap();
    let shop = random.u8(0..u8::try_from(SHOPS.len()).unwrap());
    let topic = first_topic_of_shop(shop) + random.u8(0..2);
    let watch = SimStep::Order(OrderStep::Subscribe(viewer, topic, random.bool()));
    let add = SimStep::Order(OrderStep::AddLine(writer, order, random.u8(1..6)));
    let relocate = [
        SimStep::Order(OrderStep::Move(mover, order, shop)),
        SimStep::Commit(mover),
    ];
    let mut steps = vec![SimStep::Commit(writer), SimStep::Commit(mover)];
    let begins = random.bool();
    if begins {
        steps.push(SimStep::Order(OrderStep::BeginSnapshot(writer)));
    }
    let is_watched_first = random.u8(0..4) > 0;
    if is_watched_first {
        steps.extend([watch, SimStep::Answer(0, true), SimStep::Advance(150)]);
    }
    // Only a transaction with an old snapshot can add its line after the move.
    match begins && random.bool() {
        true => steps.extend(relocate.into_iter().chain([add])),
        false => steps.extend([add].into_iter().chain(relocate)),
    }
    if !is_watched_first {
        steps.extend([watch, SimStep::Answer(0, true)]);
    }
    if random.u8(0..4) == 0 {
        steps.push(SimStep::Order(OrderStep::Prepare(writer)));
    }
    steps.extend([
        SimStep::DeliverAll,
        SimStep::Advance(random.u16(1..400)),
        SimStep::Commit(writer),
        SimStep::DeliverAll,
        SimStep::Advance(random.u16(1..2_000)),
    ]);
    steps
}

/// A key changes faster than its stream's interval, also while viewers leave and come back.
fn pace_episode(random: &mut fastrand::Rng) -> Vec<SimStep> {
    let (viewer, shop) = (random.u8(..), random.u8(0..3));
    let number = topic_of_account(shop) - first_topic_of_shop(0);
    let watch = SimStep::Order(OrderStep::Subscribe(viewer, number, false));
    let writer = random.u8(0..u8::try_from(TRANSACTIONS).unwrap());
    let mut steps = vec![SimStep::ReadFlow(true), watch, SimStep::Answer(0, true)];
    for _ in 0..random.u8(3..8) {
        steps.extend([
            SimStep::Order(OrderStep::Transfer(writer, shop, random.u8(0..3))),
            SimStep::Commit(writer),
            SimStep::DeliverAll,
            SimStep::Advance(random.u16(1..400)),
        ]);
        if random.u8(0..4) == 0 {
            let leave = SimStep::Order(OrderStep::Unsubscribe(viewer, number, false));
            steps.extend([leave, watch, SimStep::Answer(0, true)]);
        }
    }
    steps
}

fn draw_step(random: &mut fastrand::Rng) -> SimStep {
    let (a, b, flag) = (random.u8(..), random.u8(..), random.bool());
    let transaction = random.u8(0..u8::try_from(TRANSACTIONS).unwrap());
    SimStep::Order(match random.u8(0..56) {
        0..12 => OrderStep::AddLine(transaction, a, random.u8(1..6)),
        12..20 => OrderStep::Move(transaction, a, b),
        20..24 => OrderStep::BeginSnapshot(transaction),
        24..32 => OrderStep::Subscribe(a, b, flag),
        32..36 => OrderStep::Unsubscribe(a, b, flag),
        36 => OrderStep::Prepare(transaction),
        37 => OrderStep::ForgeMove(a),
        40..48 => OrderStep::Transfer(transaction, a, b),
        48..52 => [OrderStep::Poison(a), OrderStep::Cure(a)][usize::from(flag)],
        52 => OrderStep::Break(a),
        53..55 => OrderStep::Mend(a),
        55 => return SimStep::Examine,
        _ => return SimStep::Commit(transaction),
    })
}

/// Returns the topic of orders that a number in a step means.
pub(super) fn order_topic_number(number: u8) -> u8 {
    let first = first_topic_of_shop(0);
    first + number % (TOPICS - first)
}
