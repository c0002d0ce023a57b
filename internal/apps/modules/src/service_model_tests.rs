//! A property test of the service against a simple model.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum ServiceStep {
    Connect(usize),
    Disconnect(usize),
    Report(usize, i64),
    SetOwner(usize, usize),
    Advance(i64),
}

fn service_step() -> impl Strategy<Value = ServiceStep> {
    prop_oneof![
        (0..3_usize).prop_map(ServiceStep::Connect),
        (0..3_usize).prop_map(ServiceStep::Disconnect),
        (0..3_usize, 0..1000_i64).prop_map(|(module, n)| ServiceStep::Report(module, n)),
        (0..3_usize, 0..2_usize).prop_map(|(module, owner)| ServiceStep::SetOwner(module, owner)),
        (0..3_i64).prop_map(ServiceStep::Advance),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A client that applies all events to its initial state knows the real state, and no client
    /// receives events about a module that its user did not own at that time.
    #[test]
    fn clients_converge_on_real_state_and_receive_nothing_else(steps in proptest::collection::vec(service_step(), 1..60)) {
        let (ids, users) = (["M0", "M1", "M2"], ["7", "8"]);
        let harness = ServiceHarness::new(1_000);
        ids.iter().for_each(|id| harness.add_module(id, users[0]));
        let (_, mut admin) = harness.connect_user("1", true, Some(WebPage::Modules));
        let mut owners = users.map(|user| harness.connect_user(user, false, Some(WebPage::Modules)).1);
        let mut devices: [Option<Mailbox>; 3] = Default::default();
        let mut owner_of = [0_usize; 3];
        let mut seen: std::collections::HashMap<String, (Option<bool>, Value)> = std::collections::HashMap::new();
        for step in steps {
            match step {
                ServiceStep::Connect(m) => devices[m] = Some(harness.connect_device(ids[m])),
                ServiceStep::Disconnect(m) => {
                    if let Some(device) = devices[m].take() {
                        harness.service.on_device_disconnected(ids[m], device.id());
                    }
                }
                ServiceStep::Report(m, n) => {
                    if let Some(device) = &devices[m] {
                        harness.service.on_device_report(ids[m], device.id(), uptime_report(n));
                    }
                }
                ServiceStep::SetOwner(m, owner) => {
                    harness.add_module(ids[m], users[owner]);
                    owner_of[m] = owner;
                }
                ServiceStep::Advance(seconds) => harness.advance_s(seconds),
            }
            for (user, mailbox) in owners.iter_mut().enumerate() {
                for (name, payload) in received(mailbox) {
                    let module = ids.iter().position(|id| payload["moduleId"] == **id).unwrap();
                    prop_assert_eq!(owner_of[module], user, "{} of another's module", name);
                }
            }
            for (name, payload) in received(&mut admin) {
                let Some(id) = payload["moduleId"].as_str() else { continue };
                let known = seen.entry(id.to_owned()).or_default();
                match name.as_str() {
                    "rt_module_online" | "rt_module_offline" => {
                        let online = name == "rt_module_online";
                        prop_assert_ne!(known.0, Some(online), "said only on a real change");
                        known.0 = Some(online);
                    }
                    "rt_telemetry_updated" => known.1 = payload["telemetry"].clone(),
                    _ => {}
                }
            }
        }
        harness.advance_s(2);
        for (name, payload) in received(&mut admin) {
            if name == "rt_telemetry_updated" {
                seen.get_mut(payload["moduleId"].as_str().unwrap()).unwrap().1 = payload["telemetry"].clone();
            }
        }
        let state = harness.service.lock();
        for id in ids {
            let module = state.registry.get(id).unwrap();
            let known = seen.get(id).cloned().unwrap_or_default();
            prop_assert_eq!(module.online, known.0.unwrap_or(false));
            let telemetry = module.telemetry.as_deref().cloned().map_or(Value::Null, Value::Object);
            prop_assert_eq!(telemetry, known.1);
        }
    }
}
