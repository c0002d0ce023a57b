//! Read permissions: granted by a claim, by a role, or by the database.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use moka::sync::Cache;

use crate::Principal;
use crate::permission_lease::{LeaseTable, PermissionLease, RecheckSchedule};
use crate::permission_subject::{CachedPermission, Permission, PermissionSubject};
use latido_base::backoff::Jitter;
use latido_base::drain::Drain;
use latido_base::ident::{Channel, Topic};
use latido_base::single_flight::SingleFlight;
use latido_stream::{Catalog, PermissionLookupError, PermissionSource, SYSTEM_STREAM, Stream};

/// The default admin role. It is safe, because only the issuer of tokens can put a role into one.
pub(crate) const ADMIN_ROLE: &str = "admin_sistema";
/// The default time a cached answer counts.
pub(crate) const CACHE_TTL: Duration = Duration::from_secs(10);

/// The default time within which a withdrawn right has ended.
pub(crate) const RECHECK: Duration = Duration::from_secs(60);
/// The rights that one statement looks up again.
const PAIRS_PER_STATEMENT: usize = 500;

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
    /// The time within which a right that the database no longer grants has ended.
    pub recheck: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            admin_roles: vec![ADMIN_ROLE.to_owned()],
            cache_ttl: CACHE_TTL,
            cache_entries: 100_000,
            recheck: RECHECK,
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
    NeedsLookup,
}

type PermissionResult = Result<bool, PermissionLookupError>;

/// Decides read permissions. Shared by all sessions, and lives as long as they do.
pub struct Policy {
    admin_roles: Vec<String>,
    source: Arc<dyn PermissionSource>,
    cache: Cache<CachedPermission, bool>,
    in_flight: SingleFlight<Permission, PermissionResult>,
    leases: LeaseTable,
    schedule: RecheckSchedule,
}

impl Policy {
    /// Creates a policy that queries `lookup` if neither claims nor roles decide.
    pub fn new(config: Config, source: Arc<dyn PermissionSource>) -> Self {
        let cache = Cache::builder()
            .max_capacity(config.cache_entries)
            .time_to_live(config.cache_ttl)
            .build();
        Self {
            admin_roles: config.admin_roles,
            source,
            cache,
            in_flight: SingleFlight::default(),
            leases: LeaseTable::default(),
            schedule: RecheckSchedule::within(config.recheck),
        }
    }

    /// Starts the task that looks up the rights in use again. Must be called once, in the runtime.
    pub fn start(self: &Arc<Self>, catalog: &Arc<Catalog>, drain: &Drain) {
        let (policy, catalog) = (Arc::clone(self), Arc::clone(catalog));
        drain.spawn_until_stop(async move {
            loop {
                // The interval is randomised, so that a fleet of servers does not query all at
                // once.
                let pause = Jitter::SHORTEN.apply(policy.schedule.round, fastrand::f64());
                tokio::time::sleep(pause).await;
                policy.recheck_leases(&catalog).await;
            }
        });
    }

    /// Returns the interval at which the owner of a lease must look at it.
    pub fn lease_check(&self) -> Duration {
        self.schedule.owner_check
    }

    /// Returns the lease of a right that only the database grants. Returns `None` if a claim or the
    /// role grants it, so that it ends with the token.
    pub fn lease(
        &self,
        principal: &Principal,
        catalog: &Catalog,
        channel: &Channel,
    ) -> Option<Arc<PermissionLease>> {
        let topic = &channel.topic;
        let needs_lease = topic.stream != SYSTEM_STREAM
            && !self.is_admin(principal)
            && catalog.get(topic.stream).authorize_query.is_some()
            && !principal.grants().allows(catalog, channel);
        needs_lease.then(|| {
            let subject = principal.subject(catalog.get(topic.stream));
            self.leases.acquire(Permission::new(subject, topic))
        })
    }

    /// Looks up every right in use, and withdraws those that the database no longer grants. A
    /// failed look-up withdraws nothing.
    pub async fn recheck_leases(&self, catalog: &Catalog) {
        for (stream, rights) in self.leases.in_use() {
            let stream = catalog.get(stream);
            for batch in rights.chunks(PAIRS_PER_STATEMENT) {
                self.recheck_batch(stream, batch).await;
            }
        }
    }

    async fn recheck_batch(&self, stream: &Stream, rights: &[Permission]) {
        let questions: Vec<_> = rights.iter().map(Permission::question).collect();
        let answers = match self.source.allowed_batch(stream, &questions) {
            Some(answers) => answers.await,
            None => {
                let single = questions.iter();
                join_all(single.map(|question| self.source.allowed(stream, *question))).await
            }
        };
        let mut failures = answers.iter().filter_map(|answer| answer.as_ref().err());
        if let Some(error) = failures.next() {
            let failed = 1 + failures.count();
            tracing::warn!(stream = stream.name, failed, %error, "permissions in use could not be looked up again");
        }
        let mut withdrawn = 0;
        for (right, answer) in rights.iter().zip(answers) {
            if answer == Ok(false) {
                self.cache.insert(right.cache_key(), false);
                withdrawn += 1;
                self.leases.withdraw(right);
            }
        }
        if withdrawn > 0 {
            let stream = &stream.name;
            tracing::info!(
                stream,
                withdrawn,
                "permissions in use were withdrawn in the database"
            );
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
        if principal.grants().allows(catalog, channel) {
            return Decision::Allowed;
        }
        let stream = catalog.get(channel.topic.stream);
        if stream.authorize_query.is_none() {
            return Decision::Forbidden;
        }
        let right = Permission::new(principal.subject(stream), &channel.topic);
        match self.cache.get(&right.cache_key()) {
            Some(true) => Decision::Allowed,
            Some(false) => Decision::Forbidden,
            None => Decision::NeedsLookup,
        }
    }

    /// Queries the database about a subject that [`Principal::subject`] returned for the stream.
    /// Concurrent calls for the same permission share one query, and dropping
    /// one call does not cancel it for the others. Both answers are cached for
    /// [`Config::cache_ttl`]; errors are not.
    ///
    /// # Errors
    /// [`PermissionLookupError`] if the query failed, so that the permission is unknown.
    pub async fn authorize(
        &self,
        subject: &PermissionSubject,
        stream: &Arc<Stream>,
        topic: &Topic,
    ) -> Result<bool, PermissionLookupError> {
        if stream.authorize_query.is_none() {
            return Ok(false);
        }
        let right = Permission::new(subject.clone(), topic);
        if let Some(answer) = self.cache.get(&right.cache_key()) {
            return Ok(answer);
        }
        self.in_flight
            .join(&right, || self.look_up(right.clone(), Arc::clone(stream)))
            .await
    }

    fn look_up(
        &self,
        right: Permission,
        stream: Arc<Stream>,
    ) -> impl Future<Output = PermissionResult> + use<> {
        let (source, cache) = (Arc::clone(&self.source), self.cache.clone());
        async move {
            let answer = source.allowed(&stream, right.question()).await;
            match &answer {
                Ok(is_allowed) => cache.insert(right.cache_key(), *is_allowed),
                // Logged here and not in the waiting calls, because many may wait for one query.
                Err(error) => {
                    tracing::warn!(stream = stream.name, %error, "a permission could not be looked up")
                }
            }
            answer
        }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("admin_roles", &self.admin_roles)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "policy_model_tests.rs"]
mod model_tests;
