#[path = "service_model_tests.rs"]
mod model;

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::device_commands::CommandError;
use crate::page::WebPage;
use crate::registry::ModuleRecord;
use latido_base::ident::UserId;
use latido_event_bus::{
    Identity, Mailbox, PresenceDiff, PresenceMode, Publish, TopicName, TopicPolicy,
};

struct CountingTopicPolicy;

impl TopicPolicy for CountingTopicPolicy {
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

struct ServiceHarness {
    service: ModuleService,
    clock: Clock,
}

impl ServiceHarness {
    fn new(group_ms: Millis) -> Self {
        let clock = Clock::system();
        clock.set(jiff::Timestamp::from_second(1_700_000_000).unwrap());
        let event_bus = Arc::new(EventBus::new(CountingTopicPolicy, || 0));
        let locale = EventBuilder {
            time_zone: jiff::tz::TimeZone::UTC,
        };
        Self {
            service: ModuleService::new(event_bus, clock.clone(), locale, group_ms, 300_000),
            clock,
        }
    }

    fn add_module(&self, id: &str, owner: &str) {
        let facts = ModuleRecord {
            id: id.into(),
            name: None,
            kind: None,
            owner: Some(UserId::new(owner)),
            claimed: true,
        };
        self.service.lock().registry.apply_row(facts);
    }

    fn connect_user(
        &self,
        user: &str,
        is_admin: bool,
        page: Option<WebPage>,
    ) -> (WebUser, Mailbox) {
        let person = WebUser {
            is_admin,
            ..WebUser::test_user(user)
        };
        let identity = Identity {
            user: Some(person.id.clone()),
        };
        let mailbox = self
            .service
            .event_bus
            .connect(identity, &topics::joins_for(&person, page))
            .unwrap();
        (person, mailbox)
    }

    fn connect_device(&self, id: &str) -> Mailbox {
        let mailbox = self
            .service
            .event_bus
            .connect(Identity::default(), &[])
            .unwrap();
        assert!(
            self.service
                .on_device_connected(id, mailbox.id(), &Map::new())
        );
        mailbox
    }

    fn advance_s(&self, seconds: i64) {
        let now = self.clock.now().as_second() + seconds;
        self.clock.set(jiff::Timestamp::from_second(now).unwrap());
        self.service.run_timers();
    }
}

fn received(mailbox: &mut Mailbox) -> Vec<(String, Value)> {
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

fn received_names(mailbox: &mut Mailbox) -> Vec<String> {
    received(mailbox)
        .into_iter()
        .map(|(name, _)| name)
        .collect()
}

fn uptime_report(n: i64) -> DeviceReport {
    DeviceReport::Telemetry(json!({"uptime": n}).as_object().unwrap().clone())
}

#[test]
fn each_client_receives_its_own_events_once() {
    let harness = ServiceHarness::new(0);
    harness.add_module("M1", "7");
    let (_, mut owner) = harness.connect_user("7", false, Some(WebPage::Modules));
    let (_, mut tab) = harness.connect_user("7", false, None);
    let (_, mut other_user) = harness.connect_user("8", false, Some(WebPage::Modules));
    let (_, mut admin) = harness.connect_user("1", true, Some(WebPage::Modules));
    let (_, mut both) = harness.connect_user("7", true, Some(WebPage::Modules));
    let device = harness.connect_device("M1");
    harness
        .service
        .on_device_report("M1", device.id(), uptime_report(1));
    let on = [
        "rt_module_online",
        "user:module:online",
        "user:module:last_seen_updated",
        "rt_telemetry_updated",
        "module_telemetry",
        "user:module:last_seen_updated",
    ];
    assert_eq!(received_names(&mut owner), on);
    assert_eq!(
        received_names(&mut tab),
        [
            "user:module:online",
            "user:module:last_seen_updated",
            "module_telemetry",
            "user:module:last_seen_updated"
        ]
    );
    assert!(
        received_names(&mut other_user).is_empty(),
        "a page that one says one shows opens nothing"
    );
    let seen = [
        "rt_module_online",
        "rt_module_last_seen_updated",
        "rt_telemetry_updated",
        "module_telemetry",
        "rt_module_last_seen_updated",
    ];
    assert_eq!(received_names(&mut admin), seen);
    let mut union = received_names(&mut both);
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
    let harness = ServiceHarness::new(0);
    harness.add_module("M1", "7");
    let (ana, mut tab) = harness.connect_user("7", false, None);
    let (eva, mut other_user) = harness.connect_user("8", false, None);
    let (root, mut admin) = harness.connect_user("1", true, None);
    let send = |person: &WebUser, id: &str| {
        harness
            .service
            .send_command(person, id, "left", &json!({}))
            .map(drop)
    };
    assert_eq!(send(&ana, "M1"), Err(CommandError::Offline));
    let mut device = harness.connect_device("M1");
    received(&mut tab);
    received(&mut admin);
    assert_eq!(send(&eva, "M1"), Err(CommandError::NotFound));
    assert_eq!(
        send(&ana, "M2"),
        Err(CommandError::NotFound),
        "the same words for another's and for none"
    );
    assert_eq!((send(&ana, "M1"), send(&root, "M1")), (Ok(()), Ok(())));
    assert_eq!(received_names(&mut device), ["command", "command"]);
    assert_eq!(received_names(&mut tab), ["user:command:sent"]);
    let id = device.id();
    harness.service.on_device_report(
        "M1",
        id,
        DeviceReport::CommandResponse {
            command: "left".into(),
            status: "success".into(),
            position: Value::Null,
        },
    );
    assert!(received_names(&mut tab).contains(&"module_command_response".to_owned()));
    let seen = received_names(&mut admin);
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
    assert!(received_names(&mut other_user).is_empty());
    drop(device);
    assert_eq!(
        send(&ana, "M1"),
        Err(CommandError::Offline),
        "nobody is there to take it"
    );
}

#[test]
fn silence_is_published_once() {
    let harness = ServiceHarness::new(0);
    harness.add_module("M1", "7");
    let (_, mut owner) = harness.connect_user("7", false, None);
    let device = harness.connect_device("M1");
    received(&mut owner);
    harness.advance_s(299);
    assert!(received_names(&mut owner).is_empty());
    harness.advance_s(120);
    assert_eq!(received_names(&mut owner), ["user:module:offline"]);
    harness.advance_s(120);
    assert!(received_names(&mut owner).is_empty());
    harness
        .service
        .on_device_report("M1", device.id(), DeviceReport::Heartbeat);
    assert_eq!(
        received_names(&mut owner),
        ["user:module:online", "user:module:last_seen_updated"]
    );
}

#[test]
fn bursts_are_grouped_and_the_newest_wins() {
    let harness = ServiceHarness::new(2_000);
    harness.add_module("M1", "7");
    let (_, mut owner) = harness.connect_user("7", false, Some(WebPage::Modules));
    let device = harness.connect_device("M1");
    for n in 0..100 {
        harness
            .service
            .on_device_report("M1", device.id(), uptime_report(n));
    }
    harness.advance_s(2);
    harness.advance_s(2);
    let telemetry: Vec<_> = received(&mut owner)
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
    let harness = ServiceHarness::new(0);
    harness.add_module("M1", "7");
    let (_, mut admin) = harness.connect_user("1", true, None);
    let (_, mut user) = harness.connect_user("7", false, None);
    let _device = harness.connect_device("M1");
    harness.service.on_viewers_changed();
    harness.advance_s(1);
    harness.service.on_stats_row(
        json!({"users": 12, "modules": 5, "modules_claimed": 4, "module_types": {"Coaster": 5}}),
    );
    let counts: Vec<_> = received(&mut admin)
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
        received(&mut user)
            .iter()
            .all(|(name, _)| !name.contains("stats"))
    );
    harness.service.on_viewers_changed();
    harness.advance_s(1);
    assert!(received(&mut admin).is_empty(), "nothing changed");
}

#[test]
fn failed_saves_are_retried() {
    let harness = ServiceHarness::new(0);
    harness.add_module("M1", "7");
    let device = harness.connect_device("M1");
    harness
        .service
        .on_device_report("M1", device.id(), uptime_report(3));
    let rows = harness.service.take_unsaved(10, true);
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].is_online, rows[0].telemetry.as_deref()),
        (true, Some(r#"{"uptime":3}"#))
    );
    assert!(harness.service.take_unsaved(10, true).is_empty());
    harness.service.restore_unsaved(&rows);
    assert_eq!(harness.service.take_unsaved(10, true), rows);
}

#[test]
fn next_timer_is_the_earliest_deadline() {
    let harness = ServiceHarness::new(500);
    harness.add_module("M1", "7");
    let device = harness.connect_device("M1");
    let now = harness.service.now();
    harness
        .service
        .on_device_report("M1", device.id(), uptime_report(1));
    let wait = Duration::from_millis(u64::try_from(harness.service.next_timer() - now).unwrap());
    assert!(wait <= Duration::from_millis(600), "{wait:?}");
}
