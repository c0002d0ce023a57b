//! Where all that happens to modules comes together, in one order: what devices say, what rows say, what time says; and what is said of
//! it to web clients. Nothing here waits.
//!
//! One lock around the registry, held while an event is published, so that clients hear of changes in the order in which they were made.
//! The exchange's own lock is below it, and nobody who holds that comes back here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::hub::exchange::{ConnId, Exchange, Identity, Join};
use crate::ident::UserId;
use crate::postgres::apps::modules::StateRow;

use crate::apps::modules::commands::Commands;
use crate::apps::modules::dates::Millis;
use crate::apps::modules::device::frame::Report;
use crate::apps::modules::grouping::Grouping;
use crate::apps::modules::identity::Person;
use crate::apps::modules::news::{self, Locale, News};
use crate::apps::modules::registry::{ModuleId, Registry};
use crate::apps::modules::tally::Tally;
use crate::apps::modules::topics;

/// Why a device's older connection goes.
pub(super) const NEW_SESSION: &str = "New session";
/// Why the connection of a module goes that is nobody's any more.
pub(super) const NO_LONGER: &str = "Authentication failed";
/// How often silent modules are looked for.
const SWEEP_MS: Millis = 60_000;
/// How long changes of counts are gathered before administrators are told.
const TALLY_MS: Millis = 250;

pub(super) struct State {
    pub(super) registry: Registry,
    /// Whether all rows were read once: before, what they say is no news.
    pub(super) loaded: bool,
    seen: Grouping<ModuleId, ()>,
    told: Grouping<ModuleId, ()>,
    pub(super) commands: Commands,
    /// What has changed since it was last kept; true: whether it is online, which others ask the table about.
    unsaved: HashMap<ModuleId, bool>,
    sweep_at: Millis,
    /// When administrators are to be told of changed counts.
    tally_at: Option<Millis>,
    tally: Tally,
}

/// See the module's documentation.
pub(super) struct Office {
    pub(super) exchange: Arc<Exchange>,
    clock: Clock,
    locale: Locale,
    stale_ms: Millis,
    state: Mutex<State>,
    /// Rung when [`Office::next_due`] may be sooner than it was.
    pub(super) wake: Notify,
}

impl Office {
    pub(super) fn new(
        exchange: Arc<Exchange>,
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

    /// No operation leaves the state half-changed, so a panic elsewhere must not stop all modules.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Web clients live in tokio and have mailboxes: these are never refused.
    pub(super) fn say(&self, news: impl IntoIterator<Item = News>) {
        for news in news.into_iter().filter(|news| !news.to.is_empty()) {
            let _ = self.exchange.publish(news.publish());
        }
    }

    /// A device has proved that it is this module; whether it may go on. Its older connection goes and it takes the place under one lock, so
    /// that a command finds one of them and not both.
    pub(super) fn device_came(
        &self,
        id: &str,
        device: ConnId,
        fields: &Map<String, Value>,
    ) -> bool {
        let now = self.now();
        let mut state = self.lock();
        let Some(arrival) = state.registry.arrived(id, device, now) else {
            return false;
        };
        if let Some(old) = arrival.replaced {
            self.exchange.dismiss(old, NEW_SESSION);
        }
        let identity = Identity {
            user: None,
            session: Some(id.into()),
            role: Some("device".into()),
        };
        // It fails only for a connection that is gone, and whose leaving is about to be told.
        let _ = self.exchange.identify(
            device,
            identity,
            &[Join::new(topics::device(id)), Join::new(topics::devices())],
        );
        state.overlay(id, fields);
        if arrival.came_online {
            self.presence_changed(&mut state, id, now);
        }
        self.was_seen(&mut state, id, now);
        drop(state);
        self.wake.notify_one();
        true
    }

    /// A device says something. One that was replaced says nothing any more.
    pub(super) fn device_said(&self, id: &str, device: ConnId, report: Report) {
        let now = self.now();
        let mut state = self.lock();
        if !state.registry.speaks_for(id, device) {
            return;
        }
        if state.registry.turn(id, true, now) {
            self.presence_changed(&mut state, id, now);
        }
        match report {
            Report::Telemetry(told) => self.was_told(&mut state, id, told, now),
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

    /// A device has gone.
    pub(super) fn device_left(&self, id: &str, device: ConnId) {
        let now = self.now();
        let mut state = self.lock();
        if state.registry.left(id, device) {
            self.presence_changed(&mut state, id, now);
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Somebody who may say so says that a module came or went; None: there is no such module.
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

    /// The same of what a module told; whether there is such a module.
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

    /// The states of the modules that somebody may see.
    pub(super) fn states(&self, person: &Person) -> Value {
        let state = self.lock();
        match person.is_admin {
            true => self.locale.states(state.registry.iter()),
            false => self.locale.states(state.registry.of_holder(&person.user)),
        }
    }

    /// The list that the oldest clients know, of somebody's own modules.
    pub(super) fn own_list(&self, user: &UserId) -> Value {
        news::modules_state(self.lock().registry.of_holder(user))
    }

    /// `{totalModules, onlineModules, offlineModules, moduleTypes}` of the modules that somebody may see.
    pub(super) fn summary(&self, person: &Person) -> Value {
        let state = self.lock();
        match person.is_admin {
            true => news::summary(state.registry.iter()),
            false => news::summary(state.registry.of_holder(&person.user)),
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

    fn was_told(&self, state: &mut State, id: &str, told: Map<String, Value>, now: Millis) {
        let Some(module) = state.registry.told(id, told) else {
            return;
        };
        if state.told.offer(module.facts.id.clone(), (), now).is_some() {
            self.say(self.locale.telemetry(module, now));
        }
    }

    /// When [`Office::due`] should be called next.
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

    /// Says what was held back until now, and looks for modules that have gone silent.
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

    /// Who is connected may have changed.
    pub(super) fn touch(&self) {
        let now = self.now();
        self.lock().count_again(now);
        self.wake.notify_one();
    }

    /// The engine has read a new row of counts.
    pub(super) fn counted(&self, row: Value) {
        let now = self.now();
        let mut state = self.lock();
        state.tally.read(row);
        self.tell_counts(&mut state, now);
    }

    fn tell_counts(&self, state: &mut State, now: Millis) {
        let news = state
            .tally
            .news(&self.exchange, state.registry.counts(), now);
        self.say(news);
    }

    /// `{stats, timestamp}` and `{users, modules, timestamp}` as they are now.
    pub(super) fn stats(&self) -> (Value, Value) {
        let (now, state) = (self.now(), self.lock());
        let counts = state.registry.counts();
        (
            state.tally.stats(&self.exchange, counts, now),
            state.tally.simple(&self.exchange, counts, now),
        )
    }

    /// What is to be kept now, at most so many: all that changed, or those that came or went.
    pub(super) fn unsaved(&self, limit: usize, all: bool) -> Vec<StateRow> {
        let mut state = self.lock();
        let wanted = state.unsaved.iter().filter(|(_, urgent)| all || **urgent);
        let ids: Vec<_> = wanted.take(limit).map(|(id, _)| id.clone()).collect();
        for id in &ids {
            state.unsaved.remove(id);
        }
        let row = |id: &ModuleId| {
            let module = state.registry.get(id)?;
            let telemetry = module
                .telemetry
                .as_deref()
                .map(|told| Value::Object(told.clone()).to_string());
            Some(StateRow {
                id: id.to_string(),
                online: module.online,
                last_seen_ms: module.last_seen,
                telemetry,
            })
        };
        ids.iter().filter_map(row).collect()
    }

    /// These could not be kept: they are to be tried again.
    pub(super) fn still_unsaved(&self, rows: &[StateRow]) {
        self.lock()
            .unsaved
            .extend(rows.iter().map(|row| (ModuleId::from(&*row.id), true)));
    }
}

impl State {
    pub(super) fn count_again(&mut self, now: Millis) {
        self.tally_at.get_or_insert(now + TALLY_MS);
    }

    /// Forgets what waits to be said of a module that is no more.
    pub(super) fn forget(&mut self, id: &ModuleId) {
        self.seen.forget(id);
        self.told.forget(id);
        self.commands.forget(id);
        self.unsaved.remove(id);
    }

    /// What a device tells when it introduces itself, over what it told before.
    fn overlay(&mut self, id: &str, fields: &Map<String, Value>) {
        let news = || {
            fields
                .iter()
                .filter(|(name, _)| matches!(name.as_str(), "uptime" | "position"))
        };
        if news().next().is_none() {
            return;
        }
        let told = self
            .registry
            .get(id)
            .and_then(|module| module.telemetry.as_deref().cloned());
        let mut told = told.unwrap_or_default();
        told.extend(news().map(|(name, value)| (name.clone(), value.clone())));
        self.registry.told(id, told);
    }
}

#[cfg(test)]
#[path = "office_tests.rs"]
mod tests;
