//! The issuer's key set: fetched by one task, kept until a better one comes.
//!
//! The address is the operator's; nothing in a token (`jku`, `x5u`, `jwk`) is ever followed or believed. An unknown key makes the task
//! fetch again, at most once in a while: else anybody could make us hammer the issuer with invented ids.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode, Url, redirect};
use tokio::sync::{Notify, watch};

use crate::auth::KeyError;
use crate::auth::jwk::{KeySet, KeySetError};
use crate::drain::Drain;

/// Longest key set accepted, in bytes; real ones have a few thousand.
const MAX_BYTES: usize = 128 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// For the whole answer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a token waits for a fetch that may bring its key.
const WAIT: Duration = FETCH_TIMEOUT.saturating_add(Duration::from_millis(500));
/// After a failure: this long, then twice as long, and so on.
const RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// When the key set is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JwksTimings {
    /// After a success.
    pub refresh: Duration,
    /// The shortest time between two fetches that unknown keys ask for.
    pub cooldown: Duration,
}

impl Default for JwksTimings {
    fn default() -> Self {
        Self { refresh: Duration::from_secs(3600), cooldown: Duration::from_secs(10) }
    }
}

/// The key set and the task that keeps it.
pub(super) struct Jwks {
    url: Url,
    client: Client,
    timings: JwksTimings,
    /// Written by the task alone, after every attempt, failed ones too: that is what waiting tokens wait for.
    keys: watch::Sender<KeySet>,
    /// Wakes the task before its time.
    nudge: Notify,
    /// Short critical sections without an await: a lock, since both fields change together.
    pace: Mutex<Pace>,
}

#[derive(Debug, Default)]
struct Pace {
    last_start: Option<Instant>,
    in_flight: bool,
}

/// Why there is no new key set. Never holds the address, whose query may be a secret.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{0}")]
    Http(#[source] reqwest::Error),
    #[error("answered {0}; redirects are not followed")]
    Status(StatusCode),
    #[error("longer than {MAX_BYTES} bytes")]
    TooLong,
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
        let url = parse_url(url)?;
        let client = client(&url)?;
        let keys = watch::Sender::new(KeySet::default());
        Ok(Self { url, client, timings, keys, nudge: Notify::new(), pace: Mutex::default() })
    }

    /// Starts the task that fetches, at once and then for ever.
    pub(super) fn start(self: &Arc<Self>, drain: &Drain) {
        let jwks = Arc::clone(self);
        drain.spawn_until_stop(async move { jwks.run().await });
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<KeySet> {
        self.keys.subscribe()
    }

    /// Waits until a fetch has ended that is on its way or may be asked for now; at once if one ended since `keys` was read.
    /// False: there is none, or it takes too long.
    pub(super) async fn refreshed(&self, keys: &mut watch::Receiver<KeySet>) -> bool {
        if keys.has_changed().unwrap_or(false) {
            return true;
        }
        if !self.may_fetch() {
            return false;
        }
        self.nudge.notify_one();
        matches!(tokio::time::timeout(WAIT, keys.changed()).await, Ok(Ok(())))
    }

    /// Whether asking for a fetch now would bring one.
    pub(super) fn may_fetch(&self) -> bool {
        let pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.in_flight || pace.last_start.is_none_or(|start| start.elapsed() >= self.timings.cooldown)
    }

    async fn run(&self) {
        let mut failures: u32 = 0;
        loop {
            self.set_pace(true);
            let fetched = self.fetch().await;
            self.set_pace(false);
            let wait = match &fetched {
                Ok(_) => self.timings.refresh,
                Err(_) => RETRY.saturating_mul(1 << failures.min(10)).min(LONGEST_RETRY),
            };
            failures = if fetched.is_ok() { 0 } else { failures.saturating_add(1) };
            self.publish(fetched, wait);
            self.rest(wait).await;
        }
    }

    /// Until it is time again, or until somebody needs a key and may have it looked for.
    async fn rest(&self, wait: Duration) {
        // Spread out, so that a fleet of servers does not ask in step.
        let until = tokio::time::sleep(wait.mul_f64(0.9 + 0.2 * fastrand::f64()));
        tokio::pin!(until);
        loop {
            tokio::select! {
                () = &mut until => return,
                // The permit may date from the fetch that has just ended.
                () = self.nudge.notified() => if self.may_fetch() { return },
            }
        }
    }

    fn set_pace(&self, in_flight: bool) {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.in_flight = in_flight;
        if in_flight {
            pace.last_start = Some(Instant::now());
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
                let reason = chain(&error);
                tracing::warn!(reason, retry_in_s, "the issuer's key set could not be fetched; the last good one stays");
                self.keys.send_modify(|_| {});
            }
        }
    }

    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let mut response = self.client.get(self.url.clone()).send().await?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(FetchError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(KeySet::parse(&body)?)
    }
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwks").field("timings", &self.timings).finish_non_exhaustive()
    }
}

/// An error with its causes; reqwest's own text says little without them.
fn chain(error: &FetchError) -> String {
    let first: &dyn std::error::Error = error;
    let mut causes: Vec<_> = std::iter::successors(Some(first), |e| e.source()).map(ToString::to_string).collect();
    causes.dedup();
    causes.join(": ")
}

/// Whether `url` may be asked for a key set.
pub fn check_url(url: &str) -> Result<(), KeyError> {
    parse_url(url).map(drop)
}

fn parse_url(url: &str) -> Result<Url, KeyError> {
    let url = Url::parse(url).map_err(|_| KeyError::JwksUrl)?;
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    let is_plain = url.username().is_empty() && url.password().is_none() && url.host_str().is_some();
    if is_safe && is_plain { Ok(url) } else { Err(KeyError::JwksUrl) }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn client(url: &Url) -> Result<Client, KeyError> {
    let is_loopback = is_loopback(url);
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(FETCH_TIMEOUT)
        .pool_max_idle_per_host(0)
        .https_only(url.scheme() == "https")
        .tls_backend_preconfigured(tls(url.scheme() == "https")?);
    if is_loopback {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|_| KeyError::RootCertificates)
}

/// rustls on ring with the machine's own root certificates.
fn tls(needs_roots: bool) -> Result<rustls::ClientConfig, KeyError> {
    let mut roots = rustls::RootCertStore::empty();
    if needs_roots {
        let (found, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if found == 0 {
            return Err(KeyError::RootCertificates);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|_| KeyError::RootCertificates)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
#[path = "jwks_tests.rs"]
mod tests;
