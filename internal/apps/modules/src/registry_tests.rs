use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use latido_event_bus::{
    EventBus, Identity, Mailbox, PresenceMode, Publish, TopicName, TopicPolicy,
};

struct RegistryTestPolicy;

impl TopicPolicy for RegistryTestPolicy {
    fn presence_mode(&self, _: &TopicName) -> PresenceMode {
        PresenceMode::Off
    }

    fn on_presence_change(
        &self,
        _: &TopicName,
        _: &latido_event_bus::PresenceDiff,
    ) -> Vec<Publish> {
        Vec::new()
    }
}

/// Returns connection ids, which only an event bus can create.
pub(crate) fn connections(count: usize) -> Vec<(ConnectionId, Mailbox)> {
    let event_bus = Arc::new(EventBus::new(RegistryTestPolicy, || 0));
    let open = |_| {
        let mailbox = event_bus.connect(Identity::default(), &[]).unwrap();
        (mailbox.id(), mailbox)
    };
    (0..count).map(open).collect()
}

fn record(id: &str, owner: Option<&str>) -> ModuleRecord {
    ModuleRecord {
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
    let mut registry = ModuleRegistry::default();
    assert_eq!(registry.attach_device("M1", old, 1), None, "no such module");
    registry.apply_row(record("M1", Some("7")));
    assert_eq!(
        registry.attach_device("M1", old, 1),
        Some(DeviceAttached {
            came_online: true,
            replaced: None
        })
    );
    assert_eq!(
        registry.attach_device("M1", new, 2),
        Some(DeviceAttached {
            came_online: false,
            replaced: Some(old)
        })
    );
    assert!(
        !registry.detach_device("M1", old),
        "the replaced one goes in silence"
    );
    assert!(registry.get("M1").unwrap().online);
    assert!(registry.detach_device("M1", new) && !registry.detach_device("M1", new));
    assert_eq!(registry.counts(), (1, 0));
}

#[test]
fn silent_module_goes_offline_and_returns_on_report() {
    let ids = connections(1);
    let mut registry = ModuleRegistry::default();
    registry.apply_row(record("M1", Some("7")));
    registry.attach_device("M1", ids[0].0, 1_000);
    assert!(registry.expire_silent(1_000).is_empty());
    assert_eq!(registry.expire_silent(1_001), ["M1".into()]);
    assert!(registry.expire_silent(9_000).is_empty(), "said once");
    assert_eq!(
        registry.get("M1").unwrap().last_seen,
        Some(1_000),
        "being late is not being seen"
    );
    assert!(registry.set_online("M1", true, 2_000));
}

#[test]
fn applied_row_returns_its_change() {
    let mut registry = ModuleRegistry::default();
    assert_eq!(registry.apply_row(record("M1", None)), RowChange::Added);
    assert_eq!(registry.apply_row(record("M1", None)), RowChange::Unchanged);
    assert_eq!(
        registry.apply_row(record("M1", Some("7"))),
        RowChange::OwnerChanged { from: None }
    );
    assert_eq!(
        registry.apply_row(ModuleRecord {
            name: Some("x".into()),
            ..record("M1", Some("7"))
        }),
        RowChange::Updated
    );
    assert_eq!(registry.owned_by(&UserId::new("7")).count(), 1);
    assert_eq!(
        registry.apply_row(record("M1", Some("8"))),
        RowChange::OwnerChanged {
            from: Some(UserId::new("7"))
        }
    );
    assert_eq!(registry.owned_by(&UserId::new("7")).count(), 0);
    let unclaimed = ModuleRecord {
        claimed: false,
        ..record("M1", Some("8"))
    };
    assert_eq!(
        registry.apply_row(unclaimed),
        RowChange::OwnerChanged {
            from: Some(UserId::new("8"))
        },
        "an owner's name alone gives no right"
    );
    assert!(registry.remove("M1").is_some() && registry.remove("M1").is_none());
    assert!(registry.by_owner.is_empty() && registry.modules.is_empty());
}

#[derive(Debug, Clone)]
enum RegistryStep {
    ApplyRow(usize, Option<u8>),
    Remove(usize),
    Attach(usize, usize),
    Detach(usize, usize),
    Report(usize),
    Wait(i64),
    Expire,
}

fn registry_step() -> impl Strategy<Value = RegistryStep> {
    prop_oneof![
        (0..3_usize, proptest::option::of(0..2_u8))
            .prop_map(|(module, owner)| RegistryStep::ApplyRow(module, owner)),
        (0..3_usize).prop_map(RegistryStep::Remove),
        (0..3_usize, 0..4_usize).prop_map(|(module, device)| RegistryStep::Attach(module, device)),
        (0..3_usize, 0..4_usize).prop_map(|(module, device)| RegistryStep::Detach(module, device)),
        (0..3_usize).prop_map(RegistryStep::Report),
        (0..50_i64).prop_map(RegistryStep::Wait),
        Just(RegistryStep::Expire),
    ]
}

/// The expected state of one module, computed in the simplest way.
#[derive(Default, Clone)]
struct ExpectedModule {
    owner: Option<u8>,
    device: Option<usize>,
    online: bool,
    seen: i64,
}

proptest! {
    #[test]
    fn state_matches_model_after_any_order_of_events(steps in proptest::collection::vec(registry_step(), 1..150)) {
        let ids = connections(4);
        let names = ["M0", "M1", "M2"];
        let (mut registry, mut model, mut now) = (ModuleRegistry::default(), HashMap::<usize, ExpectedModule>::new(), 0);
        for step in steps {
            match step {
                RegistryStep::ApplyRow(m, owner) => {
                    registry.apply_row(record(names[m], owner.map(|owner| ["7", "8"][usize::from(owner)])));
                    model.entry(m).or_default().owner = owner;
                }
                RegistryStep::Remove(m) => prop_assert_eq!(registry.remove(names[m]).is_some(), model.remove(&m).is_some()),
                RegistryStep::Attach(m, device) => {
                    let attached = registry.attach_device(names[m], ids[device].0, now);
                    let Some(expected) = model.get_mut(&m) else {
                        prop_assert_eq!(attached, None);
                        continue;
                    };
                    prop_assert_eq!(attached.map(|attached| attached.came_online), Some(!expected.online), "only a real change");
                    *expected = ExpectedModule { device: Some(device), online: true, seen: now, ..expected.clone() };
                }
                RegistryStep::Detach(m, device) => {
                    let left = registry.detach_device(names[m], ids[device].0);
                    let Some(expected) = model.get_mut(&m).filter(|expected| expected.device == Some(device)) else {
                        prop_assert!(!left);
                        continue;
                    };
                    prop_assert_eq!(left, expected.online, "only a real change");
                    (expected.device, expected.online) = (None, false);
                }
                RegistryStep::Report(m) => {
                    let changed = registry.set_online(names[m], true, now);
                    let Some(expected) = model.get_mut(&m) else { prop_assert!(!changed); continue };
                    prop_assert_eq!(changed, !expected.online);
                    (expected.online, expected.seen) = (true, now);
                }
                RegistryStep::Wait(ms) => now += ms,
                RegistryStep::Expire => {
                    let gone = registry.expire_silent(now - 60).len();
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
                let owned = registry.owned_by(&UserId::new(["7", "8"][usize::from(owner)])).count();
                prop_assert_eq!(owned, model.values().filter(|expected| expected.owner == Some(owner)).count());
            }
        }
    }
}
