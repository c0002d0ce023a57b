//! The event bus compared with a simple model: each connection has a list of the events that it
//! must receive.

use proptest::prelude::*;

use super::*;
use world::World;

#[path = "world_tests.rs"]
mod world;

const TOPIC_NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// The topic that gets a message for every change of every presence list.
const WATCH: &str = "watch";
const RING: usize = 5;

#[derive(Debug, Clone)]
enum Op {
    Open {
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
    Identify {
        c: usize,
        user: Option<u8>,
        topics: Vec<usize>,
    },
    Update {
        c: usize,
        topic: usize,
    },
    Gone {
        c: usize,
    },
    Dismiss {
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

fn op() -> impl Strategy<Value = Op> {
    let topics = || prop::collection::vec(0..TOPIC_NAMES.len(), 0..4);
    let (c, topic, user) = (0..64_usize, 0..TOPIC_NAMES.len(), prop::option::of(0..4_u8));
    let times = prop_oneof![6 => 1..4_usize, 1 => Just(MAILBOX - 1), 1 => Just(MAILBOX + 1)];
    prop_oneof![
        4 => (any::<bool>(), user.clone(), topics()).prop_map(|(shard, user, topics)| Op::Open { shard, user, topics }),
        4 => (c.clone(), topics()).prop_map(|(c, topics)| Op::Join { c, topics }),
        2 => (c.clone(), topic.clone()).prop_map(|(c, topic)| Op::Leave { c, topic }),
        1 => (c.clone(), user.clone(), topics()).prop_map(|(c, user, topics)| Op::Identify { c, user, topics }),
        2 => (c.clone(), topic).prop_map(|(c, topic)| Op::Update { c, topic }),
        2 => c.clone().prop_map(|c| Op::Gone { c }),
        1 => c.clone().prop_map(|c| Op::Dismiss { c }),
        6 => (topics(), prop::option::of(c.clone()), user, times)
            .prop_map(|(topics, except, except_user, times)| Op::Publish { topics, except, except_user, times }),
        2 => c.clone().prop_map(|c| Op::Stall { c }),
        2 => (c, 0..300_usize).prop_map(|(c, count)| Op::Read { c, count }),
    ]
}

/// The topic's name decides the presence mode; without `presence`, all topics have it off.
struct TestRules {
    presence: bool,
}

impl Rules for TestRules {
    fn presence(&self, topic: &TopicName) -> Presence {
        match topic.as_str() {
            "a" | "b" if self.presence => Presence::Announced,
            "c" if self.presence => Presence::Listed,
            _ => Presence::Off,
        }
    }

    fn notices(&self, topic: &TopicName, diff: &Diff) -> Vec<Publish> {
        let change = match diff.change {
            Change::Came => "joined",
            Change::Went => "left",
            Change::More | Change::Updated | Change::Fewer => "changed",
        };
        let text = format!("{} {} {change}", topic, diff.user.as_str());
        vec![Publish::new([TopicName::new(WATCH)], "notice", text)]
    }
}

fn walk(presence: bool, ops: Vec<Op>) {
    let mut world = World::new(presence);
    for op in ops {
        world.run(op);
        world.check();
    }
    for client in &mut world.clients {
        client.stalled = false;
    }
    world.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_connection_gets_exactly_its_events(ops in prop::collection::vec(op(), 1..60)) {
        walk(false, ops);
    }

    #[test]
    fn presence_lists_and_changes_match_the_model(ops in prop::collection::vec(op(), 1..60)) {
        walk(true, ops);
    }
}
