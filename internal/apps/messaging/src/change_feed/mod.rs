//! The change feed: reads committed changes of the tables once, in order, and publishes them.
//!
//! A notification is only a hint to read. A cursor (see the store's `changes`) determines the
//! position, so a crash between a commit and its broadcast, a lost notification, or a lost listener
//! connection lose nothing: the next read continues at the last cursor. A change counts as read
//! only after all of its events were published.

mod change_events;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::api_version::{
    ClientApiVersion, channel_presence_topic, conversation_channel, kick_topic,
};
use crate::change_source::ChangeSource;
use crate::database::{ChangeCursor, MessagingChange};
use crate::feed_trigger::FeedTrigger;
use crate::presence::PresenceTracker;
use change_events::{ChangeContext, events_for};
use latido_base::backoff::{Backoff, Jitter};
use latido_base::ident::UserId;
use latido_event_bus::{EventBus, Publish};
use latido_postgres::DatabaseError;

/// The pauses after failed reads.
const RETRIES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
/// The pause before publishing again to a shard whose queue is full.
const OVERLOAD_PAUSE: Duration = Duration::from_millis(20);
/// The interval between deletions of old changes.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(600);

/// A lock with the number of memberships that have ended. Sockets join channels and switch their
/// API version under this lock, and the feed publishes under it. So a change reaches a socket in
/// exactly one version, and no client joins with a membership that has ended meanwhile. The lock is
/// held for calls of the event bus, which never block.
#[derive(Debug, Default)]
pub(super) struct MembershipEpoch(Mutex<u64>);

impl MembershipEpoch {
    pub(super) fn with_lock<R>(&self, act: impl FnOnce(&mut u64) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn current(&self) -> u64 {
        self.with_lock(|count| *count)
    }
}

/// The change feed task; see the module's documentation.
pub(super) struct ChangeFeed {
    pub(super) source: Arc<dyn ChangeSource>,
    pub(super) event_bus: Arc<EventBus>,
    pub(super) membership_epoch: Arc<MembershipEpoch>,
    pub(super) presence_tracker: Arc<PresenceTracker>,
    pub(super) trigger: FeedTrigger,
}

impl ChangeFeed {
    /// Runs for as long as the server runs.
    pub(super) async fn run(self) {
        let mut cursor = None;
        let mut backoff = RETRIES;
        let mut last_cleanup = Instant::now();
        loop {
            match self.publish_changes(&mut cursor).await {
                Ok(()) => {
                    backoff.reset();
                    self.trigger.set_ready();
                    self.trigger.wait().await;
                }
                Err(error) => {
                    if !backoff.has_failed() {
                        tracing::warn!(%error, "changes of messages can't be read from the database; retrying");
                    }
                    sleep(Jitter::HALF.apply(backoff.next_pause(), fastrand::f64())).await;
                }
            }
            if last_cleanup.elapsed() >= CLEANUP_INTERVAL {
                last_cleanup = Instant::now();
                if let Err(error) = self.source.delete_old_changes().await {
                    tracing::warn!(%error, "old changes could not be deleted");
                }
            }
        }
    }

    /// Publishes all changes after the cursor, and advances the cursor.
    pub(super) async fn publish_changes(
        &self,
        cursor: &mut Option<ChangeCursor>,
    ) -> Result<(), DatabaseError> {
        let mut position = match cursor.clone() {
            Some(position) => position,
            None => self.source.cursor().await?,
        };
        cursor.get_or_insert_with(|| position.clone());
        loop {
            let batch = self.source.changes(&position).await?;
            let context = self.load_context(&batch.changes).await?;
            for change in &batch.changes {
                self.publish_change(change, events_for(change, &context))
                    .await;
            }
            position = batch.cursor;
            *cursor = Some(position.clone());
            if !batch.has_more {
                return Ok(());
            }
        }
    }

    async fn load_context(
        &self,
        changes: &[MessagingChange],
    ) -> Result<ChangeContext, DatabaseError> {
        let mut context = ChangeContext::default();
        let is_about_message = |change: &&MessagingChange| {
            change.kind.starts_with("message_") && change.kind != "message_deleted"
        };
        let messages: Vec<Uuid> = changes
            .iter()
            .filter(is_about_message)
            .filter_map(|change| change.message)
            .collect();
        if !messages.is_empty() {
            context.messages = self
                .source
                .messages(&messages)
                .await?
                .into_iter()
                .map(|message| (message.id, message))
                .collect();
        }
        let of_kind = |kind: &str| {
            changes
                .iter()
                .filter(|change| change.kind == kind)
                .map(|change| change.conversation)
                .collect()
        };
        let updated: Vec<Uuid> = of_kind("conversation_updated");
        if !updated.is_empty() {
            let now = self.source.conversations(&updated).await?;
            context.conversations = now
                .into_iter()
                .map(|conversation| (conversation.id, conversation))
                .collect();
        }
        let mut fan_out: Vec<Uuid> = of_kind("message_added");
        fan_out.extend(updated);
        fan_out.sort_unstable();
        fan_out.dedup();
        let connected = self.presence_tracker.connected_users();
        if !fan_out.is_empty() && !connected.is_empty() {
            let mut members: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
            let is_connected: HashSet<Uuid> = connected.iter().copied().collect();
            let found = self.source.members(&fan_out, &connected).await?;
            for (conversation, user) in found
                .into_iter()
                .filter(|(_, user)| is_connected.contains(user))
            {
                members.entry(conversation).or_default().push(user);
            }
            context.members = members;
        }
        Ok(context)
    }

    /// Publishes the events of a change, and removes a member whose membership has ended. Waits
    /// while a shard's queue is full.
    async fn publish_change(&self, change: &MessagingChange, events: Vec<Publish>) {
        let removed = change.user.filter(|_| change.kind == "member_removed");
        let mut events = events.into_iter();
        let mut unsent: Option<Publish> = None;
        loop {
            let is_done = self.membership_epoch.with_lock(|epoch| {
                while let Some(publish) = unsent.take().or_else(|| events.next()) {
                    if self.event_bus.publish(publish.clone()).is_err() {
                        unsent = Some(publish);
                        return false;
                    }
                }
                if let Some(user) = removed {
                    *epoch += 1;
                    self.remove_member(user, &conversation_channel(change.conversation));
                }
                true
            });
            if is_done {
                return;
            }
            sleep(OVERLOAD_PAUSE).await;
        }
    }

    /// Removes all connections of a user from a channel, and sends them `phx_close`.
    fn remove_member(&self, user: Uuid, channel: &str) {
        let kick_topic = kick_topic(channel, user);
        // If a shard can't accept this now, its clients learn it from the replies to their next
        // pushes there.
        let _ = self
            .event_bus
            .publish(Publish::new([kick_topic.clone()], "phx_close", "{}"));
        let topics = [
            channel_presence_topic(channel),
            ClientApiVersion::Documented.topic(channel),
            ClientApiVersion::Current.topic(channel),
            kick_topic,
        ];
        for id in self
            .event_bus
            .connections_of(&UserId::new(&user.to_string()))
        {
            for topic in &topics {
                self.event_bus.leave(id, topic);
            }
        }
        self.presence_tracker.record_removal(user);
    }
}

impl std::fmt::Debug for ChangeFeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChangeFeed").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod model;
