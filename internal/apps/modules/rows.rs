//! The table of modules against what is known: who changed a row, by whatever means, clients hear of it.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::hub::exchange::ConnId;
use crate::ident::UserId;
use crate::postgres::DatabaseError;
use crate::postgres::apps::modules::StoredModule;

use crate::apps::modules::dates::Millis;
use crate::apps::modules::news::{News, Row};
use crate::apps::modules::office::{NO_LONGER, Office, State};
use crate::apps::modules::registry::{Facts, ModuleId, Turn};
use crate::apps::modules::store::Store;

/// Rows read at once.
const PAGE: usize = 1_000;

/// Reads all rows, and forgets what the table has no more. At most `most` are kept in mind.
pub(super) async fn read_all(
    office: &Office,
    store: &dyn Store,
    most: usize,
) -> Result<(), DatabaseError> {
    let mut there = HashSet::new();
    let mut after: Option<String> = None;
    loop {
        let rows = store.page(after.as_deref(), PAGE).await?;
        let last = rows.len() < PAGE;
        let room = most.saturating_sub(there.len());
        if rows.len() > room {
            tracing::warn!(
                limit = most,
                "more modules than may be kept in mind; the others are not served"
            );
        }
        after = rows.last().map(|row| row.id.clone());
        there.extend(rows.iter().take(room).map(|row| ModuleId::from(&*row.id)));
        office.found(rows.into_iter().take(room));
        if last || there.len() >= most {
            break;
        }
    }
    office.keep_only(&there);
    Ok(())
}

/// Reads these rows.
pub(super) async fn read(
    office: &Office,
    store: &dyn Store,
    ids: &[String],
    most: usize,
) -> Result<(), DatabaseError> {
    let rows = store.named(ids).await?;
    let there: HashSet<&str> = rows.iter().map(|row| &*row.id).collect();
    let gone: Vec<&String> = ids
        .iter()
        .filter(|id| !there.contains(id.as_str()))
        .collect();
    office.gone(gone.iter().map(|id| id.as_str()));
    let room = most.saturating_sub(office.lock().registry.counts().0);
    let is_known = |row: &StoredModule| office.lock().registry.get(&row.id).is_some();
    let (known, new): (Vec<_>, Vec<_>) = rows.into_iter().partition(is_known);
    office.found(known.into_iter().chain(new.into_iter().take(room)));
    Ok(())
}

impl Office {
    /// What the table says of these modules now.
    fn found(&self, rows: impl Iterator<Item = StoredModule>) {
        let now = self.now();
        let mut ended = Vec::new();
        // A lock a row: a thousand of them must not hold up every device.
        for row in rows {
            let mut state = self.lock();
            ended.extend(self.set(&mut state, row, now));
        }
        self.end(ended);
    }

    fn set(&self, state: &mut State, row: StoredModule, now: Millis) -> Option<ConnId> {
        let (last_seen, telemetry) = (row.last_seen_ms, row.telemetry.as_deref().and_then(object));
        let facts = facts(row);
        let turn = state.registry.set(facts.clone());
        state
            .registry
            .recall(&facts.id, last_seen, telemetry.map(Arc::new));
        if !state.loaded || turn == Turn::Same {
            return None;
        }
        let from = match &turn {
            Turn::Moved { from } => Some(from.clone()),
            Turn::Same | Turn::Added | Turn::Updated => None,
        };
        self.say(told(&facts, turn, now));
        state.count_again(now);
        self.wake.notify_one();
        // Nobody's module may not speak, and another one's proves itself again.
        from.flatten()
            .and_then(|_| state.registry.device(&facts.id))
    }

    /// The table has these modules no more.
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

    fn keep_only(&self, there: &HashSet<ModuleId>) {
        let known: Vec<ModuleId> = self
            .lock()
            .registry
            .iter()
            .map(|module| module.facts.id.clone())
            .collect();
        let gone: Vec<_> = known.into_iter().filter(|id| !there.contains(id)).collect();
        self.gone(gone.iter().map(|id| &**id));
        self.lock().loaded = true;
    }

    fn end(&self, devices: Vec<ConnId>) {
        for device in devices {
            self.exchange.dismiss(device, NO_LONGER);
        }
    }
}

/// Who hears what of a changed row.
fn told(facts: &Facts, turn: Turn, now: Millis) -> Vec<News> {
    let to = |row: Row, user: Option<&UserId>| user.map(|user| row.to_user(facts, user, now));
    let mut news = Vec::new();
    match turn {
        Turn::Same => {}
        Turn::Added => {
            news.extend(to(Row::Added, facts.holder()));
            news.extend(Row::Added.to_admins(facts, now));
        }
        Turn::Updated => {
            news.extend(to(Row::Updated, facts.holder()));
            news.extend(Row::Updated.to_admins(facts, now));
        }
        Turn::Moved { from } => {
            // What is said to who had it names nobody who has it now.
            let lost = Facts {
                owner: None,
                claimed: false,
                ..facts.clone()
            };
            news.extend(
                from.as_ref()
                    .map(|from| Row::Removed.to_user(&lost, from, now)),
            );
            news.extend(to(Row::Added, facts.holder()));
            news.extend(Row::Updated.to_admins(facts, now));
        }
    }
    news
}

fn facts(row: StoredModule) -> Facts {
    let text = |text: Option<String>| text.map(Into::into);
    let owner = row.user.map(|user| UserId::new(&user));
    Facts {
        id: row.id.into(),
        name: text(row.name),
        kind: text(row.kind),
        owner,
        claimed: row.claimed,
    }
}

fn object(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(text).ok()
}
