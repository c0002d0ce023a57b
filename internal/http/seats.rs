//! How many connections there may be, in all and from one address.
//!
//! A seat is taken at the accept and travels with the socket, to the shard if it becomes a WebSocket; it is free again when the socket
//! is gone, whoever drops it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::Config;
use crate::shard::Permits;

/// Addresses remembered before those without a connection are forgotten.
const MIN_SWEEP: usize = 64;

/// See the module's documentation. Clones share the seats.
#[derive(Debug, Clone)]
pub struct Seats {
    total: Arc<Semaphore>,
    limit: usize,
    per_address: Option<Arc<Addresses>>,
}

#[derive(Debug)]
struct Addresses {
    limit: usize,
    /// Written at each accept; a plain mutex, held for one look-up and now and then a sweep.
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    by_address: HashMap<IpAddr, Arc<Semaphore>>,
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
}

impl Seats {
    /// Empty seats, as many as the config says.
    pub fn new(config: &Config) -> Self {
        let limit = config.max_connections.min(Semaphore::MAX_PERMITS);
        let per_address = config.max_connections_per_address.map(|limit| {
            let known = Mutex::new(Known { by_address: HashMap::new(), sweep_at: MIN_SWEEP });
            Arc::new(Addresses { limit: limit.min(Semaphore::MAX_PERMITS), known })
        });
        Self { total: Arc::new(Semaphore::new(limit)), limit, per_address }
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

    pub(super) fn take(&self, address: IpAddr) -> Result<Seat, Full> {
        let address = self.per_address.as_ref().map(|addresses| addresses.take(address)).transpose()?;
        let total = Arc::clone(&self.total).try_acquire_owned().map_err(|_| Full::House)?;
        Ok(Seat((total, address)))
    }
}

impl Addresses {
    fn take(&self, address: IpAddr) -> Result<OwnedSemaphorePermit, Full> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.by_address.len() >= known.sweep_at {
            known.by_address.retain(|_, seats| seats.available_permits() < self.limit);
            known.sweep_at = (known.by_address.len() * 2).max(MIN_SWEEP);
        }
        let seats = known.by_address.entry(household(address)).or_insert_with(|| Arc::new(Semaphore::new(self.limit)));
        Arc::clone(seats).try_acquire_owned().map_err(|_| Full::Address)
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
        Seats::new(&Config { max_connections, max_connections_per_address, ..Config::default() })
    }

    #[test]
    fn a_dropped_seat_is_free_again() {
        let seats = seats(2, None);
        let here = IpAddr::from([127, 0, 0, 1]);
        let (one, _two) = (seats.take(here).unwrap(), seats.take(here).unwrap());
        assert_eq!((seats.take(here).unwrap_err(), seats.taken()), (Full::House, 2));
        drop(one);
        assert!(seats.take(here).is_ok());
    }

    #[test]
    fn addresses_are_counted_apart_and_forgotten() {
        let seats = seats(10_000, Some(1));
        let held = seats.take("10.0.0.1".parse().unwrap()).unwrap();
        assert_eq!(seats.take("::ffff:10.0.0.1".parse().unwrap()).unwrap_err(), Full::Address);
        for n in 0..1_000_u32 {
            drop(seats.take(IpAddr::V4(n.into())).unwrap());
        }
        let known = seats.per_address.as_ref().unwrap().known.lock().unwrap().by_address.len();
        assert!(known <= MIN_SWEEP, "{known}");
        drop(held);
        assert!(seats.take("10.0.0.1".parse().unwrap()).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let seats = seats(10, Some(1));
        let _held = seats.take("2001:db8::1".parse().unwrap()).unwrap();
        assert!(seats.take("2001:db8::ffff:2".parse().unwrap()).is_err());
        assert!(seats.take("2001:db8:0:1::1".parse().unwrap()).is_ok());
    }
}
