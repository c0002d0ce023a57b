//! Whether a token was revoked: the issuer is asked, before the token opens anything and again while something is open.
//!
//! `POST {"token": …}` → `{"valid": bool}` (or RFC 7662's `active`). An answer counts for as long as the configuration says; each token that is
//! in use is asked about again as often, once for all its connections. What is kept for that is the token itself, since it is what must be
//! sent; answers are kept under its hash.

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

use crate::auth::{KeyError, Secret, TokenError, outward};
use crate::drain::Drain;

/// Longest answer, in bytes.
const MAX_BYTES: usize = 16 * 1024;
/// Answers kept.
const MAX_ANSWERS: u64 = 100_000;
/// Questions about tokens in use that are under way at a time.
const AT_ONCE: usize = 16;
/// Idle connections kept to the issuer.
const IDLE: usize = 4;
/// Without an answer for this many rounds a token in use is given up, unless no answer is taken for a yes.
const PATIENCE_ROUNDS: u32 = 3;

/// Whom to ask, and what to make of silence.
#[derive(Debug, Clone)]
pub struct Introspection {
    /// The address. May hold a secret in its query: never shown.
    pub url: Secret,
    /// How long an answer counts, and so how long a revoked token may still be used, give or take a few seconds.
    pub every: Duration,
    /// Whether a token counts as valid while nobody answers.
    pub fails_open: bool,
}

/// A token in use. Every principal that was made of it holds this.
pub(super) struct Vouched {
    token: Secret,
    /// Set once, by the task that asks; looked at by whoever owns a connection. Relaxed: nothing else hangs on it.
    revoked: AtomicBool,
    /// When it was last said to be valid. Touched once a round.
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

/// Two of the same token are the same.
impl PartialEq for Vouched {
    fn eq(&self, other: &Self) -> bool {
        digest(self.token.expose()) == digest(other.token.expose())
    }
}

impl Eq for Vouched {}

type Hash = [u8; 32];

/// Asks, remembers, and asks again.
pub(super) struct Introspector {
    url: Url,
    client: Client,
    every: Duration,
    fails_open: bool,
    answers: Cache<Hash, bool>,
    /// Tokens in use; bounded by the connections there may be. Held for a look-up, or for one pass over it a round.
    in_use: Mutex<HashMap<Hash, Weak<Vouched>>>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(alias = "active")]
    valid: bool,
}

/// Why there is no answer. Never holds the address nor the token.
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

    /// Starts the task that asks again.
    pub(super) fn start(self: &Arc<Self>, drain: &Drain) {
        let introspector = Arc::clone(self);
        drain.spawn_until_stop(async move {
            loop {
                // Spread out, so that a fleet of servers does not ask in step.
                tokio::time::sleep(introspector.every.mul_f64(0.9 + 0.1 * fastrand::f64())).await;
                introspector.round().await;
            }
        });
    }

    /// What is remembered of a token; None: it must be asked about.
    pub(super) fn remembered(&self, token: &str) -> Option<Result<Arc<Vouched>, TokenError>> {
        let hash = digest(token);
        let valid = self.answers.get(&hash)?;
        Some(if valid {
            Ok(self.vouch(token, hash))
        } else {
            Err(TokenError::Revoked)
        })
    }

    /// Asks, unless the answer is remembered.
    pub(super) async fn ask(&self, token: &str) -> Result<Arc<Vouched>, TokenError> {
        if let Some(remembered) = self.remembered(token) {
            return remembered;
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
            Err(silence) => {
                tracing::warn!(
                    reason = outward::chain(&silence),
                    accepted = self.fails_open,
                    "whether a token was revoked could not be asked"
                );
                if self.fails_open {
                    Ok(self.vouch(token, hash))
                } else {
                    Err(TokenError::Unconfirmed)
                }
            }
        }
    }

    /// The one entry of a token in use.
    fn vouch(&self, token: &str, hash: Hash) -> Arc<Vouched> {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(vouched) = in_use
            .get(&hash)
            .and_then(Weak::upgrade)
            .filter(|vouched| !vouched.is_revoked())
        {
            return vouched;
        }
        let confirmed = Mutex::new(Instant::now());
        let vouched = Arc::new(Vouched {
            token: Secret::new(token),
            revoked: AtomicBool::new(false),
            confirmed,
        });
        in_use.insert(hash, Arc::downgrade(&vouched));
        vouched
    }

    /// Asks about every token in use.
    async fn round(&self) {
        let tokens: Vec<_> = {
            let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
            in_use.retain(|_, vouched| vouched.strong_count() > 0);
            in_use
                .values()
                .filter_map(Weak::upgrade)
                .filter(|vouched| !vouched.is_revoked())
                .collect()
        };
        let silent = futures_util::stream::iter(tokens)
            .map(|vouched| async move { self.confirm(&vouched).await.err() })
            .buffer_unordered(AT_ONCE)
            .filter_map(std::future::ready);
        let silences: Vec<Silence> = silent.collect().await;
        if let Some(first) = silences.first() {
            let reason = outward::chain(first);
            tracing::warn!(
                reason,
                tokens = silences.len(),
                "whether tokens in use were revoked could not be asked"
            );
        }
    }

    async fn confirm(&self, vouched: &Vouched) -> Result<(), Silence> {
        let answer = self.post(vouched.token.expose()).await;
        let mut confirmed = vouched
            .confirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_valid = match &answer {
            Ok(valid) => {
                self.answers.insert(digest(vouched.token.expose()), *valid);
                *valid
            }
            Err(_) => self.fails_open || confirmed.elapsed() < self.every * PATIENCE_ROUNDS,
        };
        if answer.is_ok() {
            *confirmed = Instant::now();
        }
        if !is_valid {
            vouched.revoked.store(true, Ordering::Relaxed);
        }
        answer.map(drop)
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
