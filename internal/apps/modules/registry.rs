//! What is known of every module: what its row says, whether it is online, when it was last seen, what it last told. Pure: events and
//! instants in, what really changed out.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::hub::exchange::ConnId;
use crate::ident::UserId;

use crate::apps::modules::dates::Millis;

/// A module's name.
pub(super) type ModuleId = Arc<str>;

/// What the table says of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) id: ModuleId,
    pub(super) name: Option<Arc<str>>,
    pub(super) kind: Option<Arc<str>>,
    pub(super) owner: Option<UserId>,
    pub(super) claimed: bool,
}

impl Facts {
    /// The owner, if the module is claimed: an owner's name alone gives no right to it.
    pub(super) fn holder(&self) -> Option<&UserId> {
        self.owner.as_ref().filter(|_| self.claimed)
    }
}

/// A module as it is now.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Module {
    pub(super) facts: Facts,
    pub(super) online: bool,
    pub(super) last_seen: Option<Millis>,
    /// What the device last told of itself; an object.
    pub(super) telemetry: Option<Arc<Map<String, Value>>>,
    /// Its connection, if it has one here.
    device: Option<ConnId>,
}

/// What a row means against what was known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing that matters.
    Same,
    /// A module that was not there.
    Added,
    /// Other facts, the same holder.
    Updated,
    /// Another holder than this one.
    Moved { from: Option<UserId> },
}

/// What came of a device's arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    /// It was offline.
    pub(super) came_online: bool,
    /// The connection that it had, and that must go.
    pub(super) replaced: Option<ConnId>,
}

/// All modules.
#[derive(Debug, Default)]
pub(super) struct Registry {
    modules: HashMap<ModuleId, Module>,
    by_holder: HashMap<UserId, BTreeSet<ModuleId>>,
    /// Kept along, since it is asked at every change.
    online: usize,
}

impl Registry {
    pub(super) fn get(&self, id: &str) -> Option<&Module> {
        self.modules.get(id)
    }

    /// Every module, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Module> {
        self.modules.values()
    }

    pub(super) fn of_holder(&self, user: &UserId) -> impl Iterator<Item = &Module> {
        let ids = self.by_holder.get(user);
        ids.into_iter()
            .flatten()
            .filter_map(|id| self.modules.get(id))
    }

    /// How many there are, and how many are online.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.modules.len(), self.online)
    }

    /// What the table says now.
    pub(super) fn set(&mut self, facts: Facts) -> Turn {
        let Some(module) = self.modules.get_mut(&facts.id) else {
            self.index(&facts);
            let id = Arc::clone(&facts.id);
            self.modules.insert(
                id,
                Module {
                    facts,
                    online: false,
                    last_seen: None,
                    telemetry: None,
                    device: None,
                },
            );
            return Turn::Added;
        };
        if module.facts == facts {
            return Turn::Same;
        }
        let old = std::mem::replace(&mut module.facts, facts.clone());
        if old.holder() == facts.holder() {
            return Turn::Updated;
        }
        self.unindex(&old);
        self.index(&facts);
        Turn::Moved {
            from: old.holder().cloned(),
        }
    }

    /// The table has it no more.
    pub(super) fn remove(&mut self, id: &str) -> Option<Module> {
        let module = self.modules.remove(id)?;
        self.unindex(&module.facts);
        self.online -= usize::from(module.online);
        Some(module)
    }

    /// What was stored of it: only for a module of which nothing newer is known.
    pub(super) fn recall(
        &mut self,
        id: &str,
        last_seen: Option<Millis>,
        telemetry: Option<Arc<Map<String, Value>>>,
    ) {
        if let Some(module) = self.modules.get_mut(id) {
            module.last_seen = module.last_seen.or(last_seen);
            module.telemetry = module.telemetry.take().or(telemetry);
        }
    }

    /// A device has proved that it is this module. None: there is no such module.
    pub(super) fn arrived(&mut self, id: &str, device: ConnId, now: Millis) -> Option<Arrival> {
        let module = self.modules.get_mut(id)?;
        let replaced = module.device.replace(device).filter(|old| *old != device);
        let came_online = self.turn(id, true, now);
        Some(Arrival {
            came_online,
            replaced,
        })
    }

    /// A device has gone; whether the module went offline by it. One that was replaced goes in silence.
    pub(super) fn left(&mut self, id: &str, device: ConnId) -> bool {
        let Some(module) = self
            .modules
            .get_mut(id)
            .filter(|module| module.device == Some(device))
        else {
            return false;
        };
        module.device = None;
        self.turn_off(id)
    }

    /// A module's connection.
    pub(super) fn device(&self, id: &str) -> Option<ConnId> {
        self.modules.get(id)?.device
    }

    /// Whether the module's connection is this one.
    pub(super) fn speaks_for(&self, id: &str, device: ConnId) -> bool {
        self.modules
            .get(id)
            .is_some_and(|module| module.device == Some(device))
    }

    /// Sets whether it is online, and that it was seen; whether that was a change.
    pub(super) fn turn(&mut self, id: &str, online: bool, now: Millis) -> bool {
        let Some(module) = self.modules.get_mut(id) else {
            return false;
        };
        // The wall clock may jump back; what was seen later was seen later.
        module.last_seen = module.last_seen.max(Some(now));
        let changed = module.online != online;
        module.online = online;
        self.online =
            self.online + usize::from(changed && online) - usize::from(changed && !online);
        changed
    }

    fn turn_off(&mut self, id: &str) -> bool {
        let last_seen = self
            .modules
            .get(id)
            .and_then(|module| module.last_seen)
            .unwrap_or_default();
        self.turn(id, false, last_seen)
    }

    /// Keeps what it told last.
    pub(super) fn told(&mut self, id: &str, telemetry: Map<String, Value>) -> Option<&Module> {
        let module = self.modules.get_mut(id)?;
        module.telemetry = Some(Arc::new(telemetry));
        Some(module)
    }

    /// Turns those off that are online and were last seen before then, and says which.
    pub(super) fn expire(&mut self, before: Millis) -> Vec<ModuleId> {
        let stale =
            |module: &&Module| module.online && module.last_seen.is_none_or(|seen| seen < before);
        let ids: Vec<_> = self
            .modules
            .values()
            .filter(stale)
            .map(|module| Arc::clone(&module.facts.id))
            .collect();
        for id in &ids {
            self.turn_off(id);
        }
        ids
    }

    fn index(&mut self, facts: &Facts) {
        if let Some(holder) = facts.holder() {
            self.by_holder
                .entry(holder.clone())
                .or_default()
                .insert(Arc::clone(&facts.id));
        }
    }

    fn unindex(&mut self, facts: &Facts) {
        let Some(holder) = facts.holder() else { return };
        if let Some(ids) = self.by_holder.get_mut(holder) {
            ids.remove(&facts.id);
            if ids.is_empty() {
                self.by_holder.remove(holder);
            }
        }
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
