//! The issuer's key set, fetched by one task and kept until a newer one arrives.
//!
//! The URL is the operator's; nothing in a token (`jku`, `x5u`, `jwk`) is ever followed or trusted.
//! An unknown key makes the task fetch again, but at most once per cooldown. Otherwise anyone could
//! overload the issuer with invented key ids.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode, Url};
use tokio::sync::{Notify, watch};

use crate::jwk::{KeySet, KeySetError};
use crate::{KeyError, issuer_client};
use latido_base::backoff::{Backoff, Jitter};
use latido_base::drain::Drain;
use latido_net::{BodyError, error_chain, read_body};

/// The longest key set accepted, in bytes; real ones have a few thousand.
const MAX_BYTES: usize = 128 * 1024;
/// The time a token waits for a fetch that may bring its key.
const REFRESH_TIMEOUT: Duration =
    issuer_client::RESPONSE_TIMEOUT.saturating_add(Duration::from_millis(500));
/// The pauses after failed fetches.
const RETRIES: Backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(300));

/// The intervals at which the key set is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JwksTimings {
    /// The interval after a successful fetch.
    pub refresh: Duration,
    /// The shortest time between two fetches caused by unknown keys.
    pub cooldown: Duration,
}

impl Default for JwksTimings {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(3600),
            cooldown: Duration::from_secs(10),
        }
    }
}

/// The key set and the task that keeps it up to date.
pub(super) struct Jwks {
    url: Url,
    client: Client,
    timings: JwksTimings,
    /// Written only by the task, after every attempt, failed ones too, because waiting tokens wait
    /// for the end of an attempt.
    keys: watch::Sender<KeySet>,
    /// Wakes the task before its interval is over.
    wake: Notify,
    /// Locked for short sections without an await. One lock, because both fields change together.
    fetch_state: Mutex<FetchState>,
}

#[derive(Debug, Default)]
struct FetchState {
    last_start: Option<Instant>,
    in_flight: bool,
}

/// The reason a fetch failed. It never contains the URL, whose query may be a secret.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{0}")]
    Http(#[source] reqwest::Error),
    #[error("answered {0}; redirects are not followed")]
    Status(StatusCode),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    KeySet(#[from] KeySetError),
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

impl Jwks {
    pub(super) fn new(url: &str, timings: JwksTimings) -> Result<Self, KeyError> {
        let url = issuer_client::parse_url(url)?;
        let client = issuer_client::build_client(&url, 0)?;
        let keys = watch::Sender::new(KeySet::default());
        Ok(Self {
            url,
            client,
            timings,
            keys,
            wake: Notify::new(),
            fetch_state: Mutex::default(),
        })
    }

    /// Starts the task that fetches, at once and then for ever.
    pub(super) fn start(self: &Arc<Self>, drain: &Drain) {
        let jwks = Arc::clone(self);
        drain.spawn_until_stop(async move { jwks.run().await });
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<KeySet> {
        self.keys.subscribe()
    }

    /// Waits for the end of a fetch that is in progress or may be started now. Returns at once if
    /// one ended since `keys` was read. Returns `false` if there is none, or if it takes too long.
    pub(super) async fn wait_for_refresh(&self, keys: &mut watch::Receiver<KeySet>) -> bool {
        if keys.has_changed().unwrap_or(false) {
            return true;
        }
        if !self.can_fetch() {
            return false;
        }
        self.wake.notify_one();
        matches!(
            tokio::time::timeout(REFRESH_TIMEOUT, keys.changed()).await,
            Ok(Ok(()))
        )
    }

    /// Returns whether a fetch is in progress or may be started now.
    pub(super) fn can_fetch(&self) -> bool {
        let state = self
            .fetch_state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        state.in_flight
            || state
                .last_start
                .is_none_or(|start| start.elapsed() >= self.timings.cooldown)
    }

    async fn run(&self) {
        let mut backoff = RETRIES;
        loop {
            self.set_in_flight(true);
            let fetched = self.fetch().await;
            self.set_in_flight(false);
            let wait = if fetched.is_ok() {
                backoff.reset();
                self.timings.refresh
            } else {
                backoff.next_pause()
            };
            self.publish(fetched, wait);
            self.wait_until_due(wait).await;
        }
    }

    /// Waits until the next fetch is due, or until an unknown key causes one.
    async fn wait_until_due(&self, wait: Duration) {
        // The interval is randomised, so that a fleet of servers does not fetch all at once.
        let due = tokio::time::sleep(Jitter::SLIGHT.apply(wait, fastrand::f64()));
        tokio::pin!(due);
        loop {
            tokio::select! {
                () = &mut due => return,
                // The stored wake-up may date from the fetch that has just ended.
                () = self.wake.notified() => if self.can_fetch() { return },
            }
        }
    }

    fn set_in_flight(&self, in_flight: bool) {
        let mut state = self
            .fetch_state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        state.in_flight = in_flight;
        if in_flight {
            state.last_start = Some(Instant::now());
        }
    }

    fn publish(&self, fetched: Result<KeySet, FetchError>, wait: Duration) {
        match fetched {
            Ok(keys) => {
                tracing::info!(keys = keys.len(), "the issuer's key set was fetched");
                self.keys.send_replace(keys);
            }
            Err(error) => {
                let retry_in_s = wait.as_secs();
                let reason = error_chain(&error);
                tracing::warn!(
                    reason,
                    retry_in_s,
                    "the issuer's key set could not be fetched; the last good one stays"
                );
                self.keys.send_modify(|_| {});
            }
        }
    }

    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let response = self.client.get(self.url.clone()).send().await?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let body = read_body(response, MAX_BYTES).await?;
        Ok(KeySet::parse(&body)?)
    }
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwks")
            .field("timings", &self.timings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "jwks_tests.rs"]
mod tests;
