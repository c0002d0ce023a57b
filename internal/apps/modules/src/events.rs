//! The events for web clients about modules: names, topics, payloads. Pure.
//!
//! Inside the server each event has one name. The names for other client versions are added when it
//! is encoded: [`aliases`].

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use latido_base::ident::UserId;
use latido_event_bus::{Publish, TopicName};

use crate::page::WebPage;
use crate::registry::{Module, ModuleRecord};
use crate::time_format::{Millis, to_french_string, to_iso_string};
use crate::topics;
use crate::user::id_to_json;

/// An event with its topics. It reaches their union, each connection once.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OutgoingEvent {
    /// The event's name in the newest client version.
    pub(super) name: &'static str,
    pub(super) payload: Value,
    pub(super) topics: Vec<TopicName>,
    /// A user whose connections are all excluded.
    pub(super) except_user: Option<UserId>,
}

impl OutgoingEvent {
    pub(super) fn new(
        name: &'static str,
        payload: Value,
        to: impl IntoIterator<Item = TopicName>,
    ) -> Self {
        Self {
            name,
            payload,
            topics: to.into_iter().collect(),
            except_user: None,
        }
    }

    pub(super) fn into_publish(self) -> Publish {
        let publish = Publish::new(self.topics, self.name, self.payload.to_string());
        match self.except_user {
            Some(user) => publish.except_user(user),
            None => publish,
        }
    }
}

/// Returns the other names of an event. It is sent once under each name, with the same payload.
pub(super) fn aliases(name: &str) -> &'static [&'static str] {
    match name {
        "rt_module_online" | "rt_module_offline" => &["module:status:changed"],
        "rt_module_added" => &["admin:module:added"],
        "rt_module_removed" => &["admin:module:removed"],
        "rt_module_updated" => &["admin:module:updated"],
        "user:module:online" => &["module_online", "module_presence"],
        "user:module:offline" => &["module_offline", "module_presence"],
        "rt_telemetry_updated" => &["module:telemetry:updated"],
        "rt_global_stats_updated" => &["admin:stats:updated"],
        _ => &[],
    }
}

/// Builds the events, with the locale of their texts.
#[derive(Debug, Clone)]
pub(super) struct EventBuilder {
    /// The time zone of `lastSeenFormatted`.
    pub(super) time_zone: TimeZone,
}

impl EventBuilder {
    /// Returns the events for a module that came online or went offline: to the owner's modules
    /// page, to administrators, and to all connections of the owner.
    pub(super) fn presence_events(&self, module: &Module) -> [OutgoingEvent; 2] {
        let payload = self.status_payload(module);
        let (rt, own) = match module.online {
            true => ("rt_module_online", "user:module:online"),
            false => ("rt_module_offline", "user:module:offline"),
        };
        let holder = module.record.claimed_owner();
        let page_topics = holder
            .map(topics::user_on_modules)
            .into_iter()
            .chain([topics::admins()]);
        [
            OutgoingEvent::new(rt, payload.clone(), page_topics),
            OutgoingEvent::new(own, payload, holder.map(topics::user)),
        ]
    }

    /// Returns the events for a new last-seen time.
    pub(super) fn last_seen_events(&self, module: &Module, now: Millis) -> [OutgoingEvent; 2] {
        let mut payload = self.status_payload(module);
        payload["timestamp"] = to_iso_string(now).into();
        [
            OutgoingEvent::new(
                "rt_module_last_seen_updated",
                payload.clone(),
                [topics::admins()],
            ),
            OutgoingEvent::new(
                "user:module:last_seen_updated",
                payload,
                module.record.claimed_owner().map(topics::user),
            ),
        ]
    }

    /// Returns the events for new telemetry: the full object for open pages, and a flat one for the
    /// owner and administrators.
    pub(super) fn telemetry_events(&self, module: &Module, now: Millis) -> [OutgoingEvent; 2] {
        let telemetry = module.telemetry.as_deref().cloned().unwrap_or_default();
        let flat = |field: &str| telemetry.get(field).cloned().unwrap_or(Value::Null);
        let holder = module.record.claimed_owner();
        let full = json!({
            "moduleId": &*module.record.id, "telemetry": &telemetry, "lastSeen": last_seen_iso(module),
            "lastSeenFormatted": to_french_string(module.last_seen, &self.time_zone), "timestamp": to_iso_string(now),
        });
        let short = json!({
            "moduleId": &*module.record.id, "uptime": flat("uptime"), "position": flat("position"), "status": flat("status"),
            "timestamp": to_iso_string(now),
        });
        let page_topics = holder
            .map(topics::user_on_modules)
            .into_iter()
            .chain([topics::admins()]);
        [
            OutgoingEvent::new("rt_telemetry_updated", full, page_topics),
            OutgoingEvent::new(
                "module_telemetry",
                short,
                owner_and_admin_topics(&module.record),
            ),
        ]
    }

    fn status_payload(&self, module: &Module) -> Value {
        let record = &module.record;
        json!({
            "moduleId": &*record.id, "online": module.online, "lastSeen": last_seen_iso(module),
            "lastSeenFormatted": to_french_string(module.last_seen, &self.time_zone), "type": record.kind.as_deref(),
            "moduleType": record.kind.as_deref(), "userId": owner_json(record), "name": record.name.as_deref(),
            "timestamp": module.last_seen.map(to_iso_string),
        })
    }

    /// Returns a module's part of a page's initial states.
    pub(super) fn state_payload(&self, module: &Module) -> Value {
        let record = &module.record;
        let mut state = json!({
            "online": module.online, "lastSeen": last_seen_iso(module), "lastSeenFormatted": to_french_string(module.last_seen, &self.time_zone),
            "moduleInfo": {
                "moduleId": &*record.id, "name": record.name.as_deref(), "type": record.kind.as_deref(),
                "userId": owner_json(record), "claimed": record.claimed,
            },
        });
        if let Some(telemetry) = &module.telemetry {
            state["telemetry"] = Value::Object((**telemetry).clone());
        }
        state
    }

    /// Returns the initial states of modules, keyed by module id.
    pub(super) fn states_payload<'a>(&self, modules: impl Iterator<Item = &'a Module>) -> Value {
        let mut modules: Vec<_> = modules.collect();
        modules.sort_unstable_by(|a, b| a.record.id.cmp(&b.record.id));
        let pair = |module: &&Module| (module.record.id.to_string(), self.state_payload(module));
        Value::Object(modules.iter().map(pair).collect::<Map<_, _>>())
    }
}

/// Returns the list format of the oldest clients.
pub(super) fn modules_state_payload<'a>(modules: impl Iterator<Item = &'a Module>) -> Value {
    let mut modules: Vec<_> = modules.collect();
    modules.sort_unstable_by(|a, b| a.record.id.cmp(&b.record.id));
    let row = |module: &&Module| json!({"moduleId": &*module.record.id, "online": module.online, "lastSeen": last_seen_iso(module)});
    modules.iter().map(row).collect()
}

pub(super) fn last_seen_iso(module: &Module) -> Option<String> {
    module.last_seen.map(to_iso_string)
}

fn owner_json(record: &ModuleRecord) -> Value {
    record
        .owner
        .as_ref()
        .map_or(Value::Null, |owner| id_to_json(owner.as_str()))
}

pub(super) fn owner_and_admin_topics(record: &ModuleRecord) -> Vec<TopicName> {
    record
        .claimed_owner()
        .map(topics::user)
        .into_iter()
        .chain([topics::admins()])
        .collect()
}

/// Returns `{totalModules, onlineModules, offlineModules, moduleTypes}` for polling pages.
pub(super) fn summary_payload<'a>(modules: impl Iterator<Item = &'a Module>) -> Value {
    let (mut total, mut online, mut types) =
        (0_u64, 0_u64, std::collections::BTreeMap::<&str, u64>::new());
    for module in modules {
        total += 1;
        online += u64::from(module.online);
        *types
            .entry(module.record.kind.as_deref().unwrap_or("unknown"))
            .or_default() += 1;
    }
    json!({"totalModules": total, "onlineModules": online, "offlineModules": total - online, "moduleTypes": types})
}

/// Returns the events for a command that was sent: to the sender's connections and to
/// administrators.
pub(super) fn command_sent_events(
    id: &str,
    command: &str,
    sender: &UserId,
    now: Millis,
) -> [OutgoingEvent; 3] {
    let sent = json!({"moduleId": id, "command": command, "userId": id_to_json(sender.as_str()), "timestamp": to_iso_string(now)});
    let details = json!({"moduleId": id, "command": command});
    [
        OutgoingEvent::new("user:command:sent", sent.clone(), [topics::user(sender)]),
        OutgoingEvent::new("admin:command:sent", sent, [topics::admins()]),
        activity_event(
            &id_to_json(sender.as_str()),
            "send_module_command",
            &details,
            now,
        ),
    ]
}

/// Returns the event for a device's response: to the command's sender, to the owner, and to
/// administrators.
pub(super) fn command_response_event(
    record: &ModuleRecord,
    sender: Option<&UserId>,
    command: &str,
    status: &str,
    position: &Value,
    now: Millis,
) -> OutgoingEvent {
    let payload = json!({
        "moduleId": &*record.id, "command": command, "status": status, "position": position, "timestamp": to_iso_string(now),
    });
    let sender = sender.map(topics::user);
    OutgoingEvent::new(
        "module_command_response",
        payload,
        owner_and_admin_topics(record).into_iter().chain(sender),
    )
}

/// Returns the event with all counts.
pub(super) fn global_stats_event(stats: Value) -> OutgoingEvent {
    OutgoingEvent::new("rt_global_stats_updated", stats, [topics::admins()])
}

/// Returns the event for a user activity that administrators follow.
pub(super) fn activity_event(
    user: &Value,
    activity: &str,
    details: &Value,
    now: Millis,
) -> OutgoingEvent {
    let payload = json!({"userId": user, "activity": activity, "details": details, "timestamp": to_iso_string(now)});
    OutgoingEvent::new("admin:user:activity", payload, [topics::admins()])
}

/// The kind of change of a module's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowEvent {
    Added,
    Removed,
    Updated,
}

impl RowEvent {
    fn action(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Updated => "updated",
        }
    }

    fn event_names(self) -> (&'static str, &'static str, Option<&'static str>) {
        match self {
            Self::Added => ("user:module:added", "rt_module_added", Some("module_added")),
            Self::Removed => (
                "user:module:removed",
                "rt_module_removed",
                Some("module_removed"),
            ),
            Self::Updated => ("user:module:updated", "rt_module_updated", None),
        }
    }

    /// Returns the event for the module's present or previous owner.
    pub(super) fn user_event(
        self,
        record: &ModuleRecord,
        user: &UserId,
        now: Millis,
    ) -> OutgoingEvent {
        OutgoingEvent::new(
            self.event_names().0,
            self.payload(record, now),
            [topics::user(user)],
        )
    }

    /// Returns the events for administrators, including the one for their module list.
    pub(super) fn admin_events(self, record: &ModuleRecord, now: Millis) -> Vec<OutgoingEvent> {
        let (_, rt, activity_name) = self.event_names();
        let module = module_json(record);
        let list_payload = json!({"changeType": self.action(), "module": &module, "timestamp": to_iso_string(now)});
        let mut events = vec![
            OutgoingEvent::new(rt, self.payload(record, now), [topics::admins()]),
            OutgoingEvent::new(
                "admin:modules:list_changed",
                list_payload,
                [topics::admins_on(WebPage::Admin)],
            ),
        ];
        let details = json!({"moduleId": &*record.id});
        events.extend(activity_name.map(|activity_name| {
            activity_event(&owner_json(record), activity_name, &details, now)
        }));
        events
    }

    fn payload(self, record: &ModuleRecord, now: Millis) -> Value {
        json!({
            "action": self.action(), "moduleId": &*record.id, "name": record.name.as_deref(), "type": record.kind.as_deref(),
            "module": module_json(record), "timestamp": to_iso_string(now),
        })
    }
}

fn module_json(record: &ModuleRecord) -> Value {
    json!({
        "module_id": &*record.id, "moduleId": &*record.id, "name": record.name.as_deref(), "type": record.kind.as_deref(),
        "userId": owner_json(record), "claimed": record.claimed,
    })
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
