//! The known state of every module: its row, its online flag, and its last report. Pure: takes
//! events and times, returns the real changes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value};

use latido_base::ident::UserId;
use latido_event_bus::ConnectionId;

use crate::time_format::Millis;

/// The id of a module, as in `module_id` of the table.
pub(super) type ModuleId = Arc<str>;

/// A module's row in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModuleRecord {
    pub(super) id: ModuleId,
    pub(super) name: Option<Arc<str>>,
    pub(super) kind: Option<Arc<str>>,
    pub(super) owner: Option<UserId>,
    pub(super) claimed: bool,
}

impl ModuleRecord {
    /// Returns the owner if the module is claimed: an owner's id alone gives no right to the
    /// module.
    pub(super) fn claimed_owner(&self) -> Option<&UserId> {
        self.owner.as_ref().filter(|_| self.claimed)
    }
}

/// The current state of one module.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Module {
    pub(super) record: ModuleRecord,
    pub(super) online: bool,
    pub(super) last_seen: Option<Millis>,
    /// The last telemetry of the device; always a JSON object.
    pub(super) telemetry: Option<Arc<Map<String, Value>>>,
    /// The device's connection, if it is connected to this server.
    device: Option<ConnectionId>,
}

/// The difference between a row and the known record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RowChange {
    /// No difference in the columns that matter.
    Unchanged,
    /// A module that was not known.
    Added,
    /// Other fields, with the same owner.
    Updated,
    /// A new owner or none; `from` is the previous owner.
    OwnerChanged { from: Option<UserId> },
}

/// The effects of a device's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DeviceAttached {
    /// `true` if the module was offline.
    pub(super) came_online: bool,
    /// The older connection, which must be closed.
    pub(super) replaced: Option<ConnectionId>,
}

/// All modules, indexed by id and by owner.
#[derive(Debug, Default)]
pub(super) struct ModuleRegistry {
    modules: HashMap<ModuleId, Module>,
    by_owner: HashMap<UserId, BTreeSet<ModuleId>>,
    /// The number of online modules, maintained because it is needed at every change.
    online_count: usize,
}

impl ModuleRegistry {
    pub(super) fn get(&self, id: &str) -> Option<&Module> {
        self.modules.get(id)
    }

    /// Returns every module, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Module> {
        self.modules.values()
    }

    pub(super) fn owned_by(&self, user: &UserId) -> impl Iterator<Item = &Module> {
        let ids = self.by_owner.get(user);
        ids.into_iter()
            .flatten()
            .filter_map(|id| self.modules.get(id))
    }

    /// Returns the number of modules, and the number of online ones.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.modules.len(), self.online_count)
    }

    /// Applies a row of the table.
    pub(super) fn apply_row(&mut self, record: ModuleRecord) -> RowChange {
        let Some(module) = self.modules.get_mut(&record.id) else {
            self.index(&record);
            let id = Arc::clone(&record.id);
            self.modules.insert(
                id,
                Module {
                    record,
                    online: false,
                    last_seen: None,
                    telemetry: None,
                    device: None,
                },
            );
            return RowChange::Added;
        };
        if module.record == record {
            return RowChange::Unchanged;
        }
        let old = std::mem::replace(&mut module.record, record.clone());
        if old.claimed_owner() == record.claimed_owner() {
            return RowChange::Updated;
        }
        self.unindex(&old);
        self.index(&record);
        RowChange::OwnerChanged {
            from: old.claimed_owner().cloned(),
        }
    }

    /// Removes a module that the table no longer has.
    pub(super) fn remove(&mut self, id: &str) -> Option<Module> {
        let module = self.modules.remove(id)?;
        self.unindex(&module.record);
        self.online_count -= usize::from(module.online);
        Some(module)
    }

    /// Restores stored state, but only where no newer state is known.
    pub(super) fn restore(
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

    /// Attaches an authenticated device connection. Returns `None` if the module does not exist.
    pub(super) fn attach_device(
        &mut self,
        id: &str,
        device: ConnectionId,
        now: Millis,
    ) -> Option<DeviceAttached> {
        let module = self.modules.get_mut(id)?;
        let replaced = module.device.replace(device).filter(|old| *old != device);
        let came_online = self.set_online(id, true, now);
        Some(DeviceAttached {
            came_online,
            replaced,
        })
    }

    /// Detaches a device connection. Returns `true` if the module went offline; a replaced
    /// connection has no effect.
    pub(super) fn detach_device(&mut self, id: &str, device: ConnectionId) -> bool {
        let Some(module) = self
            .modules
            .get_mut(id)
            .filter(|module| module.device == Some(device))
        else {
            return false;
        };
        module.device = None;
        self.set_offline(id)
    }

    /// Returns the connection of a module's device.
    pub(super) fn device(&self, id: &str) -> Option<ConnectionId> {
        self.modules.get(id)?.device
    }

    /// Returns `true` if this is the connection of the module's device.
    pub(super) fn is_current_device(&self, id: &str, device: ConnectionId) -> bool {
        self.modules
            .get(id)
            .is_some_and(|module| module.device == Some(device))
    }

    /// Sets the online flag and the last-seen time. Returns `true` if the flag changed.
    pub(super) fn set_online(&mut self, id: &str, online: bool, now: Millis) -> bool {
        let Some(module) = self.modules.get_mut(id) else {
            return false;
        };
        // The wall clock may jump back; the last-seen time must not.
        module.last_seen = module.last_seen.max(Some(now));
        let changed = module.online != online;
        module.online = online;
        self.online_count =
            self.online_count + usize::from(changed && online) - usize::from(changed && !online);
        changed
    }

    fn set_offline(&mut self, id: &str) -> bool {
        let last_seen = self
            .modules
            .get(id)
            .and_then(|module| module.last_seen)
            .unwrap_or_default();
        self.set_online(id, false, last_seen)
    }

    /// Stores the module's latest telemetry.
    pub(super) fn set_telemetry(
        &mut self,
        id: &str,
        telemetry: Map<String, Value>,
    ) -> Option<&Module> {
        let module = self.modules.get_mut(id)?;
        module.telemetry = Some(Arc::new(telemetry));
        Some(module)
    }

    /// Marks online modules as offline if they were last seen before this time, and returns their
    /// ids.
    pub(super) fn expire_silent(&mut self, before: Millis) -> Vec<ModuleId> {
        let stale =
            |module: &&Module| module.online && module.last_seen.is_none_or(|seen| seen < before);
        let ids: Vec<_> = self
            .modules
            .values()
            .filter(stale)
            .map(|module| Arc::clone(&module.record.id))
            .collect();
        for id in &ids {
            self.set_offline(id);
        }
        ids
    }

    fn index(&mut self, record: &ModuleRecord) {
        if let Some(owner) = record.claimed_owner() {
            self.by_owner
                .entry(owner.clone())
                .or_default()
                .insert(Arc::clone(&record.id));
        }
    }

    fn unindex(&mut self, record: &ModuleRecord) {
        let Some(owner) = record.claimed_owner() else {
            return;
        };
        if let Some(ids) = self.by_owner.get_mut(owner) {
            ids.remove(&record.id);
            if ids.is_empty() {
                self.by_owner.remove(owner);
            }
        }
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
