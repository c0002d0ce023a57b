//! The effect of the steps that concern orders.

use serde_json::json;

use crate::order_model::ORDERS;
use crate::order_script::order_topic_number;
use crate::order_step::OrderStep;
use crate::script::{TRANSACTIONS, VIEWERS};
use crate::topics::{ACCOUNTS, SHOPS, channel, first_topic_of_shop, stream_number, topic};
use crate::world::SimWorld;
use latido_stream::{ChangeHint, HintSink as _};

fn transaction(number: u8) -> usize {
    usize::from(number) % TRANSACTIONS
}

fn shop(number: u8) -> u8 {
    number % u8::try_from(SHOPS.len()).unwrap()
}

fn account(number: u8) -> u8 {
    number % u8::try_from(ACCOUNTS.len()).unwrap()
}

impl SimWorld {
    pub(super) fn apply_order_step(&mut self, step: OrderStep) {
        match step {
            OrderStep::Subscribe(viewer, number, long) => {
                let name = channel(order_topic_number(number), long);
                self.viewers[usize::from(viewer) % VIEWERS].subscribe(&name);
            }
            OrderStep::Unsubscribe(viewer, number, long) => {
                let name = channel(order_topic_number(number), long);
                let message = json!({"type": "unsubscribe", "channel": name});
                self.viewers[usize::from(viewer) % VIEWERS].send(&message);
            }
            OrderStep::BeginSnapshot(number) => self.database.begin_snapshot(transaction(number)),
            OrderStep::AddLine(number, order, quantity) => {
                self.database
                    .add_line(transaction(number), order % ORDERS, quantity);
            }
            OrderStep::Move(number, order, to) => {
                self.database
                    .move_order(transaction(number), order % ORDERS, shop(to));
            }
            OrderStep::Transfer(number, from, to) => {
                let [from, to] = [from, to].map(account);
                self.database.transfer(transaction(number), from, to);
            }
            OrderStep::Poison(number) => {
                self.database.poisoned.insert(order_topic_number(number));
            }
            OrderStep::Cure(number) => {
                self.database.poisoned.remove(&order_topic_number(number));
            }
            OrderStep::Break(number) => {
                let stream = stream_number(order_topic_number(number));
                self.database.broken.insert(stream);
            }
            OrderStep::Mend(number) => {
                let stream = stream_number(order_topic_number(number));
                self.database.broken.remove(&stream);
            }
            OrderStep::Prepare(number) => self.database.prepare(transaction(number)),
            OrderStep::ForgeMove(to) => self.deliver_move(first_topic_of_shop(shop(to))),
        }
    }

    /// Delivers the notification that rows moved to the key of a topic.
    pub(super) fn deliver_move(&self, number: u8) {
        let topic = topic(number).without_params();
        self.server.engine.on_hint(&ChangeHint::Moved {
            stream: topic.stream,
            keys: Some(vec![topic.key]),
        });
    }
}
