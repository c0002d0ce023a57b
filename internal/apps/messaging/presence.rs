//! Who is here: the lists of the conversations' channels, and what contacts are told.
//!
//! Contacts are asked of the database, so they can't be told under the exchange's lock. Who came or went is noted there, and a task tells
//! what is true a moment later: a client that reconnects at once has not been away.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;
use tokio::time::sleep;
use uuid::Uuid;

use crate::apps::messaging::feed::Source;
use crate::apps::messaging::payload::iso;
use crate::apps::messaging::vocabulary::{Vocabulary, channel, is_roster, present, user_channel};
use crate::clock::Clock;
use crate::hub::exchange::{Change, Diff, Exchange, Presence, Publish, Rules, TopicName};

/// How long somebody must have come or gone before contacts hear of it.
const GRACE: Duration = Duration::from_millis(500);

/// Who is connected to this server, and as what they want to be seen.
#[derive(Debug, Default)]
pub(super) struct Roll {
    /// Below the exchange's lock: held for a look-up, and nobody who holds it calls anything.
    seen: Mutex<Seen>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    /// `online`, `away` or `busy` of everybody who is here; `offline` of who pretends not to be.
    here: HashMap<Uuid, String>,
    /// Whose contacts may have to be told.
    dirty: HashSet<Uuid>,
    /// What was told last; absent: `offline`.
    told: HashMap<Uuid, String>,
    /// How often those who are here were put out of a conversation.
    removals: HashMap<Uuid, u64>,
}

const OFFLINE: &str = "offline";

impl Roll {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everybody who is connected.
    pub(super) fn here(&self) -> Vec<Uuid> {
        self.lock().here.keys().copied().collect()
    }

    /// What somebody who is here wants to be seen as.
    pub(super) fn show(&self, user: Uuid, status: &str) {
        let mut seen = self.lock();
        if let Some(here) = seen.here.get_mut(&user) {
            status.clone_into(here);
            seen.dirty.insert(user);
        }
        drop(seen);
        self.changed.notify_one();
    }

    /// The status of who is here.
    pub(super) fn status(&self, user: Uuid) -> String {
        self.lock()
            .here
            .get(&user)
            .cloned()
            .unwrap_or_else(|| "online".to_owned())
    }

    /// Somebody was put out of a conversation.
    pub(super) fn removed(&self, user: Uuid) {
        let mut seen = self.lock();
        if seen.here.contains_key(&user) {
            *seen.removals.entry(user).or_default() += 1;
        }
    }

    /// How often that has happened to somebody, since the first of the user's connections came.
    pub(super) fn removals(&self, user: Uuid) -> u64 {
        self.lock().removals.get(&user).copied().unwrap_or_default()
    }

    fn note(&self, user: Uuid, change: Change) {
        let mut seen = self.lock();
        match change {
            Change::Came => drop(seen.here.insert(user, "online".to_owned())),
            Change::Went => {
                seen.here.remove(&user);
                seen.removals.remove(&user);
            }
            Change::More | Change::Updated | Change::Fewer => return,
        }
        seen.dirty.insert(user);
        drop(seen);
        self.changed.notify_one();
    }

    /// Users whose contacts believe something else, and what is true.
    fn news(&self) -> Vec<(Uuid, String)> {
        let mut seen = self.lock();
        let dirty = std::mem::take(&mut seen.dirty);
        let mut news = Vec::new();
        for user in dirty {
            let now = seen
                .here
                .get(&user)
                .cloned()
                .unwrap_or_else(|| OFFLINE.to_owned());
            if seen.told.get(&user).map_or(OFFLINE, String::as_str) != now {
                if now == OFFLINE {
                    seen.told.remove(&user)
                } else {
                    seen.told.insert(user, now.clone())
                };
                news.push((user, now));
            }
        }
        news
    }
}

/// What the exchange asks about its topics.
#[derive(Debug)]
pub(super) struct Lists {
    pub(super) roll: Arc<Roll>,
    pub(super) clock: Clock,
}

impl Rules for Lists {
    fn presence(&self, topic: &TopicName) -> Presence {
        match present(topic) {
            Some(_) => Presence::Listed,
            None if is_roster(topic) => Presence::Announced,
            None => Presence::Off,
        }
    }

    fn notices(&self, topic: &TopicName, diff: &Diff) -> Vec<Publish> {
        if let Some(user) = present(topic) {
            self.roll.note(user, diff.change);
            return Vec::new();
        }
        let event = match diff.change {
            Change::Came => "user_joined",
            Change::Went => "user_left",
            Change::More | Change::Updated | Change::Fewer => return Vec::new(),
        };
        let timestamp = iso(self.clock.now().as_microsecond());
        let payload = json!({"user_id": diff.user.as_str(), "timestamp": timestamp}).to_string();
        let topics = Vocabulary::ALL.map(|vocabulary| vocabulary.topic(channel(topic)));
        vec![Publish::new(topics, event, payload).except_user(diff.user.clone())]
    }
}

/// Tells contacts, for as long as the server runs.
pub(super) async fn tell_contacts(
    roll: Arc<Roll>,
    source: Arc<dyn Source>,
    exchange: Arc<Exchange>,
    clock: Clock,
) {
    loop {
        roll.changed.notified().await;
        sleep(GRACE).await;
        for (user, status) in roll.news() {
            match source.contacts(user).await {
                Ok(mut contacts) => {
                    let here: HashSet<Uuid> = roll.here().into_iter().collect();
                    contacts.retain(|contact| here.contains(contact));
                    tell(&exchange, user, &status, &contacts, &clock);
                }
                // It is a courtesy, and the next change of theirs will tell.
                Err(error) => tracing::debug!(%error, "contacts could not be told of a presence"),
            }
        }
    }
}

fn tell(exchange: &Exchange, user: Uuid, status: &str, contacts: &[Uuid], clock: &Clock) {
    let last_seen = iso(clock.now().as_microsecond());
    let payload = json!({"user_id": user, "status": status, "last_seen": last_seen}).to_string();
    for contact in contacts {
        let topics = Vocabulary::ALL.map(|vocabulary| vocabulary.topic(&user_channel(*contact)));
        // A shard too far behind for this has worse to tell.
        let _ = exchange.publish(Publish::new(
            topics,
            "user_presence_changed",
            payload.as_str(),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_hear_the_truth_once() {
        let (roll, user) = (Roll::default(), Uuid::from_u128(1));
        roll.note(user, Change::Came);
        assert_eq!(roll.news(), [(user, "online".to_owned())]);
        for change in [Change::Went, Change::Came] {
            roll.note(user, change);
        }
        assert_eq!(roll.news(), [], "back before anybody noticed");
        roll.show(user, "away");
        assert_eq!(roll.news(), [(user, "away".to_owned())]);
        roll.note(user, Change::Went);
        roll.show(user, "busy");
        assert_eq!(
            roll.news(),
            [(user, "offline".to_owned())],
            "who is gone shows nothing"
        );
        assert!(roll.here().is_empty() && roll.lock().told.is_empty());
    }
}
