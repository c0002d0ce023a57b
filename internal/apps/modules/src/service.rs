//! The central service of the app. It orders all events of modules (device reports, table rows,
//! timers) and publishes the resulting events to web clients. Nothing here blocks.
//!
//! One lock protects the registry. It is held while an event is published, so that clients receive
//! changes in the order in which they were made. The event bus lock ranks below it, and no holder
//! of that lock calls back into this module.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};
use tokio::sync::Notify;

use latido_base::clock::Clock;
use latido_base::ident::UserId;
use latido_event_bus::{ConnectionId, EventBus, Identity, JoinRequest};
use latido_postgres::apps::modules::ModuleStateRow;

use crate::admin_stats::AdminStats;
use crate::device::frame::DeviceReport;
use crate::events::{self, EventBuilder, OutgoingEvent};
use crate::pending_commands::PendingCommands;
use crate::registry::{ModuleId, ModuleRegistry};
use crate::throttle::LatestThrottle;
use crate::time_format::Millis;
use crate::topics;
use crate::user::WebUser;

/// The close reason of a device's older connection.
pub(super) const NEW_SESSION: &str = "New session";
/// The close reason of a device whose module has lost its owner.
pub(super) const OWNER_LOST: &str = "Authentication failed";
/// The interval between searches for silent modules, in milliseconds.
const SWEEP_INTERVAL_MS: Millis = 60_000;
/// The delay in which changes of the counts are collected before administrators receive them, in
/// milliseconds.
const STATS_DELAY_MS: Millis = 250;

pub(super) struct ServiceState {
    pub(super) registry: ModuleRegistry,
    /// `true` once all rows were read. Earlier rows are initial state and cause no events.
    pub(super) is_loaded: bool,
    seen_throttle: LatestThrottle<ModuleId, ()>,
    telemetry_throttle: LatestThrottle<ModuleId, ()>,
    pub(super) pending_commands: PendingCommands,
    /// The modules with unsaved changes. `true` if the online flag changed, which other programs
    /// read from the table.
    unsaved: HashMap<ModuleId, bool>,
    sweep_at: Millis,
    /// The time at which administrators receive changed counts.
    stats_due_at: Option<Millis>,
    admin_stats: AdminStats,
}

/// The service; see the module's documentation.
pub(super) struct ModuleService {
    pub(super) event_bus: Arc<EventBus>,
    clock: Clock,
    event_builder: EventBuilder,
    offline_after_ms: Millis,
    state: Mutex<ServiceState>,
    /// Notified when [`ModuleService::next_timer`] may have become earlier.
    pub(super) wake: Notify,
}

impl ModuleService {
    pub(super) fn new(
        event_bus: Arc<EventBus>,
        clock: Clock,
        event_builder: EventBuilder,
        group_ms: Millis,
        offline_after_ms: Millis,
    ) -> Self {
        let now = clock.now().as_millisecond();
        let state = ServiceState {
            registry: ModuleRegistry::default(),
            is_loaded: false,
            seen_throttle: LatestThrottle::new(group_ms),
            telemetry_throttle: LatestThrottle::new(group_ms),
            pending_commands: PendingCommands::default(),
            unsaved: HashMap::new(),
            sweep_at: now + SWEEP_INTERVAL_MS.min(offline_after_ms),
            stats_due_at: None,
            admin_stats: AdminStats::new(now),
        };
        Self {
            event_bus,
            clock,
            event_builder,
            offline_after_ms,
            state: Mutex::new(state),
            wake: Notify::new(),
        }
    }

    pub(super) fn now(&self) -> Millis {
        self.clock.now().as_millisecond()
    }

    /// A poisoned lock is usable: no operation leaves the state half-changed, and a panic elsewhere
    /// must not stop all modules.
    pub(super) fn lock(&self) -> MutexGuard<'_, ServiceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes events. Web clients run in Tokio with mailboxes of their own, which never refuse
    /// an event.
    pub(super) fn publish(&self, events: impl IntoIterator<Item = OutgoingEvent>) {
        for event in events.into_iter().filter(|event| !event.topics.is_empty()) {
            let _ = self.event_bus.publish(event.into_publish());
        }
    }

    /// Registers a connection as the device of a module after authentication. Returns `false` if
    /// the module does not exist. The older connection is closed and the new one joins the topic
    /// under one lock, so a command reaches exactly one of them.
    pub(super) fn on_device_connected(
        &self,
        id: &str,
        device: ConnectionId,
        fields: &Map<String, Value>,
    ) -> bool {
        let now = self.now();
        let mut state = self.lock();
        let Some(attached) = state.registry.attach_device(id, device, now) else {
            return false;
        };
        if let Some(old) = attached.replaced {
            self.event_bus.kick(old, NEW_SESSION);
        }
        let identity = Identity {
            user: None,
            session: Some(id.into()),
            role: Some("device".into()),
        };
        // This fails only if the connection is closed and its disconnect is about to be reported.
        let _ = self.event_bus.set_identity(
            device,
            identity,
            &[
                JoinRequest::new(topics::device(id)),
                JoinRequest::new(topics::devices()),
            ],
        );
        state.merge_telemetry(id, fields);
        if attached.came_online {
            self.on_presence_changed(&mut state, id, now);
        }
        self.publish_seen(&mut state, id, now);
        drop(state);
        self.wake.notify_one();
        true
    }

    /// Handles a report of a device. Reports of a replaced connection are ignored.
    pub(super) fn on_device_report(&self, id: &str, device: ConnectionId, report: DeviceReport) {
        let now = self.now();
        let mut state = self.lock();
        if !state.registry.is_current_device(id, device) {
            return;
        }
        if state.registry.set_online(id, true, now) {
            self.on_presence_changed(&mut state, id, now);
        }
        match report {
            DeviceReport::Telemetry(telemetry) => {
                self.publish_telemetry(&mut state, id, telemetry, now)
            }
            DeviceReport::CommandResponse {
                command,
                status,
                position,
            } => self.resolve_command(&mut state, id, &command, &status, &position, now),
            DeviceReport::Identify(fields) => state.merge_telemetry(id, &fields),
            DeviceReport::Heartbeat | DeviceReport::Unknown => {}
        }
        self.publish_seen(&mut state, id, now);
        drop(state);
        self.wake.notify_one();
    }

    /// Handles the disconnect of a device.
    pub(super) fn on_device_disconnected(&self, id: &str, device: ConnectionId) {
        let now = self.now();
        let mut state = self.lock();
        if state.registry.detach_device(id, device) {
            self.on_presence_changed(&mut state, id, now);
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Sets a module's online flag for an authorised caller. Returns `false` if the module does not
    /// exist.
    pub(super) fn set_online(&self, id: &str, online: bool) -> bool {
        let now = self.now();
        let mut state = self.lock();
        if state.registry.get(id).is_none() {
            return false;
        }
        let changed = state.registry.set_online(id, online, now);
        if changed {
            self.on_presence_changed(&mut state, id, now);
        }
        drop(state);
        self.wake.notify_one();
        true
    }

    /// Records that a module was seen, with telemetry if given, for an authorised caller. Returns
    /// `false` if the module does not exist.
    pub(super) fn record_seen(&self, id: &str, telemetry: Option<Map<String, Value>>) -> bool {
        let now = self.now();
        let mut state = self.lock();
        let Some(module) = state.registry.get(id) else {
            return false;
        };
        let online = module.online;
        state.registry.set_online(id, online, now);
        if let Some(telemetry) = telemetry {
            self.publish_telemetry(&mut state, id, telemetry, now);
        }
        self.publish_seen(&mut state, id, now);
        drop(state);
        self.wake.notify_one();
        true
    }

    /// Returns the states of the modules that a user may see.
    pub(super) fn states_for(&self, user: &WebUser) -> Value {
        let state = self.lock();
        match user.is_admin {
            true => self.event_builder.states_payload(state.registry.iter()),
            false => self
                .event_builder
                .states_payload(state.registry.owned_by(&user.id)),
        }
    }

    /// Returns a user's own modules in the list format of the oldest clients.
    pub(super) fn own_modules(&self, user: &UserId) -> Value {
        events::modules_state_payload(self.lock().registry.owned_by(user))
    }

    /// Returns `{totalModules, onlineModules, offlineModules, moduleTypes}` of the modules that a
    /// user may see.
    pub(super) fn summary_for(&self, user: &WebUser) -> Value {
        let state = self.lock();
        match user.is_admin {
            true => events::summary_payload(state.registry.iter()),
            false => events::summary_payload(state.registry.owned_by(&user.id)),
        }
    }

    fn on_presence_changed(&self, state: &mut ServiceState, id: &str, now: Millis) {
        let Some(module) = state.registry.get(id) else {
            return;
        };
        self.publish(self.event_builder.presence_events(module));
        let (id, online) = (module.record.id.clone(), module.online);
        if !online {
            state.pending_commands.remove_module(&id);
        }
        state.unsaved.insert(id, true);
        state.schedule_stats(now);
    }

    fn publish_seen(&self, state: &mut ServiceState, id: &str, now: Millis) {
        let Some(module) = state.registry.get(id) else {
            return;
        };
        let id = module.record.id.clone();
        if state.seen_throttle.push(id.clone(), (), now).is_some() {
            self.publish(self.event_builder.last_seen_events(module, now));
        }
        state.unsaved.entry(id).or_insert(false);
    }

    fn publish_telemetry(
        &self,
        state: &mut ServiceState,
        id: &str,
        telemetry: Map<String, Value>,
        now: Millis,
    ) {
        let Some(module) = state.registry.set_telemetry(id, telemetry) else {
            return;
        };
        if state
            .telemetry_throttle
            .push(module.record.id.clone(), (), now)
            .is_some()
        {
            self.publish(self.event_builder.telemetry_events(module, now));
        }
    }

    /// Returns the time at which [`ModuleService::run_timers`] should be called next.
    pub(super) fn next_timer(&self) -> Millis {
        let state = self.lock();
        let groups = state
            .seen_throttle
            .next_due()
            .into_iter()
            .chain(state.telemetry_throttle.next_due());
        groups
            .chain(state.stats_due_at)
            .fold(state.sweep_at, Millis::min)
    }

    /// Publishes throttled events that are due, and marks silent modules as offline.
    pub(super) fn run_timers(&self) {
        let now = self.now();
        let mut state = self.lock();
        for (id, ()) in state.seen_throttle.take_due(now) {
            self.publish(
                state
                    .registry
                    .get(&id)
                    .into_iter()
                    .flat_map(|module| self.event_builder.last_seen_events(module, now)),
            );
        }
        for (id, ()) in state.telemetry_throttle.take_due(now) {
            self.publish(
                state
                    .registry
                    .get(&id)
                    .into_iter()
                    .flat_map(|module| self.event_builder.telemetry_events(module, now)),
            );
        }
        if now >= state.sweep_at {
            state.sweep_at = now + SWEEP_INTERVAL_MS.min(self.offline_after_ms);
            for id in state.registry.expire_silent(now - self.offline_after_ms) {
                self.on_presence_changed(&mut state, &id, now);
            }
        }
        if state.stats_due_at.is_some_and(|at| now >= at) {
            state.stats_due_at = None;
            self.publish_stats(&mut state, now);
        }
    }

    /// Schedules new counts, because the set of connected clients may have changed.
    pub(super) fn on_viewers_changed(&self) {
        let now = self.now();
        self.lock().schedule_stats(now);
        self.wake.notify_one();
    }

    /// Publishes the counts after the engine has read a new row of them.
    pub(super) fn on_stats_row(&self, row: Value) {
        let now = self.now();
        let mut state = self.lock();
        state.admin_stats.set_row(row);
        self.publish_stats(&mut state, now);
    }

    fn publish_stats(&self, state: &mut ServiceState, now: Millis) {
        let events =
            state
                .admin_stats
                .changed_events(&self.event_bus, state.registry.counts(), now);
        self.publish(events);
    }

    /// Returns the current `{stats, timestamp}` and `{users, modules, timestamp}`.
    pub(super) fn stats(&self) -> (Value, Value) {
        let (now, state) = (self.now(), self.lock());
        let counts = state.registry.counts();
        (
            state.admin_stats.full_stats(&self.event_bus, counts, now),
            state.admin_stats.simple_stats(&self.event_bus, counts, now),
        )
    }

    /// Takes at most `limit` states to save: all changed ones, or only those whose online flag
    /// changed.
    pub(super) fn take_unsaved(&self, limit: usize, all: bool) -> Vec<ModuleStateRow> {
        let mut state = self.lock();
        let candidates = state.unsaved.iter().filter(|(_, urgent)| all || **urgent);
        let ids: Vec<_> = candidates.take(limit).map(|(id, _)| id.clone()).collect();
        for id in &ids {
            state.unsaved.remove(id);
        }
        let row = |id: &ModuleId| {
            let module = state.registry.get(id)?;
            let telemetry = module
                .telemetry
                .as_deref()
                .map(|telemetry| Value::Object(telemetry.clone()).to_string());
            Some(ModuleStateRow {
                id: id.to_string(),
                is_online: module.online,
                last_seen_ms: module.last_seen,
                telemetry,
            })
        };
        ids.iter().filter_map(row).collect()
    }

    /// Puts back states that could not be saved, so that they are retried.
    pub(super) fn restore_unsaved(&self, rows: &[ModuleStateRow]) {
        self.lock()
            .unsaved
            .extend(rows.iter().map(|row| (ModuleId::from(&*row.id), true)));
    }
}

impl ServiceState {
    pub(super) fn schedule_stats(&mut self, now: Millis) {
        self.stats_due_at.get_or_insert(now + STATS_DELAY_MS);
    }

    /// Forgets pending events, commands and states of a removed module.
    pub(super) fn remove_module(&mut self, id: &ModuleId) {
        self.seen_throttle.remove(id);
        self.telemetry_throttle.remove(id);
        self.pending_commands.remove_module(id);
        self.unsaved.remove(id);
    }

    /// Merges the telemetry of a device's identification into its last known telemetry.
    fn merge_telemetry(&mut self, id: &str, fields: &Map<String, Value>) {
        let reported = || {
            fields
                .iter()
                .filter(|(name, _)| matches!(name.as_str(), "uptime" | "position"))
        };
        if reported().next().is_none() {
            return;
        }
        let telemetry = self
            .registry
            .get(id)
            .and_then(|module| module.telemetry.as_deref().cloned());
        let mut telemetry = telemetry.unwrap_or_default();
        telemetry.extend(reported().map(|(name, value)| (name.clone(), value.clone())));
        self.registry.set_telemetry(id, telemetry);
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
