//! Connection limits: in all, per client address, and per user.
//!
//! A permit is acquired when a connection is accepted. It travels with the socket, to the shard if
//! the connection becomes a WebSocket, and is released when the socket is dropped.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{Config, REQUEST_BURST};
use crate::permit_set::PermitSet;
use latido_base::ident::UserId;
use latido_base::keyed_rate_limit::KeyedRateLimit;
use latido_base::token_bucket::SharedTokenBucket;
use latido_net::client_network;

/// The smallest number of table entries at which idle ones are removed.
const MIN_SWEEP: usize = 64;

/// Limits the number of open connections. Clones share the same permits.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    total: Arc<Semaphore>,
    limit: usize,
    per_address: Option<Arc<PerKeyLimit<IpAddr>>>,
    per_user: Option<Arc<PerKeyLimit<UserId>>>,
    /// The limit on new connections per second, if there is one.
    connect_rate: Option<Arc<SharedTokenBucket>>,
    requests_per_user: Arc<KeyedRateLimit<UserId>>,
}

/// A separate limit for each key of one kind (an address or a user).
#[derive(Debug)]
struct PerKeyLimit<K> {
    limit: usize,
    /// Locked at each accept or handshake, for one look-up and an occasional sweep, so a plain
    /// mutex is enough.
    table: Mutex<PermitTable<K>>,
}

#[derive(Debug)]
struct PermitTable<K> {
    semaphores: HashMap<K, Arc<Semaphore>>,
    sweep_at: usize,
}

/// The limit that a new connection exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitExceeded {
    /// The limit on connections in all.
    Total,
    /// The limit on connections from one address.
    PerAddress,
    /// Too many new connections per second, although permits may be free.
    ConnectRate,
}

impl LimitExceeded {
    /// Returns the error code, which is also the metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Total => "connection_limit",
            Self::PerAddress => "address_limit",
            Self::ConnectRate => "handshake_rate",
        }
    }
}

/// The error for a user whose permits are all in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many connections of this user")]
pub struct UserLimitReached;

impl ConnectionLimits {
    /// Creates the limits of the config, with all permits free.
    pub fn new(config: &Config) -> Self {
        let limit = config.max_connections.min(Semaphore::MAX_PERMITS);
        let per_address = config
            .max_connections_per_address
            .map(PerKeyLimit::new)
            .map(Arc::new);
        let per_user = config
            .max_connections_per_user
            .map(PerKeyLimit::new)
            .map(Arc::new);
        let connect_rate = config
            .max_handshakes_per_second
            .map(|rate| Arc::new(SharedTokenBucket::new(rate, rate, Instant::now())));
        Self {
            total: Arc::new(Semaphore::new(limit)),
            limit,
            per_address,
            per_user,
            connect_rate,
            requests_per_user: Arc::new(KeyedRateLimit::new(
                config.max_requests_per_user,
                config.max_requests_per_user.saturating_mul(REQUEST_BURST),
            )),
        }
    }

    /// Counts an HTTP request of a user. Returns `false` if the user makes too many.
    pub fn try_take_request(&self, user: &UserId) -> bool {
        self.requests_per_user.try_take(user.clone())
    }

    /// Counts a new connection of any listener against the limit per second.
    ///
    /// # Errors
    /// [`LimitExceeded::ConnectRate`] if the limit of this second is used up.
    pub fn check_rate(&self) -> Result<(), LimitExceeded> {
        if self
            .connect_rate
            .as_ref()
            .is_some_and(|bucket| !bucket.try_take(Instant::now()))
        {
            Err(LimitExceeded::ConnectRate)
        } else {
            Ok(())
        }
    }

    /// Returns the number of permits in use.
    pub fn in_use(&self) -> usize {
        self.limit - self.total.available_permits()
    }

    /// Returns a function that reads the permits in use and their limit, for reports.
    pub fn usage(&self) -> Box<dyn Fn() -> (usize, usize) + Send + Sync> {
        let limits = self.clone();
        Box::new(move || (limits.in_use(), limits.limit))
    }

    /// Acquires a connection permit and, with an `address`, one of that address's permits. Pass
    /// `None` if a trusted proxy is still to name the client.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn acquire(&self, address: Option<IpAddr>) -> Result<PermitSet, LimitExceeded> {
        let address = address
            .map(|address| self.acquire_address(address))
            .transpose()?
            .flatten();
        let total = Arc::clone(&self.total)
            .try_acquire_owned()
            .map_err(|_| LimitExceeded::Total)?;
        Ok(PermitSet::new(total).with(address))
    }

    /// Acquires one of an address's permits. Returns `None` if addresses are not limited.
    ///
    /// # Errors
    /// No permit of this address is left.
    pub fn acquire_address(
        &self,
        address: IpAddr,
    ) -> Result<Option<OwnedSemaphorePermit>, LimitExceeded> {
        let Some(addresses) = &self.per_address else {
            return Ok(None);
        };
        addresses
            .acquire(client_network(address))
            .map(Some)
            .ok_or(LimitExceeded::PerAddress)
    }

    /// Acquires one of a user's permits. Returns `None` if users are not limited.
    ///
    /// # Errors
    /// No permit of this user is left.
    pub fn acquire_user(
        &self,
        user: &UserId,
    ) -> Result<Option<OwnedSemaphorePermit>, UserLimitReached> {
        let Some(users) = &self.per_user else {
            return Ok(None);
        };
        users
            .acquire(user.clone())
            .map(Some)
            .ok_or(UserLimitReached)
    }
}

impl<K: Hash + Eq> PerKeyLimit<K> {
    fn new(limit: usize) -> Self {
        let table = Mutex::new(PermitTable {
            semaphores: HashMap::new(),
            sweep_at: MIN_SWEEP,
        });
        Self {
            limit: limit.min(Semaphore::MAX_PERMITS),
            table,
        }
    }

    fn acquire(&self, key: K) -> Option<OwnedSemaphorePermit> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.semaphores.len() >= table.sweep_at {
            table
                .semaphores
                .retain(|_, semaphore| semaphore.available_permits() < self.limit);
            table.sweep_at = (table.semaphores.len() * 2).max(MIN_SWEEP);
        }
        let semaphore = table
            .semaphores
            .entry(key)
            .or_insert_with(|| Arc::new(Semaphore::new(self.limit)));
        Arc::clone(semaphore).try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(
        max_connections: usize,
        max_connections_per_address: Option<usize>,
    ) -> ConnectionLimits {
        ConnectionLimits::new(&Config {
            max_connections,
            max_connections_per_address,
            ..Config::default()
        })
    }

    #[test]
    fn dropped_permit_can_be_acquired_again() {
        let limits = limits(2, None);
        let here = IpAddr::from([127, 0, 0, 1]);
        let (one, _two) = (
            limits.acquire(Some(here)).unwrap(),
            limits.acquire(Some(here)).unwrap(),
        );
        assert_eq!(
            (limits.acquire(Some(here)).unwrap_err(), limits.in_use()),
            (LimitExceeded::Total, 2)
        );
        drop(one);
        assert!(limits.acquire(Some(here)).is_ok());
    }

    #[test]
    fn addresses_are_limited_separately_and_removed_when_idle() {
        let limits = limits(10_000, Some(1));
        let held = limits.acquire("10.0.0.1".parse().ok()).unwrap();
        assert_eq!(
            limits.acquire("::ffff:10.0.0.1".parse().ok()).unwrap_err(),
            LimitExceeded::PerAddress
        );
        for n in 0..1_000_u32 {
            drop(limits.acquire(Some(IpAddr::V4(n.into()))).unwrap());
        }
        let entries = limits
            .per_address
            .as_ref()
            .unwrap()
            .table
            .lock()
            .unwrap()
            .semaphores
            .len();
        assert!(entries <= MIN_SWEEP, "{entries}");
        drop(held);
        assert!(limits.acquire("10.0.0.1".parse().ok()).is_ok());
    }

    #[test]
    fn ipv6_prefix_counts_as_one_address() {
        let limits = limits(10, Some(1));
        let _held = limits.acquire("2001:db8::1".parse().ok()).unwrap();
        assert!(limits.acquire("2001:db8::ffff:2".parse().ok()).is_err());
        assert!(limits.acquire("2001:db8:0:1::1".parse().ok()).is_ok());
    }

    #[test]
    fn users_are_limited_separately_and_removed_when_idle() {
        let limits = ConnectionLimits::new(&Config {
            max_connections_per_user: Some(2),
            ..Config::default()
        });
        let ana = UserId::new("ana");
        let held = [limits.acquire_user(&ana), limits.acquire_user(&ana)];
        assert!(held.iter().all(Result::is_ok) && limits.acquire_user(&ana).is_err());
        assert!((0..1_000).all(|n| limits.acquire_user(&UserId::new(&n.to_string())).is_ok()));
        let entries = limits
            .per_user
            .as_ref()
            .unwrap()
            .table
            .lock()
            .unwrap()
            .semaphores
            .len();
        assert!(entries <= MIN_SWEEP, "{entries}");
        drop(held);
        assert!(limits.acquire_user(&ana).is_ok());
        assert!(
            matches!(
                super::ConnectionLimits::new(&Config::default()).acquire_user(&ana),
                Ok(None)
            ),
            "no limit"
        );
    }
}
