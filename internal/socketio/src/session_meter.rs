//! What each session may use, above all before its client has identified itself.
//!
//! The transport keeps an unfinished event in memory until its attachments arrive, and it handles
//! pings, empty packets and connects to unknown namespaces without asking an app. So packets and
//! bytes are counted here, in front of it: each packet of a poll, and each frame of a WebSocket.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use latido_base::token_bucket::{TokenBucket, TokenRate};
use latido_net::client_network;

/// The packets above the limit of an app's events that a session may send: the transport's own,
/// such as pongs. An app that drops events should be the first to notice.
const TRANSPORT_PACKETS: u32 = 32;

/// The sessions of one mount.
pub(super) struct SessionTable {
    limits: MeterLimits,
    /// Locked for a look-up or a few additions, and for one pass per [`SessionTable::overdue`].
    state: Mutex<TableState>,
}

#[derive(Default)]
struct TableState {
    /// The meters by session id.
    sessions: HashMap<Box<str>, Weak<SessionMeter>>,
    /// The sessions without identity, in all and by address, and the bytes they sent.
    unidentified: usize,
    unidentified_by_address: HashMap<IpAddr, usize>,
    unidentified_bytes: usize,
}

/// The limits of one session, and of all that are not identified yet.
#[derive(Debug, Clone)]
struct MeterLimits {
    rate: TokenRate,
    sessions: usize,
    sessions_per_address: usize,
    session_bytes: usize,
    total_bytes: usize,
    identify_timeout: Duration,
}

/// The meter of one session. The head of the request that opened it holds the meter.
pub(super) struct SessionMeter {
    table: Arc<SessionTable>,
    address: Option<IpAddr>,
    /// The origin of the bucket's time.
    opened: Instant,
    state: Mutex<MeterState>,
    /// Cancelled when the session must end; its WebSocket then ends.
    closing: CancellationToken,
}

struct MeterState {
    packets: TokenBucket,
    /// The namespaces in which the client is identified.
    identified: Vec<Box<str>>,
    /// The start of the time in which the client must identify itself.
    unidentified_since: Option<Instant>,
    /// The bytes received while the client was not identified.
    bytes: usize,
    /// True while the session counts as unidentified in the table.
    is_counted: bool,
}

/// The limit that a session exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MeterError {
    /// Too many sessions without identity.
    Sessions,
    /// Too many sessions without identity from this address.
    SessionsPerAddress,
    /// Too many packets.
    Packets,
    /// Too many bytes before identification.
    Bytes,
}

impl fmt::Display for MeterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sessions => "too many sessions without identity",
            Self::SessionsPerAddress => "too many sessions without identity from this address",
            Self::Packets => "too many packets",
            Self::Bytes => "too many bytes before identification",
        })
    }
}

impl std::error::Error for MeterError {}

impl SessionTable {
    pub(super) fn new(config: &Config) -> Arc<Self> {
        let burst = config.message_burst.saturating_mul(2);
        Arc::new(Self {
            limits: MeterLimits {
                rate: TokenRate::per_second(
                    config.messages_per_second.saturating_add(1),
                    burst.saturating_add(TRANSPORT_PACKETS),
                ),
                sessions: config.unidentified_sessions,
                sessions_per_address: config.unidentified_sessions_per_address,
                session_bytes: config.unidentified_session_bytes,
                total_bytes: config.unidentified_total_bytes,
                identify_timeout: config.identify_timeout,
            },
            state: Mutex::default(),
        })
    }

    /// Admits a new session.
    ///
    /// # Errors
    ///
    /// Fails if too many sessions are not identified yet.
    pub(super) fn admit(
        self: &Arc<Self>,
        address: Option<IpAddr>,
    ) -> Result<Arc<SessionMeter>, MeterError> {
        let address = address.map(client_network);
        let mut state = self.lock();
        if state.unidentified >= self.limits.sessions {
            return Err(MeterError::Sessions);
        }
        if let Some(address) = address {
            let here = state.unidentified_by_address.entry(address).or_default();
            if *here >= self.limits.sessions_per_address {
                return Err(MeterError::SessionsPerAddress);
            }
            *here += 1;
        }
        state.unidentified += 1;
        drop(state);
        let now = Instant::now();
        Ok(Arc::new(SessionMeter {
            table: Arc::clone(self),
            address,
            opened: now,
            state: Mutex::new(MeterState {
                packets: TokenBucket::full(self.limits.rate, Duration::ZERO),
                identified: Vec::new(),
                unidentified_since: Some(now),
                bytes: 0,
                is_counted: true,
            }),
            closing: CancellationToken::new(),
        }))
    }

    /// Names a session, once its id is known.
    pub(super) fn register(&self, sid: &str, meter: &Arc<SessionMeter>) {
        self.lock()
            .sessions
            .insert(sid.into(), Arc::downgrade(meter));
    }

    /// Returns the meter of a session, or `None` if there is no such session.
    pub(super) fn find(&self, sid: &str) -> Option<Arc<SessionMeter>> {
        self.lock().sessions.get(sid).and_then(Weak::upgrade)
    }

    /// Returns the largest body of a request to that session.
    pub(super) fn body_limit(&self, sid: Option<&str>, largest: usize) -> usize {
        let meter = sid.and_then(|sid| self.find(sid));
        match meter {
            Some(meter) if meter.is_identified() => largest,
            _ => largest.min(self.limits.session_bytes),
        }
    }

    /// Returns the interval at which [`SessionTable::overdue`] should be called.
    pub(super) fn check_interval(&self) -> Duration {
        (self.limits.identify_timeout / 8).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// Returns the sessions whose clients have not identified themselves in time, and forgets those
    /// that have ended.
    pub(super) fn overdue(&self) -> Vec<(Box<str>, Arc<SessionMeter>)> {
        let live: Vec<_> = {
            let mut state = self.lock();
            state.sessions.retain(|_, meter| meter.strong_count() > 0);
            let meters = state.sessions.iter();
            meters
                .filter_map(|(sid, meter)| Some((sid.clone(), meter.upgrade()?)))
                .collect()
        };
        live.into_iter()
            .filter(|(_, meter)| meter.is_overdue())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, TableState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionMeter {
    /// Counts packets or frames, and their payload bytes.
    ///
    /// # Errors
    ///
    /// Fails if a limit is exceeded. The session must then end.
    pub(super) fn count(&self, packets: usize, bytes: usize) -> Result<(), MeterError> {
        let limits = &self.table.limits;
        let elapsed = self.opened.elapsed();
        let mut state = self.lock();
        for _ in 0..packets {
            if !state.packets.try_take(limits.rate, elapsed) {
                return Err(MeterError::Packets);
            }
        }
        if !state.identified.is_empty() || bytes == 0 {
            return Ok(());
        }
        state.bytes = state.bytes.saturating_add(bytes);
        let mut is_exceeded = state.bytes > limits.session_bytes;
        if state.is_counted {
            let mut table = self.table.lock();
            table.unidentified_bytes = table.unidentified_bytes.saturating_add(bytes);
            is_exceeded |= table.unidentified_bytes > limits.total_bytes;
        }
        if is_exceeded {
            Err(MeterError::Bytes)
        } else {
            Ok(())
        }
    }

    /// Notes that the client is identified in a namespace.
    pub(super) fn identify(&self, namespace: &str) {
        let mut state = self.lock();
        if !state.identified.iter().any(|known| **known == *namespace) {
            state.identified.push(namespace.into());
        }
        state.unidentified_since = None;
        self.release(&mut state);
    }

    /// Notes that the client has left a namespace.
    pub(super) fn leave(&self, namespace: &str) {
        let mut state = self.lock();
        let before = state.identified.len();
        state.identified.retain(|known| **known != *namespace);
        if before > 0 && state.identified.is_empty() {
            state.unidentified_since = Some(Instant::now());
        }
    }

    /// Returns a token that is cancelled when the session must end.
    pub(super) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    fn is_identified(&self) -> bool {
        !self.lock().identified.is_empty()
    }

    fn is_overdue(&self) -> bool {
        self.lock()
            .unidentified_since
            .is_some_and(|since| since.elapsed() >= self.table.limits.identify_timeout)
    }

    /// Takes the session off the count of those without identity.
    fn release(&self, state: &mut MeterState) {
        if !std::mem::replace(&mut state.is_counted, false) {
            return;
        }
        let bytes = std::mem::take(&mut state.bytes);
        let mut table = self.table.lock();
        table.unidentified = table.unidentified.saturating_sub(1);
        table.unidentified_bytes = table.unidentified_bytes.saturating_sub(bytes);
        if let Some(address) = self.address
            && let Some(here) = table.unidentified_by_address.get_mut(&address)
        {
            *here -= 1;
            if *here == 0 {
                table.unidentified_by_address.remove(&address);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, MeterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SessionMeter {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.release(&mut state);
    }
}

impl fmt::Debug for SessionMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionMeter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Arc<SessionTable> {
        SessionTable::new(&Config {
            unidentified_sessions: 3,
            unidentified_sessions_per_address: 2,
            unidentified_session_bytes: 100,
            unidentified_total_bytes: 150,
            messages_per_second: 1,
            message_burst: 1,
            ..Config::default()
        })
    }

    fn address(last: u8) -> Option<IpAddr> {
        Some([10, 0, 0, last].into())
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_without_identity_are_limited() {
        let table = table();
        let first = table.admit(address(1)).unwrap();
        let second = table.admit(address(1)).unwrap();
        assert_eq!(
            table.admit(address(1)).unwrap_err(),
            MeterError::SessionsPerAddress
        );
        let _third = table.admit(address(2)).unwrap();
        assert_eq!(table.admit(address(3)).unwrap_err(), MeterError::Sessions);
        first.identify("/");
        let _fourth = table.admit(address(1)).unwrap();
        assert!(table.admit(address(1)).is_err());
        drop(second);
        assert!(table.admit(address(1)).is_ok());
        assert!(table.lock().unidentified_by_address.len() <= 3);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_before_identification_are_limited_for_one_and_for_all() {
        let table = table();
        let (one, other) = (table.admit(None).unwrap(), table.admit(None).unwrap());
        assert_eq!(one.count(1, 100), Ok(()));
        assert_eq!(one.count(1, 1), Err(MeterError::Bytes));
        assert_eq!(other.count(1, 60), Err(MeterError::Bytes), "both together");
        one.identify("/");
        assert_eq!(one.count(1, 1_000_000), Ok(()));
        assert_eq!(table.lock().unidentified_bytes, 60);
        assert_eq!(table.body_limit(Some("a"), 1_000), 100);
        table.register("a", &one);
        assert_eq!(table.body_limit(Some("a"), 1_000), 1_000);
        drop((one, other));
        assert_eq!(table.lock().unidentified_bytes, 0);
        assert!(table.find("a").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn packets_are_limited() {
        let meter = table().admit(None).unwrap();
        assert_eq!(meter.count(34, 0), Ok(()));
        assert_eq!(meter.count(1, 0), Err(MeterError::Packets));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(meter.count(2, 0), Ok(()));
        assert_eq!(meter.count(1, 0), Err(MeterError::Packets));
    }

    #[tokio::test(start_paused = true)]
    async fn client_must_be_identified_in_time() {
        let table = table();
        let meter = table.admit(None).unwrap();
        table.register("a", &meter);
        assert!(table.overdue().is_empty());
        tokio::time::advance(Config::default().identify_timeout).await;
        assert_eq!(table.overdue().len(), 1);
        meter.identify("/");
        assert!(table.overdue().is_empty());
        meter.leave("/other");
        meter.leave("/");
        assert!(table.overdue().is_empty());
        tokio::time::advance(Config::default().identify_timeout).await;
        assert_eq!(table.overdue().len(), 1);
        drop(meter);
        assert!(table.overdue().is_empty());
    }
}
