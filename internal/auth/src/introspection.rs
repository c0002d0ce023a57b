//! Token revocation: the issuer is queried before a token is accepted, and again while the token is
//! in use.
//!
//! `POST {"token": …}` → `{"valid": bool}` (or RFC 7662's `active`). A response is cached for the
//! configured time. Each token in use is queried again at that interval, once for all its
//! connections. For that the token itself is kept, because it must be sent. Responses are cached
//! under the token's hash.

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

use crate::{KeyError, Secret, TokenError, outward};
use latido_base::drain::Drain;

/// The longest response, in bytes.
const MAX_BYTES: usize = 16 * 1024;
/// The most responses in the cache.
const MAX_ANSWERS: u64 = 100_000;
/// The most concurrent queries about tokens in use.
const AT_ONCE: usize = 16;
/// The idle connections kept to the issuer.
const IDLE: usize = 4;
/// The rounds without a response after which a token in use counts as revoked, unless the check
/// fails open.
const PATIENCE_ROUNDS: u32 = 3;

/// The issuer's introspection endpoint, and the rule for a missing response.
#[derive(Debug, Clone)]
pub struct Introspection {
    /// The endpoint's URL. Its query may hold a secret, so it is never printed.
    pub url: Secret,
    /// The time a response counts. A revoked token may be used for about as long, give or take a
    /// few seconds.
    pub every: Duration,
    /// True if a token counts as valid while the issuer does not respond.
    pub fails_open: bool,
}

/// The revocation state of a token in use, shared by every principal made from that token.
pub(super) struct Vouched {
    token: Secret,
    /// Set once, by the task that queries the issuer, and read by the connections' owners. Relaxed
    /// is enough: no other data depends on it.
    revoked: AtomicBool,
    /// The time of the last response with `valid` true. Written once per round.
    confirmed: Mutex<Instant>,
}

impl Vouched {
    pub(super) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Vouched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vouched")
            .field("revoked", &self.is_revoked())
            .finish_non_exhaustive()
    }
}

/// Two states are equal if they belong to the same token.
impl PartialEq for Vouched {
    fn eq(&self, other: &Self) -> bool {
        digest(self.token.expose()) == digest(other.token.expose())
    }
}

impl Eq for Vouched {}

type Hash = [u8; 32];

/// Queries the issuer, caches its responses, and queries again while tokens are in use.
pub(super) struct Introspector {
    url: Url,
    client: Client,
    every: Duration,
    fails_open: bool,
    answers: Cache<Hash, bool>,
    /// The tokens in use, bounded by the connection limit. Locked for a look-up, or for one pass
    /// over the table per round.
    in_use: Mutex<HashMap<Hash, Weak<Vouched>>>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(alias = "active")]
    valid: bool,
}

/// The reason there is no valid response. It never contains the URL or the token.
#[derive(Debug, thiserror::Error)]
enum Silence {
    #[error("{0}")]
    Http(#[source] reqwest::Error),
    #[error("answered {0}; expected 200")]
    Status(StatusCode),
    #[error("expected {{\"valid\": true}} or {{\"valid\": false}}")]
    NoAnswer,
}

impl From<reqwest::Error> for Silence {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

impl Introspector {
    pub(super) fn new(config: &Introspection) -> Result<Self, KeyError> {
        let url = outward::parse_url(config.url.expose())?;
        let client = outward::client(&url, IDLE)?;
        let answers = Cache::builder()
            .max_capacity(MAX_ANSWERS)
            .time_to_live(config.every)
            .build();
        let (every, fails_open) = (config.every, config.fails_open);
        Ok(Self {
            url,
            client,
            every,
            fails_open,
            answers,
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
                tokio::time::sleep(introspector.every.mul_f64(0.9 + 0.1 * fastrand::f64())).await;
                introspector.round().await;
            }
        });
    }

    /// Returns the cached state of a token, or `None` if the issuer must be queried.
    pub(super) fn remembered(&self, token: &str) -> Option<Result<Arc<Vouched>, TokenError>> {
        let hash = digest(token);
        let valid = self.answers.get(&hash)?;
        Some(if valid {
            Ok(self.vouch(token, hash))
        } else {
            Err(TokenError::Revoked)
        })
    }

    /// Queries the issuer, unless its response is cached.
    pub(super) async fn ask(&self, token: &str) -> Result<Arc<Vouched>, TokenError> {
        if let Some(cached) = self.remembered(token) {
            return cached;
        }
        let hash = digest(token);
        match self.post(token).await {
            Ok(valid) => {
                self.answers.insert(hash, valid);
                if valid {
                    Ok(self.vouch(token, hash))
                } else {
                    Err(TokenError::Revoked)
                }
            }
            Err(error) => {
                tracing::warn!(
                    reason = outward::chain(&error),
                    accepted = self.fails_open,
                    "the issuer could not be queried about a token's revocation"
                );
                if self.fails_open {
                    Ok(self.vouch(token, hash))
                } else {
                    Err(TokenError::Unconfirmed)
                }
            }
        }
    }

    /// Returns the one shared state of a token in use.
    fn vouch(&self, token: &str, hash: Hash) -> Arc<Vouched> {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = in_use
            .get(&hash)
            .and_then(Weak::upgrade)
            .filter(|state| !state.is_revoked())
        {
            return state;
        }
        let confirmed = Mutex::new(Instant::now());
        let state = Arc::new(Vouched {
            token: Secret::new(token),
            revoked: AtomicBool::new(false),
            confirmed,
        });
        in_use.insert(hash, Arc::downgrade(&state));
        state
    }

    /// Queries the issuer about every token in use.
    async fn round(&self) {
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
            .map(|state| async move { self.confirm(&state).await.err() })
            .buffer_unordered(AT_ONCE)
            .filter_map(std::future::ready);
        let errors: Vec<Silence> = failures.collect().await;
        if let Some(first) = errors.first() {
            let reason = outward::chain(first);
            tracing::warn!(
                reason,
                tokens = errors.len(),
                "the issuer could not be queried about the revocation of tokens in use"
            );
        }
    }

    async fn confirm(&self, state: &Vouched) -> Result<(), Silence> {
        let response = self.post(state.token.expose()).await;
        let mut confirmed = state
            .confirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_valid = match &response {
            Ok(valid) => {
                self.answers.insert(digest(state.token.expose()), *valid);
                *valid
            }
            Err(_) => self.fails_open || confirmed.elapsed() < self.every * PATIENCE_ROUNDS,
        };
        if response.is_ok() {
            *confirmed = Instant::now();
        }
        if !is_valid {
            state.revoked.store(true, Ordering::Relaxed);
        }
        response.map(drop)
    }

    async fn post(&self, token: &str) -> Result<bool, Silence> {
        let body = serde_json::json!({ "token": token }).to_string();
        let request = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .body(body);
        let response = request.send().await?;
        if response.status() != StatusCode::OK {
            return Err(Silence::Status(response.status()));
        }
        let body = outward::body(response, MAX_BYTES)
            .await?
            .ok_or(Silence::NoAnswer)?;
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| Silence::NoAnswer)?;
        Ok(answer.valid)
    }
}

impl fmt::Debug for Introspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspector")
            .field("every", &self.every)
            .field("fails_open", &self.fails_open)
            .finish_non_exhaustive()
    }
}

fn digest(token: &str) -> Hash {
    Sha256::digest(token).into()
}

#[cfg(test)]
#[path = "introspection_tests.rs"]
mod tests;
