//! Authenticates clients: compares the profile that the API returns for a token with the identity
//! that the client claims.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use moka::sync::Cache;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, watch};
use tracing::{info, warn};

use crate::Config;
use crate::breaker::Breaker;
use crate::django::{ApiError, Profile, Profiles};
use crate::who::{Role, Who};
use latido_base::clock::Clock;
use latido_base::drain::Drain;

/// The maximum number of cached tokens, valid and rejected ones each.
const REMEMBERED: u64 = 10_000;
/// The time for which a rejected token stays cached. A user who signs in again has another token.
const REFUSED: Duration = Duration::from_secs(10);
/// The maximum number of concurrent API requests, and of tokens that wait for one or have one in
/// flight: enough for all clients of a deployment that reconnect at once.
const ASKING: usize = 32;
const FLIGHTS: usize = 4096;
/// The maximum length of a token, in bytes.
const MAX_TOKEN: usize = 4096;
/// The time for which the API's last known state stays valid.
const FRESH: Duration = Duration::from_secs(5);

type Key = [u8; 32];

/// The reason for refusing a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The token is invalid, or it belongs to another user than the claim says.
    Invalid,
    /// The API does not answer, so nothing is known about the token.
    Unavailable,
}

/// The identity that a client claims.
#[derive(Debug, Clone, Default)]
pub(super) struct Claim {
    pub(super) id: Option<String>,
    pub(super) role: Option<Role>,
}

/// The last known state of the API.
#[derive(Debug, Clone)]
pub(super) struct ApiState {
    pub(super) at: Timestamp,
    pub(super) took: Duration,
    pub(super) error: Option<String>,
    seen: Instant,
}

/// The gateway's authenticator. Cheap to clone; clones share all state.
#[derive(Clone)]
pub(super) struct Doorkeeper(Arc<Shared>);

struct Shared {
    /// The profile source. `None` if clients are trusted.
    api: Option<Arc<dyn Profiles>>,
    admins: HashSet<String>,
    clock: Clock,
    drain: Drain,
    /// Profiles by the token's SHA-256 hash; the token itself is never stored.
    known: Cache<Key, Profile>,
    refused: Cache<Key, ()>,
    inner: Mutex<Inner>,
    asking: Arc<Semaphore>,
    /// Held while one task probes the API; others wait for its result.
    probing: tokio::sync::Mutex<()>,
}

/// The locked state. Critical sections are short and never span an await.
#[derive(Default)]
struct Inner {
    breaker: Breaker,
    state: Option<ApiState>,
    /// Tokens with a request in flight. Further clients with the same token wait for its result.
    flights: HashMap<Key, watch::Receiver<Option<Answer>>>,
}

type Answer = Result<Profile, Refused>;

impl Doorkeeper {
    pub(super) fn new(
        config: &Config,
        api: Option<Arc<dyn Profiles>>,
        clock: &Clock,
        drain: &Drain,
    ) -> Self {
        let cache = |ttl| Cache::builder().max_capacity(REMEMBERED).time_to_live(ttl);
        Self(Arc::new(Shared {
            api,
            admins: config.admin_ids.iter().cloned().collect(),
            clock: clock.clone(),
            drain: drain.clone(),
            known: cache(config.api_cache).build(),
            refused: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(REFUSED)
                .build(),
            inner: Mutex::default(),
            asking: Arc::new(Semaphore::new(ASKING)),
            probing: tokio::sync::Mutex::default(),
        }))
    }

    /// Authenticates a token and a claim. May take as long as one API request.
    ///
    /// # Errors
    /// Returns an error if the token or the claim is invalid, or if the API does not answer.
    pub(super) async fn admit(&self, token: &str, claim: &Claim) -> Result<Who, Refused> {
        let profile = match &self.0.api {
            Some(api) => self.profile(api, token).await?,
            None => Profile {
                id: claim.id.clone().ok_or(Refused::Invalid)?,
                role: claim.role.filter(|role| *role != Role::Admin),
            },
        };
        judge(&profile, claim, &self.0.admins)
    }

    async fn profile(&self, api: &Arc<dyn Profiles>, token: &str) -> Answer {
        if token.is_empty() || token.len() > MAX_TOKEN {
            return Err(Refused::Invalid);
        }
        let key: Key = Sha256::digest(token).into();
        if let Some(profile) = self.0.known.get(&key) {
            return Ok(profile);
        }
        if self.0.refused.contains_key(&key) {
            return Err(Refused::Invalid);
        }
        let mut answer = self.board(api, key, token)?;
        match answer.wait_for(Option::is_some).await {
            Ok(answer) => (*answer).clone().unwrap_or(Err(Refused::Unavailable)),
            Err(_) => {
                self.lock().flights.remove(&key);
                Err(Refused::Unavailable)
            }
        }
    }

    /// Joins the request in flight for this token, or starts one. The request continues even if its
    /// first waiter goes away.
    fn board(
        &self,
        api: &Arc<dyn Profiles>,
        key: Key,
        token: &str,
    ) -> Result<watch::Receiver<Option<Answer>>, Refused> {
        let mut inner = self.lock();
        if let Some(answer) = inner.flights.get(&key) {
            return Ok(answer.clone());
        }
        if inner.flights.len() >= FLIGHTS {
            return Err(Refused::Unavailable);
        }
        let (sender, answer) = watch::channel(None);
        inner.flights.insert(key, answer.clone());
        drop(inner);
        let (this, api, token) = (self.clone(), Arc::clone(api), token.to_owned());
        self.0.drain.spawn_until_stop(async move {
            let _permit = this.0.asking.acquire().await;
            // Checked only after the wait: meanwhile other requests may have opened the breaker.
            let may_ask = this.lock().breaker.may_ask(Instant::now());
            let since = Instant::now();
            let result = if may_ask {
                this.note(since, api.profile(token).await)
            } else {
                Err(Refused::Unavailable)
            };
            match &result {
                Ok(profile) => this.0.known.insert(key, profile.clone()),
                Err(Refused::Invalid) => this.0.refused.insert(key, ()),
                Err(Refused::Unavailable) => {}
            }
            this.lock().flights.remove(&key);
            let _ = sender.send(Some(result));
        });
        Ok(answer)
    }

    /// Records the outcome of an API request for the breaker and the status page.
    fn note(&self, since: Instant, result: Result<Option<Profile>, ApiError>) -> Answer {
        let now = Instant::now();
        let mut inner = self.lock();
        let was_open = inner.breaker.is_open(now);
        let error = result.as_ref().err().map(ToString::to_string);
        match &error {
            None => inner.breaker.succeeded(),
            Some(_) => inner.breaker.failed(now),
        }
        let is_open = inner.breaker.is_open(now);
        inner.state = Some(ApiState {
            at: self.0.clock.now(),
            took: since.elapsed(),
            error: error.clone(),
            seen: now,
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
        result.map_or(Err(Refused::Unavailable), |profile| {
            profile.ok_or(Refused::Invalid)
        })
    }

    /// Returns the API's state, probing it unless the last result is recent. Returns `None` if the
    /// API is never asked.
    pub(super) async fn api_state(&self) -> Option<ApiState> {
        let api = self.0.api.as_ref()?;
        let fresh = || {
            self.lock()
                .state
                .clone()
                .filter(|state| state.seen.elapsed() < FRESH)
        };
        if let Some(state) = fresh() {
            return Some(state);
        }
        let _guard = self.0.probing.lock().await;
        if let Some(state) = fresh() {
            return Some(state);
        }
        let since = Instant::now();
        let error = api.probe().await.err().map(|error| error.to_string());
        let state = ApiState {
            at: self.0.clock.now(),
            took: since.elapsed(),
            error,
            seen: Instant::now(),
        };
        self.lock().state = Some(state.clone());
        Some(state)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compares a claim with the known profile. The claim grants nothing by itself.
fn judge(profile: &Profile, claim: &Claim, admins: &HashSet<String>) -> Result<Who, Refused> {
    if claim.id.as_ref().is_some_and(|id| *id != profile.id) {
        return Err(Refused::Invalid);
    }
    let is_admin = admins.contains(&profile.id);
    let role = match claim.role {
        Some(Role::Admin) if is_admin => Role::Admin,
        Some(role) if profile.role == Some(role) => role,
        Some(_) => return Err(Refused::Invalid),
        None => profile
            .role
            .or(is_admin.then_some(Role::Admin))
            .ok_or(Refused::Invalid)?,
    };
    Ok(Who {
        id: profile.id.as_str().into(),
        role,
    })
}

#[cfg(test)]
#[path = "doorkeeper_tests.rs"]
mod tests;
