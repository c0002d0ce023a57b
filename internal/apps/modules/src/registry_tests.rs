use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use latido_event_bus::{EventBus, Identity, Mailbox, PresenceMode, Publish, TopicPolicy, TopicName};

struct Plain;

impl TopicPolicy for Plain {
    fn presence_mode(&self, _: &TopicName) -> PresenceMode {
        PresenceMode::Off
    }

    fn on_presence_change(&self, _: &TopicName, _: &latido_event_bus::PresenceDiff) -> Vec<Publish> {
        Vec::new()
    }
}

/// Returns connection ids, which only an event bus can create.
pub fn connections(count: usize) -> Vec<(ConnectionId, Mailbox)> {
    let event_bus = Arc::new(EventBus::new(Plain, || 0));
    let open = |_| {
        let mailbox = event_bus.connect(Identity::default(), &[]).unwrap();
        (mailbox.id(), mailbox)
    };
    (0..count).map(open).collect()
}

fn facts(id: &str, owner: Option<&str>) -> Facts {
    Facts {
        id: id.into(),
        name: None,
        kind: None,
        owner: owner.map(UserId::new),
        claimed: owner.is_some(),
    }
}

#[test]
fn reconnected_device_stays_online() {
    let ids = connections(2);
    let (old, new) = (ids[0].0, ids[1].0);
    let mut registry = Registry::default();
    assert_eq!(registry.arrived("M1", old, 1), None, "no such module");
    registry.set(facts("M1", Some("7")));
    assert_eq!(
        registry.arrived("M1", old, 1),
        Some(Arrival {
            came_online: true,
            replaced: None
        })
    );
    assert_eq!(
        registry.arrived("M1", new, 2),
        Some(Arrival {
            came_online: false,
            replaced: Some(old)
        })
    );
    assert!(
        !registry.left("M1", old),
        "the replaced one goes in silence"
    );
    assert!(registry.get("M1").unwrap().online);
    assert!(registry.left("M1", new) && !registry.left("M1", new));
    assert_eq!(registry.counts(), (1, 0));
}

#[test]
fn silent_module_goes_offline_and_returns_on_report() {
    let ids = connections(1);
    let mut registry = Registry::default();
    registry.set(facts("M1", Some("7")));
    registry.arrived("M1", ids[0].0, 1_000);
    assert!(registry.expire(1_000).is_empty());
    assert_eq!(registry.expire(1_001), ["M1".into()]);
    assert!(registry.expire(9_000).is_empty(), "said once");
    assert_eq!(
        registry.get("M1").unwrap().last_seen,
        Some(1_000),
        "being late is not being seen"
    );
    assert!(registry.turn("M1", true, 2_000));
}

#[test]
fn applied_row_returns_its_change() {
    let mut registry = Registry::default();
    assert_eq!(registry.set(facts("M1", None)), Turn::Added);
    assert_eq!(registry.set(facts("M1", None)), Turn::Same);
    assert_eq!(
        registry.set(facts("M1", Some("7"))),
        Turn::Moved { from: None }
    );
    assert_eq!(
        registry.set(Facts {
            name: Some("x".into()),
            ..facts("M1", Some("7"))
        }),
        Turn::Updated
    );
    assert_eq!(registry.of_holder(&UserId::new("7")).count(), 1);
    assert_eq!(
        registry.set(facts("M1", Some("8"))),
        Turn::Moved {
            from: Some(UserId::new("7"))
        }
    );
    assert_eq!(registry.of_holder(&UserId::new("7")).count(), 0);
    let unclaimed = Facts {
        claimed: false,
        ..facts("M1", Some("8"))
    };
    assert_eq!(
        registry.set(unclaimed),
        Turn::Moved {
            from: Some(UserId::new("8"))
        },
        "an owner's name alone gives no right"
    );
    assert!(registry.remove("M1").is_some() && registry.remove("M1").is_none());
    assert!(registry.by_holder.is_empty() && registry.modules.is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    Row(usize, Option<u8>),
    Remove(usize),
    Arrive(usize, usize),
    Leave(usize, usize),
    Word(usize),
    Wait(i64),
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3_usize, proptest::option::of(0..2_u8))
            .prop_map(|(module, owner)| Step::Row(module, owner)),
        (0..3_usize).prop_map(Step::Remove),
        (0..3_usize, 0..4_usize).prop_map(|(module, device)| Step::Arrive(module, device)),
        (0..3_usize, 0..4_usize).prop_map(|(module, device)| Step::Leave(module, device)),
        (0..3_usize).prop_map(Step::Word),
        (0..50_i64).prop_map(Step::Wait),
        Just(Step::Expire),
    ]
}

/// The expected state of one module, computed in the simplest way.
#[derive(Default, Clone)]
struct Truth {
    owner: Option<u8>,
    device: Option<usize>,
    online: bool,
    seen: i64,
}

proptest! {
    #[test]
    fn state_matches_model_after_any_order_of_events(steps in proptest::collection::vec(step(), 1..150)) {
        let ids = connections(4);
        let names = ["M0", "M1", "M2"];
        let (mut registry, mut model, mut now) = (Registry::default(), HashMap::<usize, Truth>::new(), 0);
        for step in steps {
            match step {
                Step::Row(m, owner) => {
                    registry.set(facts(names[m], owner.map(|owner| ["7", "8"][usize::from(owner)])));
                    model.entry(m).or_default().owner = owner;
                }
                Step::Remove(m) => prop_assert_eq!(registry.remove(names[m]).is_some(), model.remove(&m).is_some()),
                Step::Arrive(m, device) => {
                    let attached = registry.arrived(names[m], ids[device].0, now);
                    let Some(expected) = model.get_mut(&m) else {
                        prop_assert_eq!(attached, None);
                        continue;
                    };
                    prop_assert_eq!(attached.map(|attached| attached.came_online), Some(!expected.online), "only a real change");
                    *expected = Truth { device: Some(device), online: true, seen: now, ..expected.clone() };
                }
                Step::Leave(m, device) => {
                    let left = registry.left(names[m], ids[device].0);
                    let Some(expected) = model.get_mut(&m).filter(|expected| expected.device == Some(device)) else {
                        prop_assert!(!left);
                        continue;
                    };
                    prop_assert_eq!(left, expected.online, "only a real change");
                    (expected.device, expected.online) = (None, false);
                }
                Step::Word(m) => {
                    let changed = registry.turn(names[m], true, now);
                    let Some(expected) = model.get_mut(&m) else { prop_assert!(!changed); continue };
                    prop_assert_eq!(changed, !expected.online);
                    (expected.online, expected.seen) = (true, now);
                }
                Step::Wait(ms) => now += ms,
                Step::Expire => {
                    let gone = registry.expire(now - 60).len();
                    let stale = model.values_mut().filter(|expected| expected.online && expected.seen < now - 60);
                    prop_assert_eq!(gone, stale.map(|expected| expected.online = false).count());
                }
            }
            prop_assert_eq!(registry.counts(), (model.len(), model.values().filter(|expected| expected.online).count()));
            for (m, expected) in &model {
                let module = registry.get(names[*m]).unwrap();
                prop_assert_eq!(module.online, expected.online);
                prop_assert_eq!(module.device, expected.device.map(|device| ids[device].0));
            }
            for owner in 0..2_u8 {
                let owned = registry.of_holder(&UserId::new(["7", "8"][usize::from(owner)])).count();
                prop_assert_eq!(owned, model.values().filter(|expected| expected.owner == Some(owner)).count());
            }
        }
    }
}
