//! Who may read what: a claim says so, or a role, or the database.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use moka::sync::Cache;

use crate::auth::Principal;
use crate::ident::{Channel, Key, Topic, UserId};
use crate::stream::{Catalog, SERVER, Stream};

/// Roles and how long an answer of the database counts.
#[derive(Debug, Clone)]
pub struct Config {
    /// Roles that may read everything.
    pub admin_roles: Vec<String>,
    /// How long an answer counts, yes and no alike: as long as a withdrawn right may still open a new subscription.
    pub cache_ttl: Duration,
    /// Most answers kept.
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

/// Whether a principal may read a channel, as far as can be said without asking anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allowed,
    /// No.
    Forbidden,
    /// Only the database knows: [`Policy::ask`].
    Ask,
}

/// The database could not be asked. Holds no credentials: whoever makes it sees to that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the authorisation query failed: {0}")]
pub struct LookupError(pub Arc<str>);

/// What [`Lookup::allowed`] returns.
pub type LookupFuture<'a> = Pin<Box<dyn Future<Output = Result<bool, LookupError>> + Send + 'a>>;

/// Runs a stream's authorisation query.
pub trait Lookup: Send + Sync {
    /// Whether `user` may read `key` of `stream`. Called only for streams with such a query; has its own time-out.
    fn allowed<'a>(
        &'a self,
        stream: &'a Stream,
        user: &'a UserId,
        key: &'a Key,
    ) -> LookupFuture<'a>;
}

type Question = (UserId, Topic);
type Answer = Result<bool, LookupError>;

/// Decides. Shared by all sessions; it must outlive none.
pub struct Policy {
    admin_roles: Vec<String>,
    lookup: Arc<dyn Lookup>,
    answers: Cache<Question, bool>,
    flights: Arc<Flights>,
}

impl Policy {
    /// A policy that asks `lookup` where neither claims nor roles decide.
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

    /// Whether the role in the token is one that may read everything, and operate the server.
    pub fn is_admin(&self, principal: &Principal) -> bool {
        principal
            .role()
            .is_some_and(|role| self.admin_roles.iter().any(|admin| admin == role))
    }

    /// What claims, role and remembered answers say. No I/O.
    pub fn decide(&self, principal: &Principal, catalog: &Catalog, channel: &Channel) -> Decision {
        if self.is_admin(principal) {
            return Decision::Allowed;
        }
        // What is said of the server itself is for admins alone: no claim but the role opens it.
        if channel.topic.stream == SERVER {
            return Decision::Forbidden;
        }
        if principal.grants().allow(catalog, channel) {
            return Decision::Allowed;
        }
        if catalog.get(channel.topic.stream).authorize.is_none() {
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

    /// Asks the database. However many ask the same at once, it is asked once; who asks may also give up without spoiling it for the
    /// others. Both answers are remembered for [`Config::cache_ttl`]; errors are not.
    ///
    /// # Errors
    /// [`LookupError`] if the database could not be asked: neither yes nor no.
    pub async fn ask(
        &self,
        user: &UserId,
        stream: &Arc<Stream>,
        topic: &Topic,
    ) -> Result<bool, LookupError> {
        if stream.authorize.is_none() {
            return Ok(false);
        }
        let question = (user.clone(), topic.clone());
        if let Some(answer) = self.answers.get(&question) {
            return Ok(answer);
        }
        self.flights
            .join(&question, |landing| {
                self.flight(landing, Arc::clone(stream))
            })
            .await
    }

    fn flight(&self, landing: Landing, stream: Arc<Stream>) -> BoxFuture<'static, Answer> {
        let (lookup, answers) = (Arc::clone(&self.lookup), self.answers.clone());
        async move {
            let (user, topic) = &landing.question;
            let answer = lookup.allowed(&stream, user, &topic.key).await;
            match &answer {
                Ok(is_allowed) => answers.insert(landing.question.clone(), *is_allowed),
                // Here and not where it is waited for: many may wait for one question.
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

/// Questions that are being asked. Weak: a question lives as long as somebody waits for it, so their number is bounded by the waiters'.
#[derive(Default)]
struct Flights(Mutex<(u64, HashMap<Question, Entry>)>);

struct Entry {
    number: u64,
    flight: Option<WeakShared<BoxFuture<'static, Answer>>>,
}

/// Part of a flight: takes its entry away when the flight has landed or everybody has left it.
struct Landing {
    flights: Arc<Flights>,
    question: Question,
    number: u64,
}

impl Flights {
    /// The flight for `question`: the one under way, or the one that `start` makes.
    fn join(
        self: &Arc<Self>,
        question: &Question,
        start: impl FnOnce(Landing) -> BoxFuture<'static, Answer>,
    ) -> Shared<BoxFuture<'static, Answer>> {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, entries) = &mut *guard;
        let under_way = entries
            .get(question)
            .and_then(|entry| entry.flight.as_ref())
            .and_then(WeakShared::upgrade);
        if let Some(flight) = under_way {
            return flight;
        }
        *count += 1;
        let landing = Landing {
            flights: Arc::clone(self),
            question: question.clone(),
            number: *count,
        };
        let flight = start(landing).shared();
        entries.insert(
            question.clone(),
            Entry {
                number: *count,
                flight: flight.downgrade(),
            },
        );
        flight
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut guard = self
            .flights
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Another flight may have taken the place of one that everybody had left.
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
