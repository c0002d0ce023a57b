//! How many connections there may be, in all, from one address, and of one user.
//!
//! A seat is taken at the accept and travels with the socket, to the shard if it becomes a WebSocket; it is free again when the socket
//! is gone, whoever drops it.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::Config;
use crate::http::bucket::Bucket;
use crate::ident::UserId;
use crate::shard::Permits;

/// Addresses, or users, remembered before those without a connection are forgotten.
const MIN_SWEEP: usize = 64;

/// See the module's documentation. Clones share the seats.
#[derive(Debug, Clone)]
pub struct Seats {
    total: Arc<Semaphore>,
    limit: usize,
    per_address: Option<Arc<Apart<IpAddr>>>,
    per_user: Option<Arc<Apart<UserId>>>,
    /// New connections a second, where they are limited.
    rush: Option<Arc<Bucket>>,
}

/// So many for each of something.
#[derive(Debug)]
struct Apart<K> {
    limit: usize,
    /// Written at each accept or handshake; a plain mutex, held for one look-up and now and then a sweep.
    known: Mutex<Known<K>>,
}

#[derive(Debug)]
struct Known<K> {
    seats: HashMap<K, Arc<Semaphore>>,
    sweep_at: usize,
}

/// One connection's place. Dropping it frees it.
#[derive(Debug)]
pub(super) struct Seat(pub(super) Permits);

/// There is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    House,
    Address,
    /// Not for want of a seat: too many come at once.
    Rush,
}

impl Seats {
    /// Empty seats, as many as the config says.
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
        let rush = config
            .max_handshakes_per_second
            .map(|rate| Arc::new(Bucket::new(rate, rate, Instant::now())));
        Self {
            total: Arc::new(Semaphore::new(limit)),
            limit,
            per_address,
            per_user,
            rush,
        }
    }

    /// Counts a new connection, at whichever listener, against those of this second. `Err`: it is one too many.
    pub(super) fn arrive(&self) -> Result<(), Full> {
        if self
            .rush
            .as_ref()
            .is_some_and(|rush| !rush.take(Instant::now()))
        {
            Err(Full::Rush)
        } else {
            Ok(())
        }
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.limit - self.total.available_permits()
    }

    /// How many are taken of how many, for whoever shows it.
    pub fn gauge(&self) -> Box<dyn Fn() -> (usize, usize) + Send + Sync> {
        let seats = self.clone();
        Box::new(move || (seats.taken(), seats.limit))
    }

    /// A seat in the house. `address`: and one of that address's; none where somebody else is to tell whose it is.
    pub(super) fn take(&self, address: Option<IpAddr>) -> Result<Seat, Full> {
        let address = address
            .map(|address| self.take_address(address))
            .transpose()?
            .flatten();
        let total = Arc::clone(&self.total)
            .try_acquire_owned()
            .map_err(|_| Full::House)?;
        Ok(Seat(Permits::new(total).and(address)))
    }

    /// One of an address's seats; none if they are not counted.
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

    /// One of a user's; none if they are not counted. `Err`: there is none left.
    pub(super) fn take_user(&self, user: &UserId) -> Result<Option<OwnedSemaphorePermit>, ()> {
        let Some(users) = &self.per_user else {
            return Ok(None);
        };
        users.take(user.clone()).map(Some).ok_or(())
    }
}

impl<K: Hash + Eq> Apart<K> {
    fn new(limit: usize) -> Self {
        let known = Mutex::new(Known {
            seats: HashMap::new(),
            sweep_at: MIN_SWEEP,
        });
        Self {
            limit: limit.min(Semaphore::MAX_PERMITS),
            known,
        }
    }

    fn take(&self, key: K) -> Option<OwnedSemaphorePermit> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.seats.len() >= known.sweep_at {
            known
                .seats
                .retain(|_, seats| seats.available_permits() < self.limit);
            known.sweep_at = (known.seats.len() * 2).max(MIN_SWEEP);
        }
        let seats = known
            .seats
            .entry(key)
            .or_insert_with(|| Arc::new(Semaphore::new(self.limit)));
        Arc::clone(seats).try_acquire_owned().ok()
    }
}

/// One client of IPv6 has a whole /64 to call from.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(max_connections: usize, max_connections_per_address: Option<usize>) -> Seats {
        Seats::new(&Config {
            max_connections,
            max_connections_per_address,
            ..Config::default()
        })
    }

    #[test]
    fn a_dropped_seat_is_free_again() {
        let seats = seats(2, None);
        let here = IpAddr::from([127, 0, 0, 1]);
        let (one, _two) = (
            seats.take(Some(here)).unwrap(),
            seats.take(Some(here)).unwrap(),
        );
        assert_eq!(
            (seats.take(Some(here)).unwrap_err(), seats.taken()),
            (Full::House, 2)
        );
        drop(one);
        assert!(seats.take(Some(here)).is_ok());
    }

    #[test]
    fn addresses_are_counted_apart_and_forgotten() {
        let seats = seats(10_000, Some(1));
        let held = seats.take("10.0.0.1".parse().ok()).unwrap();
        assert_eq!(
            seats.take("::ffff:10.0.0.1".parse().ok()).unwrap_err(),
            Full::Address
        );
        for n in 0..1_000_u32 {
            drop(seats.take(Some(IpAddr::V4(n.into()))).unwrap());
        }
        let known = seats
            .per_address
            .as_ref()
            .unwrap()
            .known
            .lock()
            .unwrap()
            .seats
            .len();
        assert!(known <= MIN_SWEEP, "{known}");
        drop(held);
        assert!(seats.take("10.0.0.1".parse().ok()).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let seats = seats(10, Some(1));
        let _held = seats.take("2001:db8::1".parse().ok()).unwrap();
        assert!(seats.take("2001:db8::ffff:2".parse().ok()).is_err());
        assert!(seats.take("2001:db8:0:1::1".parse().ok()).is_ok());
    }

    #[test]
    fn users_are_counted_apart_and_forgotten() {
        let seats = Seats::new(&Config {
            max_connections_per_user: Some(2),
            ..Config::default()
        });
        let ana = UserId::new("ana");
        let held = [seats.take_user(&ana), seats.take_user(&ana)];
        assert!(held.iter().all(Result::is_ok) && seats.take_user(&ana).is_err());
        assert!((0..1_000).all(|n| seats.take_user(&UserId::new(&n.to_string())).is_ok()));
        let known = seats
            .per_user
            .as_ref()
            .unwrap()
            .known
            .lock()
            .unwrap()
            .seats
            .len();
        assert!(known <= MIN_SWEEP, "{known}");
        drop(held);
        assert!(seats.take_user(&ana).is_ok());
        assert!(
            matches!(
                super::Seats::new(&Config::default()).take_user(&ana),
                Ok(None)
            ),
            "no limit"
        );
    }
}
