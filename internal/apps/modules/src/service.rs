//! The central service of the app. It orders all events of modules (device reports, table rows,
//! timers) and publishes the resulting events to web clients. Nothing here blocks.
//!
//! One lock protects the registry. It is held while an event is published, so that clients receive
//! changes in the order in which they were made. The event bus lock ranks below it, and no holder
//! of that lock calls back into this module.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use latido_base::clock::Clock;
use latido_event_bus::{ConnectionId, EventBus, Identity, JoinRequest, Publish};

use crate::device::frame::DeviceReport;
use crate::device_commands::{self, COMMAND_EVENT, CommandError};
use crate::events::{self, EventBuilder, OutgoingEvent};
use crate::service_state::ServiceState;
use crate::time_format::Millis;
use crate::topics;
use crate::user::WebUser;

/// The close reason of a device's older connection.
pub(super) const NEW_SESSION: &str = "New session";
/// The close reason of a device whose module has lost its owner.
pub(super) const OWNER_LOST: &str = "Authentication failed";
/// The interval between searches for silent modules, in milliseconds.
const SWEEP_INTERVAL_MS: Millis = 60_000;

/// The service; see the module's documentation.
pub(super) struct ModuleService {
    pub(super) event_bus: Arc<EventBus>,
    clock: Clock,
    pub(super) event_builder: EventBuilder,
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
        let sweep_at = now + SWEEP_INTERVAL_MS.min(offline_after_ms);
        let state = ServiceState::new(group_ms, now, sweep_at);
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
        // This fails only if the connection is closed and its disconnect is about to be reported.
        let _ = self.event_bus.set_identity(
            device,
            Identity::default(),
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

    /// Sends a command on behalf of a user that owns the module or is an administrator.
    pub(super) fn send_command(
        &self,
        user: &WebUser,
        id: &str,
        command: &str,
        params: &Value,
    ) -> Result<Millis, CommandError> {
        let now = self.now();
        let mut state = self.lock();
        let module = state
            .registry
            .get(id)
            .filter(|module| device_commands::can_command(user, module))
            .ok_or(CommandError::NotFound)?;
        if !module.online {
            return Err(CommandError::Offline);
        }
        let id = module.record.id.clone();
        if !state.pending_commands.has_capacity(&id, now) {
            return Err(CommandError::TooManyPending);
        }
        let payload =
            json!({"moduleId": &*id, "command": command, "params": params, "at": now}).to_string();
        let publish = Publish::new([topics::device(&id)], COMMAND_EVENT, payload);
        match self.event_bus.publish(publish) {
            Ok(published) if published.reached > 0 => {
                state.pending_commands.add(&id, command, &user.id, now)
            }
            Ok(_) => return Err(CommandError::Offline),
            Err(_) => return Err(CommandError::Overloaded),
        }
        self.publish(events::command_sent_events(&id, command, &user.id, now));
        Ok(now)
    }

    /// Publishes a device's response on behalf of an authorised caller. Returns `false` if the
    /// module does not exist.
    pub(super) fn on_command_response(&self, id: &str, report: DeviceReport) -> bool {
        let DeviceReport::CommandResponse {
            command,
            status,
            position,
        } = report
        else {
            return false;
        };
        let now = self.now();
        let mut state = self.lock();
        if state.registry.get(id).is_none() {
            return false;
        }
        self.resolve_command(&mut state, id, &command, &status, &position, now);
        true
    }

    /// Publishes a device's response and resolves the pending command, so that its sender receives
    /// it.
    pub(super) fn resolve_command(
        &self,
        state: &mut ServiceState,
        id: &str,
        command: &str,
        status: &str,
        position: &Value,
        now: Millis,
    ) {
        let Some(module) = state.registry.get(id) else {
            return;
        };
        let sender = state
            .pending_commands
            .take_sender(&module.record.id, command, now);
        self.publish([events::command_response_event(
            &module.record,
            sender.as_ref(),
            command,
            status,
            position,
            now,
        )]);
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
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
