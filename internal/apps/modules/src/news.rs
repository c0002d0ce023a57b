//! The events for web clients about modules: names, topics, payloads. Pure.
//!
//! Inside the server each event has one name. The names for other client versions are added when it
//! is encoded: [`aliases`].

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use latido_base::ident::UserId;
use latido_event_bus::{Publish, TopicName};

use crate::dates::{Millis, french, iso};
use crate::identity::id_value;
use crate::page::Page;
use crate::registry::{Facts, Module};
use crate::topics;

/// An event with its topics. It reaches their union, each connection once.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct News {
    /// The event's name in the newest client version.
    pub(super) name: &'static str,
    pub(super) payload: Value,
    pub(super) to: Vec<TopicName>,
    /// A user whose connections are all excluded.
    pub(super) except: Option<UserId>,
}

impl News {
    pub(super) fn new(
        name: &'static str,
        payload: Value,
        to: impl IntoIterator<Item = TopicName>,
    ) -> Self {
        Self {
            name,
            payload,
            to: to.into_iter().collect(),
            except: None,
        }
    }

    pub(super) fn publish(self) -> Publish {
        let publish = Publish::new(self.to, self.name, self.payload.to_string());
        match self.except {
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
pub(super) struct Locale {
    /// The time zone of `lastSeenFormatted`.
    pub(super) zone: TimeZone,
}

impl Locale {
    /// Returns the events for a module that came online or went offline: to the owner's modules
    /// page, to administrators, and to all connections of the owner.
    pub(super) fn presence(&self, module: &Module) -> [News; 2] {
        let payload = self.status(module);
        let (rt, own) = match module.online {
            true => ("rt_module_online", "user:module:online"),
            false => ("rt_module_offline", "user:module:offline"),
        };
        let holder = module.facts.holder();
        let page_topics = holder
            .map(topics::user_on_modules)
            .into_iter()
            .chain([topics::admins()]);
        [
            News::new(rt, payload.clone(), page_topics),
            News::new(own, payload, holder.map(topics::user)),
        ]
    }

    /// Returns the events for a new last-seen time.
    pub(super) fn seen(&self, module: &Module, now: Millis) -> [News; 2] {
        let mut payload = self.status(module);
        payload["timestamp"] = iso(now).into();
        [
            News::new(
                "rt_module_last_seen_updated",
                payload.clone(),
                [topics::admins()],
            ),
            News::new(
                "user:module:last_seen_updated",
                payload,
                module.facts.holder().map(topics::user),
            ),
        ]
    }

    /// Returns the events for new telemetry: the full object for open pages, and a flat one for the
    /// owner and administrators.
    pub(super) fn telemetry(&self, module: &Module, now: Millis) -> [News; 2] {
        let telemetry = module.telemetry.as_deref().cloned().unwrap_or_default();
        let flat = |field: &str| telemetry.get(field).cloned().unwrap_or(Value::Null);
        let holder = module.facts.holder();
        let full = json!({
            "moduleId": &*module.facts.id, "telemetry": &telemetry, "lastSeen": last_seen(module),
            "lastSeenFormatted": french(module.last_seen, &self.zone), "timestamp": iso(now),
        });
        let short = json!({
            "moduleId": &*module.facts.id, "uptime": flat("uptime"), "position": flat("position"), "status": flat("status"),
            "timestamp": iso(now),
        });
        let page_topics = holder
            .map(topics::user_on_modules)
            .into_iter()
            .chain([topics::admins()]);
        [
            News::new("rt_telemetry_updated", full, page_topics),
            News::new("module_telemetry", short, owner_and_admins(&module.facts)),
        ]
    }

    fn status(&self, module: &Module) -> Value {
        let record = &module.facts;
        json!({
            "moduleId": &*record.id, "online": module.online, "lastSeen": last_seen(module),
            "lastSeenFormatted": french(module.last_seen, &self.zone), "type": record.kind.as_deref(),
            "moduleType": record.kind.as_deref(), "userId": owner_value(record), "name": record.name.as_deref(),
            "timestamp": module.last_seen.map(iso),
        })
    }

    /// Returns a module's part of a page's initial states.
    pub(super) fn state(&self, module: &Module) -> Value {
        let record = &module.facts;
        let mut state = json!({
            "online": module.online, "lastSeen": last_seen(module), "lastSeenFormatted": french(module.last_seen, &self.zone),
            "moduleInfo": {
                "moduleId": &*record.id, "name": record.name.as_deref(), "type": record.kind.as_deref(),
                "userId": owner_value(record), "claimed": record.claimed,
            },
        });
        if let Some(telemetry) = &module.telemetry {
            state["telemetry"] = Value::Object((**telemetry).clone());
        }
        state
    }

    /// Returns the initial states of modules, keyed by module id.
    pub(super) fn states<'a>(&self, modules: impl Iterator<Item = &'a Module>) -> Value {
        let mut modules: Vec<_> = modules.collect();
        modules.sort_unstable_by(|a, b| a.facts.id.cmp(&b.facts.id));
        let pair = |module: &&Module| (module.facts.id.to_string(), self.state(module));
        Value::Object(modules.iter().map(pair).collect::<Map<_, _>>())
    }
}

/// Returns the list format of the oldest clients.
pub(super) fn modules_state<'a>(modules: impl Iterator<Item = &'a Module>) -> Value {
    let mut modules: Vec<_> = modules.collect();
    modules.sort_unstable_by(|a, b| a.facts.id.cmp(&b.facts.id));
    let row = |module: &&Module| json!({"moduleId": &*module.facts.id, "online": module.online, "lastSeen": last_seen(module)});
    modules.iter().map(row).collect()
}

pub(super) fn last_seen(module: &Module) -> Option<String> {
    module.last_seen.map(iso)
}

fn owner_value(record: &Facts) -> Value {
    record
        .owner
        .as_ref()
        .map_or(Value::Null, |owner| id_value(owner.as_str()))
}

pub(super) fn owner_and_admins(record: &Facts) -> Vec<TopicName> {
    record
        .holder()
        .map(topics::user)
        .into_iter()
        .chain([topics::admins()])
        .collect()
}

/// Returns `{totalModules, onlineModules, offlineModules, moduleTypes}` for polling pages.
pub(super) fn summary<'a>(modules: impl Iterator<Item = &'a Module>) -> Value {
    let (mut total, mut online, mut types) =
        (0_u64, 0_u64, std::collections::BTreeMap::<&str, u64>::new());
    for module in modules {
        total += 1;
        online += u64::from(module.online);
        *types
            .entry(module.facts.kind.as_deref().unwrap_or("unknown"))
            .or_default() += 1;
    }
    json!({"totalModules": total, "onlineModules": online, "offlineModules": total - online, "moduleTypes": types})
}

/// Returns the events for a command that was sent: to the sender's connections and to
/// administrators.
pub(super) fn command_sent(id: &str, command: &str, sender: &UserId, now: Millis) -> [News; 3] {
    let sent = json!({"moduleId": id, "command": command, "userId": id_value(sender.as_str()), "timestamp": iso(now)});
    let details = json!({"moduleId": id, "command": command});
    [
        News::new("user:command:sent", sent.clone(), [topics::user(sender)]),
        News::new("admin:command:sent", sent, [topics::admins()]),
        activity(
            &id_value(sender.as_str()),
            "send_module_command",
            &details,
            now,
        ),
    ]
}

/// Returns the event for a device's response: to the command's sender, to the owner, and to
/// administrators.
pub(super) fn command_response(
    record: &Facts,
    sender: Option<&UserId>,
    command: &str,
    status: &str,
    position: &Value,
    now: Millis,
) -> News {
    let payload = json!({
        "moduleId": &*record.id, "command": command, "status": status, "position": position, "timestamp": iso(now),
    });
    let sender = sender.map(topics::user);
    News::new(
        "module_command_response",
        payload,
        owner_and_admins(record).into_iter().chain(sender),
    )
}

/// Returns the event with all counts.
pub(super) fn global_stats(stats: Value) -> News {
    News::new("rt_global_stats_updated", stats, [topics::admins()])
}

/// Returns the event for a user activity that administrators follow.
pub(super) fn activity(user: &Value, activity: &str, details: &Value, now: Millis) -> News {
    let payload =
        json!({"userId": user, "activity": activity, "details": details, "timestamp": iso(now)});
    News::new("admin:user:activity", payload, [topics::admins()])
}

/// The kind of change of a module's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    Added,
    Removed,
    Updated,
}

impl Row {
    fn action(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Updated => "updated",
        }
    }

    fn names(self) -> (&'static str, &'static str, Option<&'static str>) {
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
    pub(super) fn to_user(self, record: &Facts, user: &UserId, now: Millis) -> News {
        News::new(
            self.names().0,
            self.payload(record, now),
            [topics::user(user)],
        )
    }

    /// Returns the events for administrators, including the one for their module list.
    pub(super) fn to_admins(self, record: &Facts, now: Millis) -> Vec<News> {
        let (_, rt, activity_name) = self.names();
        let module = module_value(record);
        let list_payload =
            json!({"changeType": self.action(), "module": &module, "timestamp": iso(now)});
        let mut events = vec![
            News::new(rt, self.payload(record, now), [topics::admins()]),
            News::new(
                "admin:modules:list_changed",
                list_payload,
                [topics::admins_on(Page::Admin)],
            ),
        ];
        let details = json!({"moduleId": &*record.id});
        events.extend(
            activity_name
                .map(|activity_name| activity(&owner_value(record), activity_name, &details, now)),
        );
        events
    }

    fn payload(self, record: &Facts, now: Millis) -> Value {
        json!({
            "action": self.action(), "moduleId": &*record.id, "name": record.name.as_deref(), "type": record.kind.as_deref(),
            "module": module_value(record), "timestamp": iso(now),
        })
    }
}

fn module_value(record: &Facts) -> Value {
    json!({
        "module_id": &*record.id, "moduleId": &*record.id, "name": record.name.as_deref(), "type": record.kind.as_deref(),
        "userId": owner_value(record), "claimed": record.claimed,
    })
}

#[cfg(test)]
#[path = "news_tests.rs"]
mod tests;
