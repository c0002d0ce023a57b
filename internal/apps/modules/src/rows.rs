//! Synchronises the registry with the modules table, and publishes changed rows, whatever program
//! changed them.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use latido_base::ident::UserId;
use latido_event_bus::ConnectionId;
use latido_postgres::DatabaseError;
use latido_postgres::apps::modules::StoredModule;

use crate::dates::Millis;
use crate::news::{News, Row};
use crate::office::{NO_LONGER, Office, State};
use crate::registry::{Facts, ModuleId, Turn};
use crate::store::Store;

/// The number of rows per read.
const PAGE: usize = 1_000;

/// Reads all rows, and removes modules that the table no longer has. Keeps at most `most` modules.
pub(super) async fn read_all(
    office: &Office,
    store: &dyn Store,
    max_modules: usize,
) -> Result<(), DatabaseError> {
    let mut present = HashSet::new();
    let mut after: Option<String> = None;
    loop {
        let rows = store.page(after.as_deref(), PAGE).await?;
        let last = rows.len() < PAGE;
        let capacity = max_modules.saturating_sub(present.len());
        if rows.len() > capacity {
            tracing::warn!(
                limit = max_modules,
                "more modules than the configured limit; the others are not served"
            );
        }
        after = rows.last().map(|row| row.id.clone());
        present.extend(
            rows.iter()
                .take(capacity)
                .map(|row| ModuleId::from(&*row.id)),
        );
        office.found(rows.into_iter().take(capacity));
        if last || present.len() >= max_modules {
            break;
        }
    }
    office.keep_only(&present);
    Ok(())
}

/// Reads these rows and applies their changes.
pub(super) async fn read(
    office: &Office,
    store: &dyn Store,
    ids: &[String],
    max_modules: usize,
) -> Result<(), DatabaseError> {
    let rows = store.named(ids).await?;
    let present: HashSet<&str> = rows.iter().map(|row| &*row.id).collect();
    let missing: Vec<&String> = ids
        .iter()
        .filter(|id| !present.contains(id.as_str()))
        .collect();
    office.gone(missing.iter().map(|id| id.as_str()));
    let capacity = max_modules.saturating_sub(office.lock().registry.counts().0);
    let is_known = |row: &StoredModule| office.lock().registry.get(&row.id).is_some();
    let (known, new): (Vec<_>, Vec<_>) = rows.into_iter().partition(is_known);
    office.found(known.into_iter().chain(new.into_iter().take(capacity)));
    Ok(())
}

impl Office {
    /// Applies rows of the table to the registry.
    fn found(&self, rows: impl Iterator<Item = StoredModule>) {
        let now = self.now();
        let mut ended = Vec::new();
        // One lock per row: a thousand rows under one lock would block every device.
        for row in rows {
            let mut state = self.lock();
            ended.extend(self.set(&mut state, row, now));
        }
        self.end(ended);
    }

    fn set(&self, state: &mut State, row: StoredModule, now: Millis) -> Option<ConnectionId> {
        let (last_seen, telemetry) = (row.last_seen_ms, row.telemetry.as_deref().and_then(object));
        let record = facts(row);
        let change = state.registry.set(record.clone());
        state
            .registry
            .recall(&record.id, last_seen, telemetry.map(Arc::new));
        if !state.loaded || change == Turn::Same {
            return None;
        }
        let from = match &change {
            Turn::Moved { from } => Some(from.clone()),
            Turn::Same | Turn::Added | Turn::Updated => None,
        };
        self.say(told(&record, change, now));
        state.count_again(now);
        self.wake.notify_one();
        // The device of a module without an owner may not continue, and the device of a new owner
        // must authenticate again.
        from.flatten()
            .and_then(|_| state.registry.device(&record.id))
    }

    /// Removes modules that the table no longer has.
    fn gone<'a>(&self, ids: impl Iterator<Item = &'a str>) {
        let now = self.now();
        let mut ended = Vec::new();
        for id in ids {
            let mut state = self.lock();
            ended.extend(state.registry.device(id));
            let Some(module) = state.registry.remove(id) else {
                continue;
            };
            state.forget(&module.facts.id);
            let holder = module.facts.holder().cloned();
            self.say(
                holder
                    .iter()
                    .map(|holder| Row::Removed.to_user(&module.facts, holder, now)),
            );
            self.say(Row::Removed.to_admins(&module.facts, now));
            state.count_again(now);
        }
        self.wake.notify_one();
        self.end(ended);
    }

    fn keep_only(&self, present: &HashSet<ModuleId>) {
        let known: Vec<ModuleId> = self
            .lock()
            .registry
            .iter()
            .map(|module| module.facts.id.clone())
            .collect();
        let missing: Vec<_> = known
            .into_iter()
            .filter(|id| !present.contains(id))
            .collect();
        self.gone(missing.iter().map(|id| &**id));
        self.lock().loaded = true;
    }

    fn end(&self, devices: Vec<ConnectionId>) {
        for device in devices {
            self.exchange.kick(device, NO_LONGER);
        }
    }
}

/// Returns the events for a changed row: to the owners and to administrators.
fn told(record: &Facts, change: Turn, now: Millis) -> Vec<News> {
    let to = |row: Row, user: Option<&UserId>| user.map(|user| row.to_user(record, user, now));
    let mut events = Vec::new();
    match change {
        Turn::Same => {}
        Turn::Added => {
            events.extend(to(Row::Added, record.holder()));
            events.extend(Row::Added.to_admins(record, now));
        }
        Turn::Updated => {
            events.extend(to(Row::Updated, record.holder()));
            events.extend(Row::Updated.to_admins(record, now));
        }
        Turn::Moved { from } => {
            // The event for the previous owner must not contain the new owner's id.
            let released = Facts {
                owner: None,
                claimed: false,
                ..record.clone()
            };
            events.extend(
                from.as_ref()
                    .map(|from| Row::Removed.to_user(&released, from, now)),
            );
            events.extend(to(Row::Added, record.holder()));
            events.extend(Row::Updated.to_admins(record, now));
        }
    }
    events
}

fn facts(row: StoredModule) -> Facts {
    let text = |text: Option<String>| text.map(Into::into);
    let owner = row.user.map(|user| UserId::new(&user));
    Facts {
        id: row.id.into(),
        name: text(row.name),
        kind: text(row.kind),
        owner,
        claimed: row.is_claimed,
    }
}

fn object(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(text).ok()
}
