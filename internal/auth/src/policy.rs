//! Read permissions: granted by a claim, by a role, or by the database.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use crate::Principal;
use latido_base::ident::{Channel, Topic, UserId};
use latido_base::single_flight::SingleFlight;
use latido_stream::{Catalog, PermissionLookupError, PermissionSource, SYSTEM_STREAM, Stream};

/// The default admin role. It is safe, because only the issuer of tokens can put a role into one.
pub(crate) const ADMIN_ROLE: &str = "admin_sistema";
/// The default time a cached answer counts.
pub(crate) const CACHE_TTL: Duration = Duration::from_secs(10);

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
            admin_roles: vec![ADMIN_ROLE.to_owned()],
            cache_ttl: CACHE_TTL,
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
    NeedsLookup,
}

type PermissionQuery = (UserId, Topic);
type PermissionResult = Result<bool, PermissionLookupError>;

/// Decides read permissions. Shared by all sessions, and lives as long as they do.
pub struct Policy {
    admin_roles: Vec<String>,
    source: Arc<dyn PermissionSource>,
    cache: Cache<PermissionQuery, bool>,
    in_flight: SingleFlight<PermissionQuery, PermissionResult>,
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
        if catalog.get(channel.topic.stream).authorize_query.is_none() {
            return Decision::Forbidden;
        }
        match self
            .cache
            .get(&(principal.user().clone(), channel.topic.clone()))
        {
            Some(true) => Decision::Allowed,
            Some(false) => Decision::Forbidden,
            None => Decision::NeedsLookup,
        }
    }

    /// Queries the database. Concurrent calls for the same permission share one query, and dropping
    /// one call does not cancel it for the others. Both answers are cached for
    /// [`Config::cache_ttl`]; errors are not.
    ///
    /// # Errors
    /// [`PermissionLookupError`] if the query failed, so that the permission is unknown.
    pub async fn authorize(
        &self,
        user: &UserId,
        stream: &Arc<Stream>,
        topic: &Topic,
    ) -> Result<bool, PermissionLookupError> {
        if stream.authorize_query.is_none() {
            return Ok(false);
        }
        let question = (user.clone(), topic.clone());
        if let Some(answer) = self.cache.get(&question) {
            return Ok(answer);
        }
        self.in_flight
            .join(&question, || {
                self.look_up(question.clone(), Arc::clone(stream))
            })
            .await
    }

    fn look_up(
        &self,
        question: PermissionQuery,
        stream: Arc<Stream>,
    ) -> impl Future<Output = PermissionResult> + use<> {
        let (source, cache) = (Arc::clone(&self.source), self.cache.clone());
        async move {
            let (user, topic) = &question;
            let answer = source.allowed(&stream, user, &topic.key).await;
            match &answer {
                Ok(is_allowed) => cache.insert(question, *is_allowed),
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
