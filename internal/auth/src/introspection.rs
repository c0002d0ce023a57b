//! Token revocation: the issuer is queried before a token is accepted, and again while the token is
//! in use.
//!
//! `POST {"token": …}` → `{"valid": bool}` (or RFC 7662's `active`). A response is cached for the
//! configured time. Each token in use is queried again at that interval, once for all its
//! connections. For that the token itself is kept, because it must be sent. Responses are cached
//! under the hash of the token's signed part.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use moka::sync::Cache;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::signed_part::signed_part;
use crate::{Immediate, KeyError, Secret, TokenError, issuer_client};
use latido_base::backoff::Jitter;
use latido_base::drain::Drain;
use latido_net::{BodyError, error_chain, read_body};

/// The longest response, in bytes.
const MAX_BYTES: usize = 16 * 1024;
/// The most responses in the cache.
const MAX_CACHED_RESPONSES: u64 = 100_000;
/// The most concurrent queries about tokens in use.
const MAX_CONCURRENT_QUERIES: usize = 16;
/// The idle connections kept to the issuer.
const MAX_IDLE_CONNECTIONS: usize = 4;
/// The rounds without a response after which a token in use counts as revoked, unless the check
/// fails open.
const MAX_MISSED_ROUNDS: u32 = 3;

/// The default time for which a response counts.
pub(crate) const INTERVAL: Duration = Duration::from_secs(30);

/// The issuer's introspection endpoint, and the rule for a missing response.
#[derive(Debug, Clone)]
pub struct IntrospectionConfig {
    /// The endpoint's URL. Its query may hold a secret, so it is never printed.
    pub url: Secret,
    /// The time a response counts. A revoked token may be used for about as long, give or take a
    /// few seconds.
    pub interval: Duration,
    /// True if a token counts as valid while the issuer does not respond.
    pub fails_open: bool,
}

/// The revocation state of a token in use, shared by every principal made from that token.
pub(super) struct RevocationState {
    token: Secret,
    /// Set once, by the task that queries the issuer, and read by the connections' owners. Relaxed
    /// is enough: no other data depends on it.
    revoked: AtomicBool,
    /// The time of the last response with `valid` true. Written once per round.
    last_confirmed: Mutex<Instant>,
}

impl RevocationState {
    pub(super) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for RevocationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vouched")
            .field("revoked", &self.is_revoked())
            .finish_non_exhaustive()
    }
}

/// Two states are equal if they belong to the same token.
impl PartialEq for RevocationState {
    fn eq(&self, other: &Self) -> bool {
        token_digest(self.token.expose()) == token_digest(other.token.expose())
    }
}

impl Eq for RevocationState {}

type TokenDigest = [u8; 32];

/// Queries the issuer, caches its responses, and queries again while tokens are in use.
pub(super) struct Introspector {
    url: Url,
    client: Client,
    interval: Duration,
    fails_open: bool,
    cache: Cache<TokenDigest, bool>,
    /// The tokens in use, bounded by the connection limit. Locked for a look-up, or for one pass
    /// over the table per round.
    in_use: Mutex<HashMap<TokenDigest, Weak<RevocationState>>>,
}

#[derive(Deserialize)]
struct IntrospectionResponse {
    #[serde(alias = "active")]
    valid: bool,
}

/// The reason there is no valid response. It never contains the URL or the token.
#[derive(Debug, thiserror::Error)]
enum IntrospectionError {
    #[error("{0}")]
    Http(#[source] reqwest::Error),
    #[error("answered {0}; expected 200")]
    Status(StatusCode),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("expected {{\"valid\": true}} or {{\"valid\": false}}")]
    InvalidBody,
}

impl From<reqwest::Error> for IntrospectionError {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

impl Introspector {
    pub(super) fn new(config: &IntrospectionConfig) -> Result<Self, KeyError> {
        let url = issuer_client::parse_url(config.url.expose())?;
        let client = issuer_client::build_client(&url, MAX_IDLE_CONNECTIONS)?;
        let answers = Cache::builder()
            .max_capacity(MAX_CACHED_RESPONSES)
            .time_to_live(config.interval)
            .build();
        let (every, fails_open) = (config.interval, config.fails_open);
        Ok(Self {
            url,
            client,
            interval: every,
            fails_open,
            cache: answers,
            in_use: Mutex::default(),
        })
    }

    /// Starts the task that queries again about tokens in use.
    pub(super) fn start(self: &Arc<Self>, drain: &Drain) {
        let introspector = Arc::clone(self);
        drain.spawn_until_stop(async move {
            loop {
                // The interval is randomised, so that a fleet of servers does not query all at
                // once.
                tokio::time::sleep(Jitter::SHORTEN.apply(introspector.interval, fastrand::f64()))
                    .await;
                introspector.recheck_all().await;
            }
        });
    }

    /// Returns the cached state of a token, or `None` if the issuer must be queried.
    pub(super) fn cached(&self, token: &str) -> Immediate<Arc<RevocationState>> {
        let hash = token_digest(token);
        let valid = self.cache.get(&hash)?;
        Some(if valid {
            Ok(self.state_of(token, hash))
        } else {
            Err(TokenError::Revoked)
        })
    }

    /// Queries the issuer, unless its response is cached.
    pub(super) async fn check(&self, token: &str) -> Result<Arc<RevocationState>, TokenError> {
        if let Some(cached) = self.cached(token) {
            return cached;
        }
        let hash = token_digest(token);
        match self.query(token).await {
            Ok(valid) => {
                self.cache.insert(hash, valid);
                if valid {
                    Ok(self.state_of(token, hash))
                } else {
                    Err(TokenError::Revoked)
                }
            }
            Err(error) => {
                tracing::warn!(
                    reason = error_chain(&error),
                    accepted = self.fails_open,
                    "the issuer could not be queried about a token's revocation"
                );
                if self.fails_open {
                    Ok(self.state_of(token, hash))
                } else {
                    Err(TokenError::Unconfirmed)
                }
            }
        }
    }

    /// Returns the one shared state of a token in use.
    fn state_of(&self, token: &str, hash: TokenDigest) -> Arc<RevocationState> {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = in_use
            .get(&hash)
            .and_then(Weak::upgrade)
            .filter(|state| !state.is_revoked())
        {
            return state;
        }
        let confirmed = Mutex::new(Instant::now());
        let state = Arc::new(RevocationState {
            token: Secret::new(token),
            revoked: AtomicBool::new(false),
            last_confirmed: confirmed,
        });
        in_use.insert(hash, Arc::downgrade(&state));
        state
    }

    /// Queries the issuer about every token in use.
    async fn recheck_all(&self) {
        let tokens: Vec<_> = {
            let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
            in_use.retain(|_, state| state.strong_count() > 0);
            in_use
                .values()
                .filter_map(Weak::upgrade)
                .filter(|state| !state.is_revoked())
                .collect()
        };
        let failures = futures_util::stream::iter(tokens)
            .map(|state| async move { self.recheck(&state).await.err() })
            .buffer_unordered(MAX_CONCURRENT_QUERIES)
            .filter_map(std::future::ready);
        let errors: Vec<IntrospectionError> = failures.collect().await;
        if let Some(first) = errors.first() {
            let reason = error_chain(first);
            tracing::warn!(
                reason,
                tokens = errors.len(),
                "the issuer could not be queried about the revocation of tokens in use"
            );
        }
    }

    async fn recheck(&self, state: &RevocationState) -> Result<(), IntrospectionError> {
        let response = self.query(state.token.expose()).await;
        let mut confirmed = state
            .last_confirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_valid = match &response {
            Ok(valid) => {
                self.cache
                    .insert(token_digest(state.token.expose()), *valid);
                *valid
            }
            Err(_) => self.fails_open || confirmed.elapsed() < self.interval * MAX_MISSED_ROUNDS,
        };
        if response.is_ok() {
            *confirmed = Instant::now();
        }
        if !is_valid {
            state.revoked.store(true, Ordering::Relaxed);
        }
        response.map(drop)
    }

    async fn query(&self, token: &str) -> Result<bool, IntrospectionError> {
        let body = serde_json::json!({ "token": token }).to_string();
        let request = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .body(body);
        let response = request.send().await?;
        if response.status() != StatusCode::OK {
            return Err(IntrospectionError::Status(response.status()));
        }
        let body = read_body(response, MAX_BYTES).await?;
        let answer: IntrospectionResponse =
            serde_json::from_slice(&body).map_err(|_| IntrospectionError::InvalidBody)?;
        Ok(answer.valid)
    }
}

impl fmt::Debug for Introspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspector")
            .field("every", &self.interval)
            .field("fails_open", &self.fails_open)
            .finish_non_exhaustive()
    }
}

/// Returns the hash under which a token's answer is kept: that of the part which is signed. A token
/// whose signature was changed into another valid one therefore has the same answer.
fn token_digest(token: &str) -> TokenDigest {
    Sha256::digest(signed_part(token)).into()
}

#[cfg(test)]
#[path = "introspection_tests.rs"]
mod tests;
