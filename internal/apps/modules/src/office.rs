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

use crate::commands::Commands;
use crate::dates::Millis;
use crate::device::frame::Report;
use crate::grouping::Grouping;
use crate::identity::Person;
use crate::news::{self, Locale, News};
use crate::registry::{ModuleId, Registry};
use crate::tally::Tally;
use crate::topics;

/// The close reason of a device's older connection.
pub(super) const NEW_SESSION: &str = "New session";
/// The close reason of a device whose module has lost its owner.
pub(super) const NO_LONGER: &str = "Authentication failed";
/// The interval between searches for silent modules, in milliseconds.
const SWEEP_MS: Millis = 60_000;
/// The delay in which changes of the counts are collected before administrators receive them, in
/// milliseconds.
const TALLY_MS: Millis = 250;

pub(super) struct State {
    pub(super) registry: Registry,
    /// `true` once all rows were read. Earlier rows are initial state and cause no events.
    pub(super) loaded: bool,
    seen: Grouping<ModuleId, ()>,
    told: Grouping<ModuleId, ()>,
    pub(super) commands: Commands,
    /// The modules with unsaved changes. `true` if the online flag changed, which other programs
    /// read from the table.
    unsaved: HashMap<ModuleId, bool>,
    sweep_at: Millis,
    /// The time at which administrators receive changed counts.
    tally_at: Option<Millis>,
    tally: Tally,
}

/// The service; see the module's documentation.
pub(super) struct Office {
    pub(super) exchange: Arc<EventBus>,
    clock: Clock,
    locale: Locale,
    stale_ms: Millis,
    state: Mutex<State>,
    /// Notified when [`ModuleService::next_timer`] may have become earlier.
    pub(super) wake: Notify,
}

impl Office {
    pub(super) fn new(
        exchange: Arc<EventBus>,
        clock: Clock,
        locale: Locale,
        group_ms: Millis,
        stale_ms: Millis,
    ) -> Self {
        let now = clock.now().as_millisecond();
        let state = State {
            registry: Registry::default(),
            loaded: false,
            seen: Grouping::new(group_ms),
            told: Grouping::new(group_ms),
            commands: Commands::default(),
            unsaved: HashMap::new(),
            sweep_at: now + SWEEP_MS.min(stale_ms),
            tally_at: None,
            tally: Tally::new(now),
        };
        Self {
            exchange,
            clock,
            locale,
            stale_ms,
            state: Mutex::new(state),
            wake: Notify::new(),
        }
    }

    pub(super) fn now(&self) -> Millis {
        self.clock.now().as_millisecond()
    }

    /// A poisoned lock is usable: no operation leaves the state half-changed, and a panic elsewhere
    /// must not stop all modules.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes events. Web clients run in Tokio with mailboxes of their own, which never refuse
    /// an event.
    pub(super) fn say(&self, events: impl IntoIterator<Item = News>) {
        for event in events.into_iter().filter(|event| !event.to.is_empty()) {
            let _ = self.exchange.publish(event.publish());
        }
    }

    /// Registers a connection as the device of a module after authentication. Returns `false` if
    /// the module does not exist. The older connection is closed and the new one joins the topic
    /// under one lock, so a command reaches exactly one of them.
    pub(super) fn device_came(
        &self,
        id: &str,
        device: ConnectionId,
        fields: &Map<String, Value>,
    ) -> bool {
        let now = self.now();
        let mut state = self.lock();
        let Some(attached) = state.registry.arrived(id, device, now) else {
            return false;
        };
        if let Some(old) = attached.replaced {
            self.exchange.kick(old, NEW_SESSION);
        }
        let identity = Identity {
            user: None,
            session: Some(id.into()),
            role: Some("device".into()),
        };
        // This fails only if the connection is closed and its disconnect is about to be reported.
        let _ = self.exchange.set_identity(
            device,
            identity,
            &[JoinRequest::new(topics::device(id)), JoinRequest::new(topics::devices())],
        );
        state.overlay(id, fields);
        if attached.came_online {
            self.presence_changed(&mut state, id, now);
        }
        self.was_seen(&mut state, id, now);
        drop(state);
        self.wake.notify_one();
        true
    }

    /// Handles a report of a device. Reports of a replaced connection are ignored.
    pub(super) fn device_said(&self, id: &str, device: ConnectionId, report: Report) {
        let now = self.now();
        let mut state = self.lock();
        if !state.registry.speaks_for(id, device) {
            return;
        }
        if state.registry.turn(id, true, now) {
            self.presence_changed(&mut state, id, now);
        }
        match report {
            Report::Telemetry(telemetry) => self.was_told(&mut state, id, telemetry, now),
            Report::Answer {
                command,
                status,
                position,
            } => self.was_answered(&mut state, id, &command, &status, &position, now),
            Report::Identify(fields) => state.overlay(id, &fields),
            Report::Heartbeat | Report::Unknown => {}
        }
        self.was_seen(&mut state, id, now);
        drop(state);
        self.wake.notify_one();
    }

    /// Handles the disconnect of a device.
    pub(super) fn device_left(&self, id: &str, device: ConnectionId) {
        let now = self.now();
        let mut state = self.lock();
        if state.registry.left(id, device) {
            self.presence_changed(&mut state, id, now);
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Sets a module's online flag for an authorised caller. Returns `true` if it changed, or
    /// `None` if the module does not exist.
    pub(super) fn turn(&self, id: &str, online: bool) -> Option<bool> {
        let now = self.now();
        let mut state = self.lock();
        state.registry.get(id)?;
        let changed = state.registry.turn(id, online, now);
        if changed {
            self.presence_changed(&mut state, id, now);
        }
        drop(state);
        self.wake.notify_one();
        Some(changed)
    }

    /// Records that a module was seen, with telemetry if given, for an authorised caller. Returns
    /// `false` if the module does not exist.
    pub(super) fn tell(&self, id: &str, telemetry: Option<Map<String, Value>>) -> bool {
        let now = self.now();
        let mut state = self.lock();
        let Some(module) = state.registry.get(id) else {
            return false;
        };
        let online = module.online;
        state.registry.turn(id, online, now);
        if let Some(telemetry) = telemetry {
            self.was_told(&mut state, id, telemetry, now);
        }
        self.was_seen(&mut state, id, now);
        drop(state);
        self.wake.notify_one();
        true
    }

    /// Returns the states of the modules that a user may see.
    pub(super) fn states(&self, user: &Person) -> Value {
        let state = self.lock();
        match user.is_admin {
            true => self.locale.states(state.registry.iter()),
            false => self.locale.states(state.registry.of_holder(&user.user)),
        }
    }

    /// Returns a user's own modules in the list format of the oldest clients.
    pub(super) fn own_list(&self, user: &UserId) -> Value {
        news::modules_state(self.lock().registry.of_holder(user))
    }

    /// Returns `{totalModules, onlineModules, offlineModules, moduleTypes}` of the modules that a
    /// user may see.
    pub(super) fn summary(&self, user: &Person) -> Value {
        let state = self.lock();
        match user.is_admin {
            true => news::summary(state.registry.iter()),
            false => news::summary(state.registry.of_holder(&user.user)),
        }
    }

    fn presence_changed(&self, state: &mut State, id: &str, now: Millis) {
        let Some(module) = state.registry.get(id) else {
            return;
        };
        self.say(self.locale.presence(module));
        let (id, online) = (module.facts.id.clone(), module.online);
        if !online {
            state.commands.forget(&id);
        }
        state.unsaved.insert(id, true);
        state.count_again(now);
    }

    fn was_seen(&self, state: &mut State, id: &str, now: Millis) {
        let Some(module) = state.registry.get(id) else {
            return;
        };
        let id = module.facts.id.clone();
        if state.seen.offer(id.clone(), (), now).is_some() {
            self.say(self.locale.seen(module, now));
        }
        state.unsaved.entry(id).or_insert(false);
    }

    fn was_told(&self, state: &mut State, id: &str, telemetry: Map<String, Value>, now: Millis) {
        let Some(module) = state.registry.told(id, telemetry) else {
            return;
        };
        if state.told.offer(module.facts.id.clone(), (), now).is_some() {
            self.say(self.locale.telemetry(module, now));
        }
    }

    /// Returns the time at which [`ModuleService::run_timers`] should be called next.
    pub(super) fn next_due(&self) -> Millis {
        let state = self.lock();
        let groups = state
            .seen
            .next_due()
            .into_iter()
            .chain(state.told.next_due());
        groups
            .chain(state.tally_at)
            .fold(state.sweep_at, Millis::min)
    }

    /// Publishes throttled events that are due, and marks silent modules as offline.
    pub(super) fn due(&self) {
        let now = self.now();
        let mut state = self.lock();
        for (id, ()) in state.seen.due(now) {
            self.say(
                state
                    .registry
                    .get(&id)
                    .into_iter()
                    .flat_map(|module| self.locale.seen(module, now)),
            );
        }
        for (id, ()) in state.told.due(now) {
            self.say(
                state
                    .registry
                    .get(&id)
                    .into_iter()
                    .flat_map(|module| self.locale.telemetry(module, now)),
            );
        }
        if now >= state.sweep_at {
            state.sweep_at = now + SWEEP_MS.min(self.stale_ms);
            for id in state.registry.expire(now - self.stale_ms) {
                self.presence_changed(&mut state, &id, now);
            }
        }
        if state.tally_at.is_some_and(|at| now >= at) {
            state.tally_at = None;
            self.tell_counts(&mut state, now);
        }
    }

    /// Schedules new counts, because the set of connected clients may have changed.
    pub(super) fn touch(&self) {
        let now = self.now();
        self.lock().count_again(now);
        self.wake.notify_one();
    }

    /// Publishes the counts after the engine has read a new row of them.
    pub(super) fn counted(&self, row: Value) {
        let now = self.now();
        let mut state = self.lock();
        state.tally.read(row);
        self.tell_counts(&mut state, now);
    }

    fn tell_counts(&self, state: &mut State, now: Millis) {
        let events = state
            .tally
            .news(&self.exchange, state.registry.counts(), now);
        self.say(events);
    }

    /// Returns the current `{stats, timestamp}` and `{users, modules, timestamp}`.
    pub(super) fn stats(&self) -> (Value, Value) {
        let (now, state) = (self.now(), self.lock());
        let counts = state.registry.counts();
        (
            state.tally.stats(&self.exchange, counts, now),
            state.tally.simple(&self.exchange, counts, now),
        )
    }

    /// Takes at most `limit` states to save: all changed ones, or only those whose online flag
    /// changed.
    pub(super) fn unsaved(&self, limit: usize, all: bool) -> Vec<ModuleStateRow> {
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
    pub(super) fn still_unsaved(&self, rows: &[ModuleStateRow]) {
        self.lock()
            .unsaved
            .extend(rows.iter().map(|row| (ModuleId::from(&*row.id), true)));
    }
}

impl State {
    pub(super) fn count_again(&mut self, now: Millis) {
        self.tally_at.get_or_insert(now + TALLY_MS);
    }

    /// Forgets pending events, commands and states of a removed module.
    pub(super) fn forget(&mut self, id: &ModuleId) {
        self.seen.forget(id);
        self.told.forget(id);
        self.commands.forget(id);
        self.unsaved.remove(id);
    }

    /// Merges the telemetry of a device's identification into its last known telemetry.
    fn overlay(&mut self, id: &str, fields: &Map<String, Value>) {
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
        self.registry.told(id, telemetry);
    }
}

#[cfg(test)]
#[path = "office_tests.rs"]
mod tests;
