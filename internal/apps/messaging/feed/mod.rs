//! From commits to clients: what changed in the tables is read once, in order, and published.
//!
//! A notification only says «look». What there is to see is told by a cursor (see the store's `changes`), so a crash between a commit and
//! its broadcast, a lost notification or a lost listener lose nothing: the next look begins where the last one ended. A change counts as
//! seen only when all of it was published.

mod tell;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::apps::messaging::presence::Roll;
use crate::apps::messaging::vocabulary::{Vocabulary, conversation_channel, dismissal, roster};
use crate::hub::exchange::{Exchange, Publish};
use crate::ident::UserId;
use crate::postgres::DatabaseError;
use crate::postgres::apps::messaging::{Change, Changes, Conversation, Cursor, Message, Messages};
use tell::{Facts, tell};

/// How often to look while notifications arrive: for what somebody's trigger forgot; and while they don't.
const SWEEP: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_secs(1);
/// The first and the longest pause after a look that failed.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long to leave a shard alone that takes no more.
const OVERLOAD_PAUSE: Duration = Duration::from_millis(20);
/// How often old changes are deleted.
const FORGET: Duration = Duration::from_secs(600);

/// An answer of the database.
type Reading<'a, T> = BoxFuture<'a, Result<T, DatabaseError>>;

/// What the feed reads.
pub trait Source: Send + Sync + 'static {
    /// Behind everything that has happened.
    fn cursor(&self) -> Reading<'_, Cursor>;
    /// What happened since.
    fn changes<'a>(&'a self, cursor: &'a Cursor) -> Reading<'a, Changes>;
    /// Messages as they are now.
    fn messages<'a>(&'a self, ids: &'a [Uuid]) -> Reading<'a, Vec<Message>>;
    /// Conversations as they are now.
    fn conversations<'a>(&'a self, ids: &'a [Uuid]) -> Reading<'a, Vec<Conversation>>;
    /// The members of conversations, as pairs of conversation and user: at least those of them who are among the users.
    fn members<'a>(
        &'a self,
        conversations: &'a [Uuid],
        users: &'a [Uuid],
    ) -> Reading<'a, Vec<(Uuid, Uuid)>>;
    /// Who shares a conversation with this user.
    fn contacts(&self, user: Uuid) -> Reading<'_, Vec<Uuid>>;
    /// Deletes changes that nobody needs any more.
    fn forget(&self) -> Reading<'_, ()>;
}

impl Source for Messages {
    fn cursor(&self) -> Reading<'_, Cursor> {
        Box::pin(Self::cursor(self))
    }
    fn changes<'a>(&'a self, cursor: &'a Cursor) -> Reading<'a, Changes> {
        Box::pin(Self::changes(self, cursor))
    }
    fn messages<'a>(&'a self, ids: &'a [Uuid]) -> Reading<'a, Vec<Message>> {
        Box::pin(Self::messages(self, ids))
    }
    fn conversations<'a>(&'a self, ids: &'a [Uuid]) -> Reading<'a, Vec<Conversation>> {
        Box::pin(Self::conversations(self, ids))
    }
    fn members<'a>(
        &'a self,
        conversations: &'a [Uuid],
        users: &'a [Uuid],
    ) -> Reading<'a, Vec<(Uuid, Uuid)>> {
        Box::pin(Self::members(self, conversations, users))
    }
    fn contacts(&self, user: Uuid) -> Reading<'_, Vec<Uuid>> {
        Box::pin(Self::contacts(self, user))
    }
    fn forget(&self) -> Reading<'_, ()> {
        Box::pin(Self::forget_old_changes(self))
    }
}

/// Counts memberships that ended. Sockets enter, change their vocabulary, and hear of changes under its lock, so that a change finds a
/// socket in one place and not in two or none, and nobody enters on a membership that has ended meanwhile. Held for calls of the
/// exchange, which never wait.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<u64>);

impl Gate {
    pub(super) fn pass<R>(&self, act: impl FnOnce(&mut u64) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn count(&self) -> u64 {
        self.pass(|count| *count)
    }
}

/// What the feed is told from outside. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Hints(Arc<Hinted>);

#[derive(Debug, Default)]
struct Hinted {
    look: Notify,
    /// Whether notifications arrive. Relaxed: it only sets how often to look without one.
    are_heard: AtomicBool,
    /// The feed knows where it begins, so whoever enters from now on misses nothing. Set once; relaxed, for what it guards is behind locks.
    is_ready: AtomicBool,
}

impl Hints {
    /// Something changed, or may have.
    pub fn look(&self) {
        self.0.look.notify_one();
    }

    /// Whether notifications arrive.
    pub fn set_heard(&self, are_heard: bool) {
        self.0.are_heard.store(are_heard, Ordering::Relaxed);
        self.look();
    }

    /// Whether clients can be let in.
    pub fn is_ready(&self) -> bool {
        self.0.is_ready.load(Ordering::Relaxed)
    }

    async fn wait(&self) {
        let most = if self.0.are_heard.load(Ordering::Relaxed) {
            SWEEP
        } else {
            POLL
        };
        let _ = timeout(most, self.0.look.notified()).await;
    }
}

/// See the module's documentation.
pub(super) struct Feed {
    pub(super) source: Arc<dyn Source>,
    pub(super) exchange: Arc<Exchange>,
    pub(super) gate: Arc<Gate>,
    pub(super) roll: Arc<Roll>,
    pub(super) hints: Hints,
}

impl Feed {
    /// For as long as the server runs.
    pub(super) async fn run(self) {
        let mut cursor = None;
        let mut pause = PAUSE_MIN;
        let mut forgotten = Instant::now();
        loop {
            match self.look(&mut cursor).await {
                Ok(()) => {
                    pause = PAUSE_MIN;
                    self.hints.0.is_ready.store(true, Ordering::Relaxed);
                    self.hints.wait().await;
                }
                Err(error) => {
                    if pause == PAUSE_MIN {
                        tracing::warn!(%error, "messages can't be read from the database; trying on");
                    }
                    sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
            if forgotten.elapsed() >= FORGET {
                forgotten = Instant::now();
                if let Err(error) = self.source.forget().await {
                    tracing::warn!(%error, "old changes could not be deleted");
                }
            }
        }
    }

    /// Publishes all that happened behind the cursor.
    pub(super) async fn look(&self, cursor: &mut Option<Cursor>) -> Result<(), DatabaseError> {
        let mut at = match cursor.clone() {
            Some(at) => at,
            None => self.source.cursor().await?,
        };
        cursor.get_or_insert_with(|| at.clone());
        loop {
            let batch = self.source.changes(&at).await?;
            let facts = self.facts(&batch.changes).await?;
            for change in &batch.changes {
                self.publish(change, tell(change, &facts)).await;
            }
            at = batch.cursor;
            *cursor = Some(at.clone());
            if !batch.more {
                return Ok(());
            }
        }
    }

    async fn facts(&self, changes: &[Change]) -> Result<Facts, DatabaseError> {
        let mut facts = Facts::default();
        let is_about_message = |change: &&Change| {
            change.kind.starts_with("message_") && change.kind != "message_deleted"
        };
        let messages: Vec<Uuid> = changes
            .iter()
            .filter(is_about_message)
            .filter_map(|change| change.message)
            .collect();
        if !messages.is_empty() {
            facts.messages = self
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
            facts.conversations = now
                .into_iter()
                .map(|conversation| (conversation.id, conversation))
                .collect();
        }
        let mut wide: Vec<Uuid> = of_kind("message_added");
        wide.extend(updated);
        wide.sort_unstable();
        wide.dedup();
        let here = self.roll.here();
        if !wide.is_empty() && !here.is_empty() {
            let mut members: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
            let is_here: HashSet<Uuid> = here.iter().copied().collect();
            let found = self.source.members(&wide, &here).await?;
            for (conversation, user) in found.into_iter().filter(|(_, user)| is_here.contains(user))
            {
                members.entry(conversation).or_default().push(user);
            }
            facts.members = members;
        }
        Ok(facts)
    }

    /// Publishes what is said of a change, and puts a removed member out. A shard that takes no more is waited for.
    async fn publish(&self, change: &Change, said: Vec<Publish>) {
        let removed = change.user.filter(|_| change.kind == "member_removed");
        let mut said = said.into_iter();
        let mut held: Option<Publish> = None;
        loop {
            let is_done = self.gate.pass(|ended| {
                while let Some(publish) = held.take().or_else(|| said.next()) {
                    if self.exchange.publish(publish.clone()).is_err() {
                        held = Some(publish);
                        return false;
                    }
                }
                if let Some(user) = removed {
                    *ended += 1;
                    self.put_out(user, &conversation_channel(change.conversation));
                }
                true
            });
            if is_done {
                return;
            }
            sleep(OVERLOAD_PAUSE).await;
        }
    }

    /// Takes all connections of a user off a channel, and closes it for them.
    fn put_out(&self, user: Uuid, channel: &str) {
        let told = dismissal(channel, user);
        // A shard that can't take this now finds out by the answers to what the client pushes there.
        let _ = self
            .exchange
            .publish(Publish::new([told.clone()], "phx_close", "{}"));
        let topics = [
            roster(channel),
            Vocabulary::Document.topic(channel),
            Vocabulary::Head.topic(channel),
            told,
        ];
        for id in self
            .exchange
            .connections_of(&UserId::new(&user.to_string()))
        {
            for topic in &topics {
                self.exchange.leave(id, topic);
            }
        }
        self.roll.removed(user);
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod model;
