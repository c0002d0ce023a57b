//! Who may come in, and as whom: what the API says of a token, compared with what the client says of itself.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use moka::sync::Cache;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, watch};
use tracing::{info, warn};

use crate::apps::gateway::Config;
use crate::apps::gateway::breaker::Breaker;
use crate::apps::gateway::django::{ApiError, Profile, Profiles};
use crate::apps::gateway::who::{Role, Who};
use crate::clock::Clock;
use crate::drain::Drain;

/// Tokens remembered.
const REMEMBERED: u64 = 10_000;
/// How long a refusal counts: whoever signs in again has another token.
const REFUSED: Duration = Duration::from_secs(10);
/// Tokens that are asked about at once, and that may wait for it: a deployment's worth of clients coming back.
const ASKING: usize = 32;
const FLIGHTS: usize = 4096;
/// Longest token, in bytes.
const MAX_TOKEN: usize = 4096;
/// How long the API's state counts before it is looked at again.
const FRESH: Duration = Duration::from_secs(5);

type Key = [u8; 32];

/// Why somebody stays outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The token is nobody's, or somebody else's.
    Invalid,
    /// Nobody can tell now.
    Unavailable,
}

/// What a client says of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Claim {
    pub(super) id: Option<String>,
    pub(super) role: Option<Role>,
}

/// The API, as far as is known.
#[derive(Debug, Clone)]
pub(super) struct ApiState {
    pub(super) at: Timestamp,
    pub(super) took: Duration,
    pub(super) error: Option<String>,
    seen: Instant,
}

/// Cheap to clone; clones share everything.
#[derive(Clone)]
pub(super) struct Doorkeeper(Arc<Shared>);

struct Shared {
    /// None: clients are trusted.
    api: Option<Arc<dyn Profiles>>,
    admins: HashSet<String>,
    clock: Clock,
    drain: Drain,
    /// By the token's hash: a token itself is kept nowhere.
    known: Cache<Key, Profile>,
    refused: Cache<Key, ()>,
    inner: Mutex<Inner>,
    asking: Arc<Semaphore>,
    /// One looks at a time.
    probing: tokio::sync::Mutex<()>,
}

/// Short critical sections, never across an await.
#[derive(Default)]
struct Inner {
    breaker: Breaker,
    state: Option<ApiState>,
    /// Tokens that are just asked about: whoever brings the same waits for the same answer.
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

    /// Who a token with this claim is. May take as long as the API.
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

    /// Joins who asks already, or asks. The question goes on whoever stops waiting for it.
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
        let (tell, answer) = watch::channel(None);
        inner.flights.insert(key, answer.clone());
        drop(inner);
        let (this, api, token) = (self.clone(), Arc::clone(api), token.to_owned());
        self.0.drain.spawn_until_stop(async move {
            let _turn = this.0.asking.acquire().await;
            // Only now: while others waited, the API may have been found to be down.
            let may_ask = this.lock().breaker.may_ask(Instant::now());
            let since = Instant::now();
            let said = if may_ask {
                this.note(since, api.profile(token).await)
            } else {
                Err(Refused::Unavailable)
            };
            match &said {
                Ok(profile) => this.0.known.insert(key, profile.clone()),
                Err(Refused::Invalid) => this.0.refused.insert(key, ()),
                Err(Refused::Unavailable) => {}
            }
            this.lock().flights.remove(&key);
            let _ = tell.send(Some(said));
        });
        Ok(answer)
    }

    /// Notes how the API did.
    fn note(&self, since: Instant, said: Result<Option<Profile>, ApiError>) -> Answer {
        let now = Instant::now();
        let mut inner = self.lock();
        let was_open = inner.breaker.is_open(now);
        let error = said.as_ref().err().map(ToString::to_string);
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
                error,
                "the API does not answer; it is left alone for a while and nobody new is let in"
            );
        } else if was_open && !is_open {
            info!(app = "gateway", "the API answers again");
        }
        said.map_or(Err(Refused::Unavailable), |profile| {
            profile.ok_or(Refused::Invalid)
        })
    }

    /// How the API does; looked at now if nobody has lately. None: it is not asked at all.
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
        let _one = self.0.probing.lock().await;
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

/// A claim is only compared with what is known.
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
