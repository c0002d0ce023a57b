//! Connection limits: in all, per client address, and per user.
//!
//! A permit is acquired when a connection is accepted. It travels with the socket, to the shard if
//! the connection becomes a WebSocket, and is released when the socket is dropped.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Config;
use crate::bucket::Bucket;
use latido_base::ident::UserId;
use latido_shard::PermitSet;

/// The smallest number of table entries at which idle ones are removed.
const MIN_SWEEP: usize = 64;

/// Limits the number of open connections. Clones share the same permits.
#[derive(Debug, Clone)]
pub struct Seats {
    total: Arc<Semaphore>,
    limit: usize,
    per_address: Option<Arc<Apart<IpAddr>>>,
    per_user: Option<Arc<Apart<UserId>>>,
    /// The limit on new connections per second, if there is one.
    rush: Option<Arc<Bucket>>,
}

/// A separate limit for each key of one kind (an address or a user).
#[derive(Debug)]
struct Apart<K> {
    limit: usize,
    /// Locked at each accept or handshake, for one look-up and an occasional sweep, so a plain
    /// mutex is enough.
    known: Mutex<Known<K>>,
}

#[derive(Debug)]
struct Known<K> {
    seats: HashMap<K, Arc<Semaphore>>,
    sweep_at: usize,
}

/// The permits of one connection. Dropping the value releases them.
#[derive(Debug)]
pub(super) struct Seat(pub(super) PermitSet);

/// The limit that a new connection exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    House,
    Address,
    /// Too many new connections per second, although permits may be free.
    Rush,
}

impl Seats {
    /// Creates the limits of the config, with all permits free.
    pub fn new(config: &Config) -> Self {
        let limit = config.max_connections.min(Semaphore::MAX_PERMITS);
        let per_address = config
            .max_connections_per_address
            .map(Apart::new)
            .map(Arc::new);
        let per_user = config
            .max_connections_per_user
            .map(Apart::new)
            .map(Arc::new);
        let connect_rate = config
            .max_handshakes_per_second
            .map(|rate| Arc::new(Bucket::new(rate, rate, Instant::now())));
        Self {
            total: Arc::new(Semaphore::new(limit)),
            limit,
            per_address,
            per_user,
            rush: connect_rate,
        }
    }

    /// Counts a new connection of any listener against the limit per second.
    ///
    /// # Errors
    /// [`LimitExceeded::ConnectRate`] if the limit of this second is used up.
    pub(super) fn arrive(&self) -> Result<(), Full> {
        if self
            .rush
            .as_ref()
            .is_some_and(|bucket| !bucket.take(Instant::now()))
        {
            Err(Full::Rush)
        } else {
            Ok(())
        }
    }

    /// Returns the number of permits in use.
    pub fn taken(&self) -> usize {
        self.limit - self.total.available_permits()
    }

    /// Returns a function that reads the permits in use and their limit, for reports.
    pub fn gauge(&self) -> Box<dyn Fn() -> (usize, usize) + Send + Sync> {
        let limits = self.clone();
        Box::new(move || (limits.taken(), limits.limit))
    }

    /// Acquires a connection permit and, with an `address`, one of that address's permits. Pass
    /// `None` if a trusted proxy is still to name the client.
    pub(super) fn take(&self, address: Option<IpAddr>) -> Result<Seat, Full> {
        let address = address
            .map(|address| self.take_address(address))
            .transpose()?
            .flatten();
        let total = Arc::clone(&self.total)
            .try_acquire_owned()
            .map_err(|_| Full::House)?;
        Ok(Seat(PermitSet::new(total).with(address)))
    }

    /// Acquires one of an address's permits. Returns `None` if addresses are not limited.
    pub(super) fn take_address(
        &self,
        address: IpAddr,
    ) -> Result<Option<OwnedSemaphorePermit>, Full> {
        let Some(addresses) = &self.per_address else {
            return Ok(None);
        };
        addresses
            .take(household(address))
            .map(Some)
            .ok_or(Full::Address)
    }

    /// Acquires one of a user's permits. Returns `None` if users are not limited, and an error if
    /// none is left.
    pub(super) fn take_user(&self, user: &UserId) -> Result<Option<OwnedSemaphorePermit>, ()> {
        let Some(users) = &self.per_user else {
            return Ok(None);
        };
        users.take(user.clone()).map(Some).ok_or(())
    }
}

impl<K: Hash + Eq> Apart<K> {
    fn new(limit: usize) -> Self {
        let table = Mutex::new(Known {
            seats: HashMap::new(),
            sweep_at: MIN_SWEEP,
        });
        Self {
            limit: limit.min(Semaphore::MAX_PERMITS),
            known: table,
        }
    }

    fn take(&self, key: K) -> Option<OwnedSemaphorePermit> {
        let mut table = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if table.seats.len() >= table.sweep_at {
            table
                .seats
                .retain(|_, semaphore| semaphore.available_permits() < self.limit);
            table.sweep_at = (table.seats.len() * 2).max(MIN_SWEEP);
        }
        let semaphore = table
            .seats
            .entry(key)
            .or_insert_with(|| Arc::new(Semaphore::new(self.limit)));
        Arc::clone(semaphore).try_acquire_owned().ok()
    }
}

/// Maps an address to the key it is limited by. One IPv6 client controls a whole /64, so its prefix
/// counts as one address.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(max_connections: usize, max_connections_per_address: Option<usize>) -> Seats {
        Seats::new(&Config {
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
            limits.take(Some(here)).unwrap(),
            limits.take(Some(here)).unwrap(),
        );
        assert_eq!(
            (limits.take(Some(here)).unwrap_err(), limits.taken()),
            (Full::House, 2)
        );
        drop(one);
        assert!(limits.take(Some(here)).is_ok());
    }

    #[test]
    fn addresses_are_limited_separately_and_removed_when_idle() {
        let limits = limits(10_000, Some(1));
        let held = limits.take("10.0.0.1".parse().ok()).unwrap();
        assert_eq!(
            limits.take("::ffff:10.0.0.1".parse().ok()).unwrap_err(),
            Full::Address
        );
        for n in 0..1_000_u32 {
            drop(limits.take(Some(IpAddr::V4(n.into()))).unwrap());
        }
        let entries = limits
            .per_address
            .as_ref()
            .unwrap()
            .known
            .lock()
            .unwrap()
            .seats
            .len();
        assert!(entries <= MIN_SWEEP, "{entries}");
        drop(held);
        assert!(limits.take("10.0.0.1".parse().ok()).is_ok());
    }

    #[test]
    fn ipv6_prefix_counts_as_one_address() {
        let limits = limits(10, Some(1));
        let _held = limits.take("2001:db8::1".parse().ok()).unwrap();
        assert!(limits.take("2001:db8::ffff:2".parse().ok()).is_err());
        assert!(limits.take("2001:db8:0:1::1".parse().ok()).is_ok());
    }

    #[test]
    fn users_are_limited_separately_and_removed_when_idle() {
        let limits = Seats::new(&Config {
            max_connections_per_user: Some(2),
            ..Config::default()
        });
        let ana = UserId::new("ana");
        let held = [limits.take_user(&ana), limits.take_user(&ana)];
        assert!(held.iter().all(Result::is_ok) && limits.take_user(&ana).is_err());
        assert!((0..1_000).all(|n| limits.take_user(&UserId::new(&n.to_string())).is_ok()));
        let entries = limits
            .per_user
            .as_ref()
            .unwrap()
            .known
            .lock()
            .unwrap()
            .seats
            .len();
        assert!(entries <= MIN_SWEEP, "{entries}");
        drop(held);
        assert!(limits.take_user(&ana).is_ok());
        assert!(
            matches!(
                super::Seats::new(&Config::default()).take_user(&ana),
                Ok(None)
            ),
            "no limit"
        );
    }
}
