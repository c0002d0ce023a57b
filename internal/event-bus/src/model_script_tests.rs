//! The steps of the model, and the policy of its topics.

use proptest::prelude::*;

use crate::*;

pub(super) const TOPIC_NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// The topic that gets a message for every change of every presence list.
pub(super) const NOTICE_TOPIC: &str = "watch";

pub(super) const HISTORY_CAPACITY: usize = 5;

#[derive(Debug, Clone)]
pub(super) enum ModelOp {
    Connect {
        shard: bool,
        user: Option<u8>,
        topics: Vec<usize>,
    },
    Join {
        c: usize,
        topics: Vec<usize>,
    },
    Leave {
        c: usize,
        topic: usize,
    },
    SetIdentity {
        c: usize,
        user: Option<u8>,
        topics: Vec<usize>,
    },
    Update {
        c: usize,
        topic: usize,
    },
    Disconnect {
        c: usize,
    },
    Kick {
        c: usize,
    },
    Publish {
        topics: Vec<usize>,
        except: Option<usize>,
        except_user: Option<u8>,
        times: usize,
    },
    Stall {
        c: usize,
    },
    Read {
        c: usize,
        count: usize,
    },
}

pub(super) fn model_op() -> impl Strategy<Value = ModelOp> {
    let topics = || prop::collection::vec(0..TOPIC_NAMES.len(), 0..4);
    let (c, topic, user) = (0..64_usize, 0..TOPIC_NAMES.len(), prop::option::of(0..4_u8));
    let times = prop_oneof![6 => 1..4_usize, 1 => Just(MAX_MAILBOX_EVENTS - 1), 1 => Just(MAX_MAILBOX_EVENTS + 1)];
    prop_oneof![
        4 => (any::<bool>(), user.clone(), topics()).prop_map(|(shard, user, topics)| ModelOp::Connect { shard, user, topics }),
        4 => (c.clone(), topics()).prop_map(|(c, topics)| ModelOp::Join { c, topics }),
        2 => (c.clone(), topic.clone()).prop_map(|(c, topic)| ModelOp::Leave { c, topic }),
        1 => (c.clone(), user.clone(), topics()).prop_map(|(c, user, topics)| ModelOp::SetIdentity { c, user, topics }),
        2 => (c.clone(), topic).prop_map(|(c, topic)| ModelOp::Update { c, topic }),
        2 => c.clone().prop_map(|c| ModelOp::Disconnect { c }),
        1 => c.clone().prop_map(|c| ModelOp::Kick { c }),
        6 => (topics(), prop::option::of(c.clone()), user, times)
            .prop_map(|(topics, except, except_user, times)| ModelOp::Publish { topics, except, except_user, times }),
        2 => c.clone().prop_map(|c| ModelOp::Stall { c }),
        2 => (c, 0..300_usize).prop_map(|(c, count)| ModelOp::Read { c, count }),
    ]
}

/// The topic's name decides the presence mode; without `presence`, all topics have it off.
pub(super) struct TestPolicy {
    pub(super) presence: bool,
}

impl TopicPolicy for TestPolicy {
    fn presence_mode(&self, topic: &TopicName) -> PresenceMode {
        match topic.as_str() {
            "a" | "b" if self.presence => PresenceMode::Announced,
            "c" if self.presence => PresenceMode::Listed,
            _ => PresenceMode::Off,
        }
    }

    fn on_presence_change(&self, topic: &TopicName, diff: &PresenceDiff) -> Vec<Publish> {
        let change = match diff.change {
            PresenceChange::UserJoined => "joined",
            PresenceChange::UserLeft => "left",
            PresenceChange::ConnectionAdded
            | PresenceChange::MetaUpdated
            | PresenceChange::ConnectionRemoved => "changed",
        };
        let text = format!("{} {} {change}", topic, diff.user.as_str());
        vec![Publish::new([TopicName::new(NOTICE_TOPIC)], "notice", text)]
    }
}
