//! Synchronises the registry with the modules table, and publishes changed rows, whatever program
//! changed them.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::database::StoredModule;
use latido_base::ident::UserId;
use latido_event_bus::ConnectionId;
use latido_postgres::DatabaseError;

use crate::events::{OutgoingEvent, RowEvent};
use crate::registry::{ModuleId, ModuleRecord, RowChange};
use crate::service::{ModuleService, OWNER_LOST};
use crate::service_state::ServiceState;
use crate::store::ModuleStore;
use crate::time_format::Millis;

/// The number of rows per read.
const ROWS_PER_READ: usize = 1_000;

/// Reads all rows, and removes modules that the table no longer has. Keeps at most `most` modules.
pub(super) async fn sync_all(
    office: &ModuleService,
    store: &dyn ModuleStore,
    max_modules: usize,
) -> Result<(), DatabaseError> {
    let mut present = HashSet::new();
    let mut after: Option<String> = None;
    loop {
        let rows = store.read_page(after.as_deref(), ROWS_PER_READ).await?;
        let last = rows.len() < ROWS_PER_READ;
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
        office.apply_rows(rows.into_iter().take(capacity));
        if last || present.len() >= max_modules {
            break;
        }
    }
    office.retain_modules(&present);
    Ok(())
}

/// Reads these rows and applies their changes.
pub(super) async fn sync_rows(
    office: &ModuleService,
    store: &dyn ModuleStore,
    ids: &[String],
    max_modules: usize,
) -> Result<(), DatabaseError> {
    let rows = store.read_modules(ids).await?;
    let present: HashSet<&str> = rows.iter().map(|row| &*row.id).collect();
    let missing: Vec<&String> = ids
        .iter()
        .filter(|id| !present.contains(id.as_str()))
        .collect();
    office.remove_modules(missing.iter().map(|id| id.as_str()));
    let capacity = max_modules.saturating_sub(office.lock().registry.counts().0);
    let is_known = |row: &StoredModule| office.lock().registry.get(&row.id).is_some();
    let (known, new): (Vec<_>, Vec<_>) = rows.into_iter().partition(is_known);
    office.apply_rows(known.into_iter().chain(new.into_iter().take(capacity)));
    Ok(())
}

impl ModuleService {
    /// Applies rows of the table to the registry.
    fn apply_rows(&self, rows: impl Iterator<Item = StoredModule>) {
        let now = self.now();
        let mut ended = Vec::new();
        // One lock per row: a thousand rows under one lock would block every device.
        for row in rows {
            let mut state = self.lock();
            ended.extend(self.apply_row(&mut state, row, now));
        }
        self.disconnect_devices(ended);
    }

    fn apply_row(
        &self,
        state: &mut ServiceState,
        row: StoredModule,
        now: Millis,
    ) -> Option<ConnectionId> {
        let (last_seen, telemetry) = (
            row.last_seen_ms,
            row.telemetry.as_deref().and_then(parse_object),
        );
        let record = to_record(row);
        let change = state.registry.apply_row(record.clone());
        state
            .registry
            .restore(&record.id, last_seen, telemetry.map(Arc::new));
        if !state.is_loaded || change == RowChange::Unchanged {
            return None;
        }
        let from = match &change {
            RowChange::OwnerChanged { from } => Some(from.clone()),
            RowChange::Unchanged | RowChange::Added | RowChange::Updated => None,
        };
        self.publish(row_events(&record, change, now));
        state.schedule_stats(now);
        self.wake.notify_one();
        // The device of a module without an owner may not continue, and the device of a new owner
        // must authenticate again.
        from.flatten()
            .and_then(|_| state.registry.device(&record.id))
    }

    /// Removes modules that the table no longer has.
    fn remove_modules<'a>(&self, ids: impl Iterator<Item = &'a str>) {
        let now = self.now();
        let mut ended = Vec::new();
        for id in ids {
            let mut state = self.lock();
            ended.extend(state.registry.device(id));
            let Some(module) = state.registry.remove(id) else {
                continue;
            };
            state.remove_module(&module.record.id);
            let holder = module.record.claimed_owner().cloned();
            self.publish(
                holder
                    .iter()
                    .map(|holder| RowEvent::Removed.user_event(&module.record, holder, now)),
            );
            self.publish(RowEvent::Removed.admin_events(&module.record, now));
            state.schedule_stats(now);
        }
        self.wake.notify_one();
        self.disconnect_devices(ended);
    }

    fn retain_modules(&self, present: &HashSet<ModuleId>) {
        let known: Vec<ModuleId> = self
            .lock()
            .registry
            .iter()
            .map(|module| module.record.id.clone())
            .collect();
        let missing: Vec<_> = known
            .into_iter()
            .filter(|id| !present.contains(id))
            .collect();
        self.remove_modules(missing.iter().map(|id| &**id));
        self.lock().is_loaded = true;
    }

    fn disconnect_devices(&self, devices: Vec<ConnectionId>) {
        for device in devices {
            self.event_bus.kick(device, OWNER_LOST);
        }
    }
}

/// Returns the events for a changed row: to the owners and to administrators.
fn row_events(record: &ModuleRecord, change: RowChange, now: Millis) -> Vec<OutgoingEvent> {
    let to =
        |row: RowEvent, user: Option<&UserId>| user.map(|user| row.user_event(record, user, now));
    let mut events = Vec::new();
    match change {
        RowChange::Unchanged => {}
        RowChange::Added => {
            events.extend(to(RowEvent::Added, record.claimed_owner()));
            events.extend(RowEvent::Added.admin_events(record, now));
        }
        RowChange::Updated => {
            events.extend(to(RowEvent::Updated, record.claimed_owner()));
            events.extend(RowEvent::Updated.admin_events(record, now));
        }
        RowChange::OwnerChanged { from } => {
            // The event for the previous owner must not contain the new owner's id.
            let released = ModuleRecord {
                owner: None,
                claimed: false,
                ..record.clone()
            };
            events.extend(
                from.as_ref()
                    .map(|from| RowEvent::Removed.user_event(&released, from, now)),
            );
            events.extend(to(RowEvent::Added, record.claimed_owner()));
            events.extend(RowEvent::Updated.admin_events(record, now));
        }
    }
    events
}

fn to_record(row: StoredModule) -> ModuleRecord {
    let text = |text: Option<String>| text.map(Into::into);
    let owner = row.user.map(|user| UserId::new(&user));
    ModuleRecord {
        id: row.id.into(),
        name: text(row.name),
        kind: text(row.kind),
        owner,
        claimed: row.is_claimed,
    }
}

fn parse_object(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(text).ok()
}
