//! What is said to web clients of modules: names, audiences, payloads. Pure.
//!
//! One event has one name inside; the names that other generations of clients know it by are added when it goes out: [`aliases`].

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::hub::exchange::{Publish, TopicName};
use crate::ident::UserId;

use crate::apps::modules::dates::{Millis, french, iso};
use crate::apps::modules::identity::id_value;
use crate::apps::modules::page::Page;
use crate::apps::modules::registry::{Facts, Module};
use crate::apps::modules::topics;

/// An event with its audience: the union of the topics, each connection once.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct News {
    /// As newer clients know it.
    pub(super) name: &'static str,
    pub(super) payload: Value,
    pub(super) to: Vec<TopicName>,
    /// Nobody of this user, on whatever connection.
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

/// The other names of an event: it goes out once under each, with the same payload.
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

/// What the texts of a server are written in.
#[derive(Debug, Clone)]
pub(super) struct Locale {
    /// Of `lastSeenFormatted`.
    pub(super) zone: TimeZone,
}

impl Locale {
    /// A module has come online or gone: to its owner's page of modules, to administrators, and to its owner wherever they are.
    pub(super) fn presence(&self, module: &Module) -> [News; 2] {
        let payload = self.status(module);
        let (rt, own) = match module.online {
            true => ("rt_module_online", "user:module:online"),
            false => ("rt_module_offline", "user:module:offline"),
        };
        let holder = module.facts.holder();
        let page = holder
            .map(topics::user_on_modules)
            .into_iter()
            .chain([topics::admins()]);
        [
            News::new(rt, payload.clone(), page),
            News::new(own, payload, holder.map(topics::user)),
        ]
    }

    /// It was seen.
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

    /// What it told: in full to whoever has the page open, flat to its owner and to administrators.
    pub(super) fn telemetry(&self, module: &Module, now: Millis) -> [News; 2] {
        let told = module.telemetry.as_deref().cloned().unwrap_or_default();
        let flat = |field: &str| told.get(field).cloned().unwrap_or(Value::Null);
        let holder = module.facts.holder();
        let full = json!({
            "moduleId": &*module.facts.id, "telemetry": &told, "lastSeen": last_seen(module),
            "lastSeenFormatted": french(module.last_seen, &self.zone), "timestamp": iso(now),
        });
        let short = json!({
            "moduleId": &*module.facts.id, "uptime": flat("uptime"), "position": flat("position"), "status": flat("status"),
            "timestamp": iso(now),
        });
        let page = holder
            .map(topics::user_on_modules)
            .into_iter()
            .chain([topics::admins()]);
        [
            News::new("rt_telemetry_updated", full, page),
            News::new("module_telemetry", short, owner_and_admins(&module.facts)),
        ]
    }

    fn status(&self, module: &Module) -> Value {
        let facts = &module.facts;
        json!({
            "moduleId": &*facts.id, "online": module.online, "lastSeen": last_seen(module),
            "lastSeenFormatted": french(module.last_seen, &self.zone), "type": facts.kind.as_deref(),
            "moduleType": facts.kind.as_deref(), "userId": owner_value(facts), "name": facts.name.as_deref(),
            "timestamp": module.last_seen.map(iso),
        })
    }

    /// A module's part of the states that a page begins with.
    pub(super) fn state(&self, module: &Module) -> Value {
        let facts = &module.facts;
        let mut state = json!({
            "online": module.online, "lastSeen": last_seen(module), "lastSeenFormatted": french(module.last_seen, &self.zone),
            "moduleInfo": {
                "moduleId": &*facts.id, "name": facts.name.as_deref(), "type": facts.kind.as_deref(),
                "userId": owner_value(facts), "claimed": facts.claimed,
            },
        });
        if let Some(telemetry) = &module.telemetry {
            state["telemetry"] = Value::Object((**telemetry).clone());
        }
        state
    }

    /// Those states by the modules' ids.
    pub(super) fn states<'a>(&self, modules: impl Iterator<Item = &'a Module>) -> Value {
        let mut modules: Vec<_> = modules.collect();
        modules.sort_unstable_by(|a, b| a.facts.id.cmp(&b.facts.id));
        let pair = |module: &&Module| (module.facts.id.to_string(), self.state(module));
        Value::Object(modules.iter().map(pair).collect::<Map<_, _>>())
    }
}

/// The list that the oldest clients know.
pub(super) fn modules_state<'a>(modules: impl Iterator<Item = &'a Module>) -> Value {
    let mut modules: Vec<_> = modules.collect();
    modules.sort_unstable_by(|a, b| a.facts.id.cmp(&b.facts.id));
    let row = |module: &&Module| json!({"moduleId": &*module.facts.id, "online": module.online, "lastSeen": last_seen(module)});
    modules.iter().map(row).collect()
}

pub(super) fn last_seen(module: &Module) -> Option<String> {
    module.last_seen.map(iso)
}

fn owner_value(facts: &Facts) -> Value {
    facts
        .owner
        .as_ref()
        .map_or(Value::Null, |owner| id_value(owner.as_str()))
}

pub(super) fn owner_and_admins(facts: &Facts) -> Vec<TopicName> {
    facts
        .holder()
        .map(topics::user)
        .into_iter()
        .chain([topics::admins()])
        .collect()
}

/// `{totalModules, onlineModules, offlineModules, moduleTypes}`, for pages that poll.
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

/// A command went out: to the sender's tabs and to administrators.
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

/// A module answered: to whoever asked, to its owner, and to administrators.
pub(super) fn command_response(
    facts: &Facts,
    sender: Option<&UserId>,
    command: &str,
    status: &str,
    position: &Value,
    now: Millis,
) -> News {
    let payload = json!({
        "moduleId": &*facts.id, "command": command, "status": status, "position": position, "timestamp": iso(now),
    });
    let sender = sender.map(topics::user);
    News::new(
        "module_command_response",
        payload,
        owner_and_admins(facts).into_iter().chain(sender),
    )
}

/// All counts.
pub(super) fn global_stats(stats: Value) -> News {
    News::new("rt_global_stats_updated", stats, [topics::admins()])
}

/// A user did something that administrators follow.
pub(super) fn activity(user: &Value, activity: &str, details: &Value, now: Millis) -> News {
    let payload =
        json!({"userId": user, "activity": activity, "details": details, "timestamp": iso(now)});
    News::new("admin:user:activity", payload, [topics::admins()])
}

/// What became of a module's row.
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

    /// To that user, whose module it is or was.
    pub(super) fn to_user(self, facts: &Facts, user: &UserId, now: Millis) -> News {
        News::new(
            self.names().0,
            self.payload(facts, now),
            [topics::user(user)],
        )
    }

    /// To administrators, with what their pages list.
    pub(super) fn to_admins(self, facts: &Facts, now: Millis) -> Vec<News> {
        let (_, rt, followed) = self.names();
        let module = module_value(facts);
        let listed = json!({"changeType": self.action(), "module": &module, "timestamp": iso(now)});
        let mut news = vec![
            News::new(rt, self.payload(facts, now), [topics::admins()]),
            News::new(
                "admin:modules:list_changed",
                listed,
                [topics::admins_on(Page::Admin)],
            ),
        ];
        let details = json!({"moduleId": &*facts.id});
        news.extend(
            followed.map(|followed| activity(&owner_value(facts), followed, &details, now)),
        );
        news
    }

    fn payload(self, facts: &Facts, now: Millis) -> Value {
        json!({
            "action": self.action(), "moduleId": &*facts.id, "name": facts.name.as_deref(), "type": facts.kind.as_deref(),
            "module": module_value(facts), "timestamp": iso(now),
        })
    }
}

fn module_value(facts: &Facts) -> Value {
    json!({
        "module_id": &*facts.id, "moduleId": &*facts.id, "name": facts.name.as_deref(), "type": facts.kind.as_deref(),
        "userId": owner_value(facts), "claimed": facts.claimed,
    })
}

#[cfg(test)]
#[path = "news_tests.rs"]
mod tests;
