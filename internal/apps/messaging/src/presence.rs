//! Presence: the lists of the conversation channels, and the status that a user's contacts receive.
//!
//! Contacts are read from the database, so they can't be notified under the event bus lock. The
//! callback under that lock only records the change. A task publishes the status that is true a
//! moment later, so a client that reconnects at once never appears to be away.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;
use tokio::time::sleep;
use uuid::Uuid;

use crate::api_version::{
    ClientApiVersion, channel_of_topic, is_channel_presence_topic, user_channel, user_of_topic,
};
use crate::change_source::ChangeSource;
use crate::payload::rfc3339;
use latido_base::clock::Clock;
use latido_event_bus::{
    EventBus, PresenceChange, PresenceDiff, PresenceMode, Publish, TopicName, TopicPolicy,
};

/// The delay between a change of presence and the notification of contacts.
const DEBOUNCE: Duration = Duration::from_millis(500);

/// The connected users of this server, with the status that each one wants to show.
#[derive(Debug, Default)]
pub(super) struct PresenceTracker {
    /// This lock ranks below the event bus lock. It is held for one look-up, and its holder calls
    /// nothing else.
    presences: Mutex<TrackedPresences>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct TrackedPresences {
    /// The status of each connected user: `online`, `away` or `busy`, or `offline` for a user that
    /// chose to appear so.
    statuses: HashMap<Uuid, String>,
    /// The users whose contacts may need a notification.
    dirty: HashSet<Uuid>,
    /// The status that contacts received last; an absent user means `offline`.
    announced: HashMap<Uuid, String>,
    /// The number of times that each connected user was removed from a conversation.
    removals: HashMap<Uuid, u64>,
}

const OFFLINE: &str = "offline";

impl PresenceTracker {
    fn lock(&self) -> MutexGuard<'_, TrackedPresences> {
        self.presences
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns all users with at least one connection.
    pub(super) fn connected_users(&self) -> Vec<Uuid> {
        self.lock().statuses.keys().copied().collect()
    }

    /// Sets the status that a connected user wants to show. Ignores users without a connection.
    pub(super) fn set_status(&self, user: Uuid, status: &str) {
        let mut presences = self.lock();
        if let Some(current) = presences.statuses.get_mut(&user) {
            status.clone_into(current);
            presences.dirty.insert(user);
        }
        drop(presences);
        self.changed.notify_one();
    }

    /// Returns the status of a connected user, or `online` if none is known.
    pub(super) fn status(&self, user: Uuid) -> String {
        self.lock()
            .statuses
            .get(&user)
            .cloned()
            .unwrap_or_else(|| "online".to_owned())
    }

    /// Counts that a user was removed from a conversation.
    pub(super) fn record_removal(&self, user: Uuid) {
        let mut presences = self.lock();
        if presences.statuses.contains_key(&user) {
            *presences.removals.entry(user).or_default() += 1;
        }
    }

    /// Returns the number of removals since the first of the user's current connections opened.
    pub(super) fn removal_count(&self, user: Uuid) -> u64 {
        self.lock().removals.get(&user).copied().unwrap_or_default()
    }

    fn record_change(&self, user: Uuid, change: PresenceChange) {
        let mut presences = self.lock();
        match change {
            PresenceChange::UserJoined => {
                drop(presences.statuses.insert(user, "online".to_owned()))
            }
            PresenceChange::UserLeft => {
                presences.statuses.remove(&user);
                presences.removals.remove(&user);
            }
            PresenceChange::ConnectionAdded
            | PresenceChange::MetaUpdated
            | PresenceChange::ConnectionRemoved => return,
        }
        presences.dirty.insert(user);
        drop(presences);
        self.changed.notify_one();
    }

    /// Takes the users whose contacts have an outdated status, with the current status of each.
    fn take_outdated(&self) -> Vec<(Uuid, String)> {
        let mut presences = self.lock();
        let dirty = std::mem::take(&mut presences.dirty);
        let mut outdated = Vec::new();
        for user in dirty {
            let now = presences
                .statuses
                .get(&user)
                .cloned()
                .unwrap_or_else(|| OFFLINE.to_owned());
            if presences
                .announced
                .get(&user)
                .map_or(OFFLINE, String::as_str)
                != now
            {
                if now == OFFLINE {
                    presences.announced.remove(&user)
                } else {
                    presences.announced.insert(user, now.clone())
                };
                outdated.push((user, now));
            }
        }
        outdated
    }
}

/// The event bus policy for the topics of this app.
#[derive(Debug)]
pub(super) struct MessagingTopicPolicy {
    pub(super) presence_tracker: Arc<PresenceTracker>,
    pub(super) clock: Clock,
}

impl TopicPolicy for MessagingTopicPolicy {
    fn presence_mode(&self, topic: &TopicName) -> PresenceMode {
        match user_of_topic(topic) {
            Some(_) => PresenceMode::Listed,
            None if is_channel_presence_topic(topic) => PresenceMode::Announced,
            None => PresenceMode::Off,
        }
    }

    fn on_presence_change(&self, topic: &TopicName, diff: &PresenceDiff) -> Vec<Publish> {
        if let Some(user) = user_of_topic(topic) {
            self.presence_tracker.record_change(user, diff.change);
            return Vec::new();
        }
        let event = match diff.change {
            PresenceChange::UserJoined => "user_joined",
            PresenceChange::UserLeft => "user_left",
            PresenceChange::ConnectionAdded
            | PresenceChange::MetaUpdated
            | PresenceChange::ConnectionRemoved => return Vec::new(),
        };
        let timestamp = rfc3339(self.clock.now().as_microsecond());
        let payload = json!({"user_id": diff.user.as_str(), "timestamp": timestamp}).to_string();
        let topics =
            ClientApiVersion::ALL.map(|api_version| api_version.topic(channel_of_topic(topic)));
        vec![Publish::new(topics, event, payload).except_user(diff.user.clone())]
    }
}

/// Notifies contacts of changed statuses for as long as the server runs.
pub(super) async fn notify_contacts(
    tracker: Arc<PresenceTracker>,
    source: Arc<dyn ChangeSource>,
    event_bus: Arc<EventBus>,
    clock: Clock,
) {
    loop {
        tracker.changed.notified().await;
        sleep(DEBOUNCE).await;
        for (user, status) in tracker.take_outdated() {
            match source.contacts(user).await {
                Ok(mut contacts) => {
                    let connected: HashSet<Uuid> = tracker.connected_users().into_iter().collect();
                    contacts.retain(|contact| connected.contains(contact));
                    publish_status(&event_bus, user, &status, &contacts, &clock);
                }
                // This notification is best effort: the user's next change repeats it.
                Err(error) => {
                    tracing::debug!(%error, "contacts could not be notified of a status change")
                }
            }
        }
    }
}

fn publish_status(
    event_bus: &EventBus,
    user: Uuid,
    status: &str,
    contacts: &[Uuid],
    clock: &Clock,
) {
    let last_seen = rfc3339(clock.now().as_microsecond());
    let payload = json!({"user_id": user, "status": status, "last_seen": last_seen}).to_string();
    for contact in contacts {
        let topics =
            ClientApiVersion::ALL.map(|api_version| api_version.topic(&user_channel(*contact)));
        // A shard that is too far behind to accept this has more urgent events to deliver.
        let _ = event_bus.publish(Publish::new(
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
    fn contacts_receive_each_status_once() {
        let (tracker, user) = (PresenceTracker::default(), Uuid::from_u128(1));
        tracker.record_change(user, PresenceChange::UserJoined);
        assert_eq!(tracker.take_outdated(), [(user, "online".to_owned())]);
        for change in [PresenceChange::UserLeft, PresenceChange::UserJoined] {
            tracker.record_change(user, change);
        }
        assert_eq!(tracker.take_outdated(), [], "back before anybody noticed");
        tracker.set_status(user, "away");
        assert_eq!(tracker.take_outdated(), [(user, "away".to_owned())]);
        tracker.record_change(user, PresenceChange::UserLeft);
        tracker.set_status(user, "busy");
        assert_eq!(
            tracker.take_outdated(),
            [(user, "offline".to_owned())],
            "who is gone shows nothing"
        );
        assert!(tracker.connected_users().is_empty() && tracker.lock().announced.is_empty());
    }
}
