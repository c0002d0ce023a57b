//! Authenticates clients: compares the profile that the API returns for a token with the identity
//! that the client claims.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use jiff::Timestamp;
use moka::sync::Cache;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::circuit_breaker::CircuitBreaker;
use crate::config::Config;
use crate::django_client::{DjangoError, ProfileSource, UserProfile};
use crate::user::{GatewayUser, Role};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_base::single_flight::{Joined, SingleFlight};

/// The maximum number of cached tokens, valid and rejected ones each.
const MAX_CACHED_TOKENS: u64 = 10_000;
/// The time for which a rejected token stays cached. A user who signs in again has another token.
const REJECTION_TTL: Duration = Duration::from_secs(10);
/// The maximum number of concurrent API requests, and of tokens that wait for one or have one in
/// flight: enough for all clients of a deployment that reconnect at once.
const CONCURRENCY: usize = 32;
const MAX_IN_FLIGHT: usize = 4096;
/// The maximum length of a token, in bytes.
const MAX_TOKEN_BYTES: usize = 4096;
/// The time for which the API's last known state stays valid.
const HEALTH_TTL: Duration = Duration::from_secs(5);

type TokenHash = [u8; 32];

/// The reason for refusing a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AuthError {
    /// The token is invalid, or it belongs to another user than the claim says.
    Invalid,
    /// The API does not answer, so nothing is known about the token.
    Unavailable,
}

/// The identity that a client claims.
#[derive(Debug, Clone, Default)]
pub(super) struct IdentityClaim {
    pub(super) id: Option<String>,
    pub(super) role: Option<Role>,
}

/// The last known state of the API.
#[derive(Debug, Clone)]
pub(super) struct ApiState {
    pub(super) checked_at: Timestamp,
    pub(super) response_time: Duration,
    pub(super) error: Option<String>,
    measured: Instant,
}

/// The gateway's authenticator. Cheap to clone; clones share all state.
#[derive(Clone)]
pub(super) struct Authenticator(Arc<AuthenticatorShared>);

struct AuthenticatorShared {
    /// The profile source. `None` if clients are trusted.
    api: Option<Arc<dyn ProfileSource>>,
    admin_ids: HashSet<String>,
    clock: Clock,
    drain: Drain,
    /// Profiles by the token's SHA-256 hash; the token itself is never stored.
    accepted_tokens: Cache<TokenHash, UserProfile>,
    rejected_tokens: Cache<TokenHash, ()>,
    state: Mutex<AuthenticatorState>,
    /// Tokens with a request in flight. Further clients with the same token wait for its result.
    in_flight: SingleFlight<TokenHash, ProfileResult>,
    request_permits: Arc<Semaphore>,
    /// Held while one task probes the API; others wait for its result.
    probe_lock: tokio::sync::Mutex<()>,
}

/// The locked state. Critical sections are short and never span an await.
#[derive(Default)]
struct AuthenticatorState {
    breaker: CircuitBreaker,
    api_state: Option<ApiState>,
}

type ProfileResult = Result<UserProfile, AuthError>;

impl Authenticator {
    pub(super) fn new(
        config: &Config,
        api: Option<Arc<dyn ProfileSource>>,
        clock: &Clock,
        drain: &Drain,
    ) -> Self {
        let cache = |ttl| {
            Cache::builder()
                .max_capacity(MAX_CACHED_TOKENS)
                .time_to_live(ttl)
        };
        Self(Arc::new(AuthenticatorShared {
            api,
            admin_ids: config.admin_ids.iter().cloned().collect(),
            clock: clock.clone(),
            drain: drain.clone(),
            accepted_tokens: cache(config.api_cache_ttl).build(),
            rejected_tokens: Cache::builder()
                .max_capacity(MAX_CACHED_TOKENS)
                .time_to_live(REJECTION_TTL)
                .build(),
            state: Mutex::default(),
            in_flight: SingleFlight::default(),
            request_permits: Arc::new(Semaphore::new(CONCURRENCY)),
            probe_lock: tokio::sync::Mutex::default(),
        }))
    }

    /// Authenticates a token and a claim. May take as long as one API request.
    ///
    /// # Errors
    /// Returns an error if the token or the claim is invalid, or if the API does not answer.
    pub(super) async fn authenticate(
        &self,
        token: &str,
        claim: &IdentityClaim,
    ) -> Result<GatewayUser, AuthError> {
        let profile = match &self.0.api {
            Some(api) => self.profile(api, token).await?,
            None => UserProfile {
                id: claim.id.clone().ok_or(AuthError::Invalid)?,
                role: claim.role.filter(|role| *role != Role::Admin),
            },
        };
        check_claim(&profile, claim, &self.0.admin_ids)
    }

    async fn profile(&self, api: &Arc<dyn ProfileSource>, token: &str) -> ProfileResult {
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return Err(AuthError::Invalid);
        }
        let key: TokenHash = Sha256::digest(token).into();
        if let Some(profile) = self.0.accepted_tokens.get(&key) {
            return Ok(profile);
        }
        if self.0.rejected_tokens.contains_key(&key) {
            return Err(AuthError::Invalid);
        }
        let start = || self.clone().request(Arc::clone(api), key, token.to_owned());
        match self.0.in_flight.join_bounded(&key, MAX_IN_FLIGHT, start) {
            Joined::Running(request) => request.await,
            Joined::Started(request) => {
                // The request continues even if its first waiter goes away.
                self.0.drain.spawn_until_stop(request.clone().map(drop));
                request.await
            }
            Joined::Full => Err(AuthError::Unavailable),
        }
    }

    /// Requests the profile of a token, and caches the result.
    async fn request(
        self,
        api: Arc<dyn ProfileSource>,
        key: TokenHash,
        token: String,
    ) -> ProfileResult {
        let request = async {
            let _permit = self.0.request_permits.acquire().await;
            // Checked only after the wait: meanwhile other requests may have opened the breaker.
            let may_ask = self.lock().breaker.try_acquire(Instant::now());
            let since = Instant::now();
            if may_ask {
                self.record_result(since, api.profile(token).await)
            } else {
                Err(AuthError::Unavailable)
            }
        };
        let result = tokio::select! {
            result = request => result,
            () = self.0.drain.stopping() => Err(AuthError::Unavailable),
        };
        match &result {
            Ok(profile) => self.0.accepted_tokens.insert(key, profile.clone()),
            Err(AuthError::Invalid) => self.0.rejected_tokens.insert(key, ()),
            Err(AuthError::Unavailable) => {}
        }
        result
    }

    /// Records the outcome of an API request for the breaker and the status page.
    fn record_result(
        &self,
        since: Instant,
        result: Result<Option<UserProfile>, DjangoError>,
    ) -> ProfileResult {
        let now = Instant::now();
        let mut inner = self.lock();
        let was_open = inner.breaker.is_open(now);
        let error = result.as_ref().err().map(ToString::to_string);
        match &error {
            None => inner.breaker.record_success(),
            Some(_) => inner.breaker.record_failure(now),
        }
        let is_open = inner.breaker.is_open(now);
        inner.api_state = Some(ApiState {
            checked_at: self.0.clock.now(),
            response_time: since.elapsed(),
            error: error.clone(),
            measured: now,
        });
        drop(inner);
        if let Some(error) = error
            && is_open
            && !was_open
        {
            warn!(
                app = "gateway",
                error, "the API does not answer; requests to it pause and new clients are refused"
            );
        } else if was_open && !is_open {
            info!(app = "gateway", "the API answers again");
        }
        result.map_or(Err(AuthError::Unavailable), |profile| {
            profile.ok_or(AuthError::Invalid)
        })
    }

    /// Returns the API's state, probing it unless the last result is recent. Returns `None` if the
    /// API is never asked.
    pub(super) async fn api_state(&self) -> Option<ApiState> {
        let api = self.0.api.as_ref()?;
        let fresh = || {
            self.lock()
                .api_state
                .clone()
                .filter(|state| state.measured.elapsed() < HEALTH_TTL)
        };
        if let Some(state) = fresh() {
            return Some(state);
        }
        let _guard = self.0.probe_lock.lock().await;
        if let Some(state) = fresh() {
            return Some(state);
        }
        let since = Instant::now();
        let error = api.probe().await.err().map(|error| error.to_string());
        let state = ApiState {
            checked_at: self.0.clock.now(),
            response_time: since.elapsed(),
            error,
            measured: Instant::now(),
        };
        self.lock().api_state = Some(state.clone());
        Some(state)
    }

    fn lock(&self) -> MutexGuard<'_, AuthenticatorState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compares a claim with the known profile. The claim grants nothing by itself.
fn check_claim(
    profile: &UserProfile,
    claim: &IdentityClaim,
    admins: &HashSet<String>,
) -> Result<GatewayUser, AuthError> {
    if claim.id.as_ref().is_some_and(|id| *id != profile.id) {
        return Err(AuthError::Invalid);
    }
    let is_admin = admins.contains(&profile.id);
    let role = match claim.role {
        Some(Role::Admin) if is_admin => Role::Admin,
        Some(role) if profile.role == Some(role) => role,
        Some(_) => return Err(AuthError::Invalid),
        None => profile
            .role
            .or(is_admin.then_some(Role::Admin))
            .ok_or(AuthError::Invalid)?,
    };
    Ok(GatewayUser {
        id: profile.id.as_str().into(),
        role,
    })
}

#[cfg(test)]
#[path = "authenticator_tests.rs"]
mod tests;
