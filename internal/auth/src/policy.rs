//! Read permissions: granted by a claim, by a role, or by the database.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use moka::sync::Cache;

use crate::Principal;
use latido_base::ident::{Channel, Key, Topic, UserId};
use latido_stream::{Catalog, SYSTEM_STREAM, Stream};

/// The admin roles, and the cache of the database's answers.
#[derive(Debug, Clone)]
pub struct Config {
    /// The roles that may read everything.
    pub admin_roles: Vec<String>,
    /// The time a cached answer counts, positive or negative. For as long, a withdrawn permission
    /// may still open a new subscription.
    pub cache_ttl: Duration,
    /// The most answers in the cache.
    pub cache_entries: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            admin_roles: Vec::new(),
            cache_ttl: Duration::from_secs(10),
            cache_entries: 100_000,
        }
    }
}

/// The decision about reading a channel, as far as it needs no I/O.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The principal may read the channel.
    Allowed,
    /// The principal may not read the channel.
    Forbidden,
    /// Only the database can decide; see [`Policy::authorize`].
    Ask,
}

/// The error for a failed authorisation query. Its creator makes sure that it contains no
/// credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the authorisation query failed: {0}")]
pub struct LookupError(pub Arc<str>);

/// The future that [`PermissionSource::allowed`] returns.
pub type LookupFuture<'a> = Pin<Box<dyn Future<Output = Result<bool, LookupError>> + Send + 'a>>;

/// A source of permissions: it runs a stream's authorisation query.
pub trait Lookup: Send + Sync {
    /// Returns whether `user` may read `key` of `stream`. Called only for streams with such a
    /// query; the implementation has its own time-out.
    fn allowed<'a>(
        &'a self,
        stream: &'a Stream,
        user: &'a UserId,
        key: &'a Key,
    ) -> LookupFuture<'a>;
}

type Question = (UserId, Topic);
type Answer = Result<bool, LookupError>;

/// Decides read permissions. Shared by all sessions, and lives as long as they do.
pub struct Policy {
    admin_roles: Vec<String>,
    lookup: Arc<dyn Lookup>,
    answers: Cache<Question, bool>,
    flights: Arc<Flights>,
}

impl Policy {
    /// Creates a policy that queries `lookup` if neither claims nor roles decide.
    pub fn new(config: Config, lookup: Arc<dyn Lookup>) -> Self {
        let answers = Cache::builder()
            .max_capacity(config.cache_entries)
            .time_to_live(config.cache_ttl)
            .build();
        Self {
            admin_roles: config.admin_roles,
            lookup,
            answers,
            flights: Arc::default(),
        }
    }

    /// Returns whether the token's role may read everything and operate the server.
    pub fn is_admin(&self, principal: &Principal) -> bool {
        principal
            .role()
            .is_some_and(|role| self.admin_roles.iter().any(|admin| admin == role))
    }

    /// Decides by claims, role and cached answers, without I/O.
    pub fn decide(&self, principal: &Principal, catalog: &Catalog, channel: &Channel) -> Decision {
        if self.is_admin(principal) {
            return Decision::Allowed;
        }
        // Channels about the server itself are for admins alone: no claim but the role grants them.
        if channel.topic.stream == SYSTEM_STREAM {
            return Decision::Forbidden;
        }
        if principal.grants().allow(catalog, channel) {
            return Decision::Allowed;
        }
        if catalog.get(channel.topic.stream).authorize_query.is_none() {
            return Decision::Forbidden;
        }
        match self
            .answers
            .get(&(principal.user().clone(), channel.topic.clone()))
        {
            Some(true) => Decision::Allowed,
            Some(false) => Decision::Forbidden,
            None => Decision::Ask,
        }
    }

    /// Queries the database. Concurrent calls for the same permission share one query, and dropping
    /// one call does not cancel it for the others. Both answers are cached for
    /// [`Config::cache_ttl`]; errors are not.
    ///
    /// # Errors
    /// [`LookupError`] if the query failed, so that the permission is unknown.
    pub async fn ask(
        &self,
        user: &UserId,
        stream: &Arc<Stream>,
        topic: &Topic,
    ) -> Result<bool, LookupError> {
        if stream.authorize_query.is_none() {
            return Ok(false);
        }
        let question = (user.clone(), topic.clone());
        if let Some(answer) = self.answers.get(&question) {
            return Ok(answer);
        }
        self.flights
            .join(&question, |guard| self.flight(guard, Arc::clone(stream)))
            .await
    }

    fn flight(&self, guard: Landing, stream: Arc<Stream>) -> BoxFuture<'static, Answer> {
        let (lookup, answers) = (Arc::clone(&self.lookup), self.answers.clone());
        async move {
            let (user, topic) = &guard.question;
            let answer = lookup.allowed(&stream, user, &topic.key).await;
            match &answer {
                Ok(is_allowed) => answers.insert(guard.question.clone(), *is_allowed),
                // Logged here and not in the waiting calls, because many may wait for one query.
                Err(error) => tracing::warn!(stream = stream.name, %error, "a permission could not be looked up"),
            }
            answer
        }
        .boxed()
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("admin_roles", &self.admin_roles)
            .finish_non_exhaustive()
    }
}

/// The queries in progress. They are held weakly: a query lives as long as a call waits for it, so
/// the waiting calls bound their number.
#[derive(Default)]
struct Flights(Mutex<(u64, HashMap<Question, Entry>)>);

struct Entry {
    number: u64,
    flight: Option<WeakShared<BoxFuture<'static, Answer>>>,
}

/// A guard inside a query's future. It removes the query's entry when the query has ended or all of
/// its callers have dropped it.
struct Landing {
    flights: Arc<Flights>,
    question: Question,
    number: u64,
}

impl Flights {
    /// Returns the query for `question`: the one in progress, or a new one that `start` creates.
    fn join(
        self: &Arc<Self>,
        question: &Question,
        start: impl FnOnce(Landing) -> BoxFuture<'static, Answer>,
    ) -> Shared<BoxFuture<'static, Answer>> {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, entries) = &mut *guard;
        let in_progress = entries
            .get(question)
            .and_then(|entry| entry.flight.as_ref())
            .and_then(WeakShared::upgrade);
        if let Some(query) = in_progress {
            return query;
        }
        *count += 1;
        let guard_in_flight = Landing {
            flights: Arc::clone(self),
            question: question.clone(),
            number: *count,
        };
        let query = start(guard_in_flight).shared();
        entries.insert(
            question.clone(),
            Entry {
                number: *count,
                flight: query.downgrade(),
            },
        );
        query
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut guard = self
            .flights
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // A newer query may have replaced one whose waiting calls were all dropped.
        if guard
            .1
            .get(&self.question)
            .is_some_and(|entry| entry.number == self.number)
        {
            guard.1.remove(&self.question);
        }
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
