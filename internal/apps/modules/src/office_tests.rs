use std::time::Duration;

use proptest::prelude::*;

use serde_json::json;

use super::*;
use crate::orders::Undelivered;
use crate::page::Page;
use crate::registry::Facts;
use latido_event_bus::{PresenceDiff, Identity, Mailbox, PresenceMode, Publish, TopicPolicy, TopicName};

struct Plain;

impl TopicPolicy for Plain {
    fn presence_mode(&self, topic: &TopicName) -> PresenceMode {
        if *topic == topics::everyone() {
            PresenceMode::Listed
        } else {
            PresenceMode::Off
        }
    }

    fn on_presence_change(&self, _: &TopicName, _: &PresenceDiff) -> Vec<Publish> {
        Vec::new()
    }
}

struct World {
    office: Office,
    clock: Clock,
}

impl World {
    fn new(group_ms: Millis) -> Self {
        let clock = Clock::system();
        clock.set(jiff::Timestamp::from_second(1_700_000_000).unwrap());
        let event_bus = Arc::new(EventBus::new(Plain, || 0));
        let locale = Locale {
            zone: jiff::tz::TimeZone::UTC,
        };
        Self {
            office: Office::new(event_bus, clock.clone(), locale, group_ms, 300_000),
            clock,
        }
    }

    fn module(&self, id: &str, owner: &str) {
        let facts = Facts {
            id: id.into(),
            name: None,
            kind: None,
            owner: Some(UserId::new(owner)),
            claimed: true,
        };
        self.office.lock().registry.set(facts);
    }

    fn person(&self, user: &str, is_admin: bool, page: Option<Page>) -> (Person, Mailbox) {
        let person = Person {
            is_admin,
            ..Person::fake(user)
        };
        let identity = Identity {
            user: Some(person.user.clone()),
            session: None,
            role: None,
        };
        let mailbox = self
            .office
            .exchange
            .connect(identity, &topics::joins(&person, page))
            .unwrap();
        (person, mailbox)
    }

    fn device(&self, id: &str) -> Mailbox {
        let mailbox = self.office.exchange.connect(Identity::default(), &[]).unwrap();
        assert!(self.office.device_came(id, mailbox.id(), &Map::new()));
        mailbox
    }

    fn pass(&self, seconds: i64) {
        let now = self.clock.now().as_second() + seconds;
        self.clock.set(jiff::Timestamp::from_second(now).unwrap());
        self.office.due();
    }
}

fn heard(mailbox: &mut Mailbox) -> Vec<(String, Value)> {
    let events = std::iter::from_fn(|| mailbox.try_recv()?.ok());
    let read = |event: Arc<latido_event_bus::BusEvent>| {
        let message = event.message()?;
        Some((
            message.name.to_string(),
            serde_json::from_str(&message.payload).unwrap(),
        ))
    };
    events.filter_map(read).collect()
}

fn names(mailbox: &mut Mailbox) -> Vec<String> {
    heard(mailbox).into_iter().map(|(name, _)| name).collect()
}

fn uptime(n: i64) -> Report {
    Report::Telemetry(json!({"uptime": n}).as_object().unwrap().clone())
}

#[test]
fn each_client_receives_its_own_events_once() {
    let harness = World::new(0);
    harness.module("M1", "7");
    let (_, mut owner) = harness.person("7", false, Some(Page::Modules));
    let (_, mut tab) = harness.person("7", false, None);
    let (_, mut other_user) = harness.person("8", false, Some(Page::Modules));
    let (_, mut admin) = harness.person("1", true, Some(Page::Modules));
    let (_, mut both) = harness.person("7", true, Some(Page::Modules));
    let device = harness.device("M1");
    harness.office.device_said("M1", device.id(), uptime(1));
    let on = [
        "rt_module_online",
        "user:module:online",
        "user:module:last_seen_updated",
        "rt_telemetry_updated",
        "module_telemetry",
        "user:module:last_seen_updated",
    ];
    assert_eq!(names(&mut owner), on);
    assert_eq!(
        names(&mut tab),
        [
            "user:module:online",
            "user:module:last_seen_updated",
            "module_telemetry",
            "user:module:last_seen_updated"
        ]
    );
    assert!(
        names(&mut other_user).is_empty(),
        "a page that one says one shows opens nothing"
    );
    let seen = [
        "rt_module_online",
        "rt_module_last_seen_updated",
        "rt_telemetry_updated",
        "module_telemetry",
        "rt_module_last_seen_updated",
    ];
    assert_eq!(names(&mut admin), seen);
    let mut union = names(&mut both);
    assert_eq!(
        union
            .iter()
            .filter(|name| *name == "rt_telemetry_updated")
            .count(),
        1
    );
    union.retain(|name| name == "module_telemetry");
    assert_eq!(
        union.len(),
        1,
        "owner and administrator at once hears it once"
    );
}

#[test]
fn permitted_commands_reach_the_module_and_responses_return() {
    let harness = World::new(0);
    harness.module("M1", "7");
    let (ana, mut tab) = harness.person("7", false, None);
    let (eva, mut other_user) = harness.person("8", false, None);
    let (root, mut admin) = harness.person("1", true, None);
    let send = |person: &Person, id: &str| {
        harness
            .office
            .command(person, id, "left", &json!({}))
            .map(drop)
    };
    assert_eq!(send(&ana, "M1"), Err(Undelivered::Offline));
    let mut device = harness.device("M1");
    heard(&mut tab);
    heard(&mut admin);
    assert_eq!(send(&eva, "M1"), Err(Undelivered::Unknown));
    assert_eq!(
        send(&ana, "M2"),
        Err(Undelivered::Unknown),
        "the same words for another's and for none"
    );
    assert_eq!((send(&ana, "M1"), send(&root, "M1")), (Ok(()), Ok(())));
    assert_eq!(names(&mut device), ["command", "command"]);
    assert_eq!(names(&mut tab), ["user:command:sent"]);
    let id = device.id();
    harness.office.device_said(
        "M1",
        id,
        Report::Answer {
            command: "left".into(),
            status: "success".into(),
            position: Value::Null,
        },
    );
    assert!(names(&mut tab).contains(&"module_command_response".to_owned()));
    let seen = names(&mut admin);
    let count = |name: &str| seen.iter().filter(|seen| *seen == name).count();
    assert_eq!(
        (
            count("admin:command:sent"),
            count("admin:user:activity"),
            count("user:command:sent")
        ),
        (2, 2, 1)
    );
    assert_eq!(count("module_command_response"), 1);
    assert!(names(&mut other_user).is_empty());
    drop(device);
    assert_eq!(
        send(&ana, "M1"),
        Err(Undelivered::Offline),
        "nobody is there to take it"
    );
}

#[test]
fn silence_is_published_once() {
    let harness = World::new(0);
    harness.module("M1", "7");
    let (_, mut owner) = harness.person("7", false, None);
    let device = harness.device("M1");
    heard(&mut owner);
    harness.pass(299);
    assert!(names(&mut owner).is_empty());
    harness.pass(120);
    assert_eq!(names(&mut owner), ["user:module:offline"]);
    harness.pass(120);
    assert!(names(&mut owner).is_empty());
    harness
        .office
        .device_said("M1", device.id(), Report::Heartbeat);
    assert_eq!(
        names(&mut owner),
        ["user:module:online", "user:module:last_seen_updated"]
    );
}

#[test]
fn bursts_are_grouped_and_the_newest_wins() {
    let harness = World::new(2_000);
    harness.module("M1", "7");
    let (_, mut owner) = harness.person("7", false, Some(Page::Modules));
    let device = harness.device("M1");
    for n in 0..100 {
        harness.office.device_said("M1", device.id(), uptime(n));
    }
    harness.pass(2);
    harness.pass(2);
    let telemetry: Vec<_> = heard(&mut owner)
        .into_iter()
        .filter(|(name, _)| name == "rt_telemetry_updated")
        .collect();
    let uptimes: Vec<_> = telemetry
        .iter()
        .map(|(_, payload)| payload["telemetry"]["uptime"].clone())
        .collect();
    assert_eq!(uptimes, [json!(0), json!(99)]);
}

#[test]
fn administrators_receive_counts_once_per_change() {
    let harness = World::new(0);
    harness.module("M1", "7");
    let (_, mut admin) = harness.person("1", true, None);
    let (_, mut user) = harness.person("7", false, None);
    let _device = harness.device("M1");
    harness.office.touch();
    harness.pass(1);
    harness.office.counted(
        json!({"users": 12, "modules": 5, "modules_claimed": 4, "module_types": {"Coaster": 5}}),
    );
    let counts: Vec<_> = heard(&mut admin)
        .into_iter()
        .filter(|(name, _)| name.contains("stats"))
        .collect();
    let names: Vec<_> = counts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "simple_stats_update",
            "rt_global_stats_updated",
            "rt_global_stats_updated"
        ]
    );
    let (simple, all) = (&counts[0].1, &counts[2].1["stats"]);
    assert_eq!(
        (&simple["users"], &simple["modules"]),
        (&json!({"online": 2}), &json!({"online": 1}))
    );
    assert_eq!(all["users"], json!({"total": 12, "online": 2}));
    assert_eq!(
        all["modules"],
        json!({"total": 5, "online": 1, "offline": 4, "claimed": 4, "types": {"Coaster": 5}})
    );
    assert_eq!(
        all["websocket"]["byType"],
        json!({"user": 1, "admin": 1, "device": 1})
    );
    assert!(
        heard(&mut user)
            .iter()
            .all(|(name, _)| !name.contains("stats"))
    );
    harness.office.touch();
    harness.pass(1);
    assert!(heard(&mut admin).is_empty(), "nothing changed");
}

#[test]
fn failed_saves_are_retried() {
    let harness = World::new(0);
    harness.module("M1", "7");
    let device = harness.device("M1");
    harness.office.device_said("M1", device.id(), uptime(3));
    let rows = harness.office.unsaved(10, true);
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].is_online, rows[0].telemetry.as_deref()),
        (true, Some(r#"{"uptime":3}"#))
    );
    assert!(harness.office.unsaved(10, true).is_empty());
    harness.office.still_unsaved(&rows);
    assert_eq!(harness.office.unsaved(10, true), rows);
}

#[derive(Debug, Clone)]
enum Step {
    Come(usize),
    Go(usize),
    Tell(usize, i64),
    Own(usize, usize),
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3_usize).prop_map(Step::Come),
        (0..3_usize).prop_map(Step::Go),
        (0..3_usize, 0..1000_i64).prop_map(|(module, n)| Step::Tell(module, n)),
        (0..3_usize, 0..2_usize).prop_map(|(module, owner)| Step::Own(module, owner)),
        (0..3_i64).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A client that applies all events to its initial state knows the real state, and no client
    /// receives events about a module that its user did not own at that time.
    #[test]
    fn clients_converge_on_real_state_and_receive_nothing_else(steps in proptest::collection::vec(step(), 1..60)) {
        let (ids, users) = (["M0", "M1", "M2"], ["7", "8"]);
        let harness = World::new(1_000);
        ids.iter().for_each(|id| harness.module(id, users[0]));
        let (_, mut admin) = harness.person("1", true, Some(Page::Modules));
        let mut owners = users.map(|user| harness.person(user, false, Some(Page::Modules)).1);
        let mut devices: [Option<Mailbox>; 3] = Default::default();
        let mut owner_of = [0_usize; 3];
        let mut seen: std::collections::HashMap<String, (Option<bool>, Value)> = std::collections::HashMap::new();
        for step in steps {
            match step {
                Step::Come(m) => devices[m] = Some(harness.device(ids[m])),
                Step::Go(m) => {
                    if let Some(device) = devices[m].take() {
                        harness.office.device_left(ids[m], device.id());
                    }
                }
                Step::Tell(m, n) => {
                    if let Some(device) = &devices[m] {
                        harness.office.device_said(ids[m], device.id(), uptime(n));
                    }
                }
                Step::Own(m, owner) => {
                    harness.module(ids[m], users[owner]);
                    owner_of[m] = owner;
                }
                Step::Pass(seconds) => harness.pass(seconds),
            }
            for (user, mailbox) in owners.iter_mut().enumerate() {
                for (name, payload) in heard(mailbox) {
                    let module = ids.iter().position(|id| payload["moduleId"] == **id).unwrap();
                    prop_assert_eq!(owner_of[module], user, "{} of another's module", name);
                }
            }
            for (name, payload) in heard(&mut admin) {
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
        harness.pass(2);
        for (name, payload) in heard(&mut admin) {
            if name == "rt_telemetry_updated" {
                seen.get_mut(payload["moduleId"].as_str().unwrap()).unwrap().1 = payload["telemetry"].clone();
            }
        }
        let state = harness.office.lock();
        for id in ids {
            let module = state.registry.get(id).unwrap();
            let known = seen.get(id).cloned().unwrap_or_default();
            prop_assert_eq!(module.online, known.0.unwrap_or(false));
            let telemetry = module.telemetry.as_deref().cloned().map_or(Value::Null, Value::Object);
            prop_assert_eq!(telemetry, known.1);
        }
    }
}

#[test]
fn next_timer_is_the_earliest_deadline() {
    let harness = World::new(500);
    harness.module("M1", "7");
    let device = harness.device("M1");
    let now = harness.office.now();
    harness.office.device_said("M1", device.id(), uptime(1));
    let wait = Duration::from_millis(u64::try_from(harness.office.next_due() - now).unwrap());
    assert!(wait <= Duration::from_millis(600), "{wait:?}");
}
