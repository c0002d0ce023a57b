//! The queue of password checks. bcrypt is slow by design, so few checks run at a time.
//!
//! Addresses take turns: of each address one check at a time waits for a free thread, and of each
//! module of an address one at a time. So whoever sends many wrong passwords waits for its own
//! checks, and delays the device at another address, or another device at the same one, by a check
//! or two. The queue is bounded; a check that finds no room is refused at once.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// The maximum number of checks that wait or run: of all addresses, of one, and of one module at an
/// address. Each waiting check takes one of the 64 futures that the shards run for all apps, so half
/// of these stay free.
const MAX_QUEUED: usize = 32;
const MAX_QUEUED_PER_ADDRESS: usize = 8;
const MAX_QUEUED_PER_MODULE: usize = 4;
/// The bits of an IPv6 address that identify a site (RFC 6177): one has 2^64 addresses at least.
const SITE_BITS: u32 = 64;

/// The reason why a check may not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum QueueError {
    #[error("too many passwords wait to be checked")]
    Full,
    #[error("the server stops")]
    Stopping(#[from] AcquireError),
}

/// The queue; see the module's documentation.
#[derive(Debug)]
pub(super) struct PasswordQueue {
    threads: Arc<Semaphore>,
    lines: Mutex<QueueLines>,
}

#[derive(Debug, Default)]
struct QueueLines {
    queued: usize,
    lines: HashMap<LineKey, QueueLine>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum LineKey {
    Address(IpAddr),
    Module(IpAddr, Box<str>),
}

/// The checks of one address or module, of which one at a time may go on.
#[derive(Debug)]
struct QueueLine {
    turn: Arc<Semaphore>,
    queued: usize,
}

/// The permission to check one password. The next check may begin when it is dropped.
#[derive(Debug)]
pub(super) struct CheckPermit {
    _permits: [OwnedSemaphorePermit; 3],
    _entry: QueueEntry,
}

/// A counted check. It is removed from the counts when dropped, also by a check that gave up.
#[derive(Debug)]
struct QueueEntry {
    queue: Arc<PasswordQueue>,
    keys: [LineKey; 2],
}

impl PasswordQueue {
    /// Creates a queue that lets this many checks run at a time.
    pub(super) fn new(threads: usize) -> Arc<Self> {
        Arc::new(Self {
            threads: Arc::new(Semaphore::new(threads)),
            lines: Mutex::default(),
        })
    }

    /// Waits until a password of this module may be checked for a client at this address.
    ///
    /// # Errors
    /// Returns [`QueueError::Full`] at once if too many checks wait.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        module: &str,
    ) -> Result<CheckPermit, QueueError> {
        let site = site_of(address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        let keys = [LineKey::Module(site, module.into()), LineKey::Address(site)];
        let [module_turn, address_turn] = self.enter(&keys)?;
        let entry = QueueEntry {
            queue: Arc::clone(self),
            keys,
        };
        let module_permit = module_turn.acquire_owned().await?;
        let address_permit = address_turn.acquire_owned().await?;
        let thread_permit = Arc::clone(&self.threads).acquire_owned().await?;
        Ok(CheckPermit {
            _permits: [thread_permit, address_permit, module_permit],
            _entry: entry,
        })
    }

    fn enter(&self, keys: &[LineKey; 2]) -> Result<[Arc<Semaphore>; 2], QueueError> {
        let mut state = self.lock();
        let [of_module, of_address] = keys
            .each_ref()
            .map(|key| state.lines.get(key).map_or(0, |line| line.queued));
        if state.queued >= MAX_QUEUED
            || of_address >= MAX_QUEUED_PER_ADDRESS
            || of_module >= MAX_QUEUED_PER_MODULE
        {
            return Err(QueueError::Full);
        }
        state.queued += 1;
        Ok(keys.each_ref().map(|key| {
            let line = state.lines.entry(key.clone()).or_insert_with(|| QueueLine {
                turn: Arc::new(Semaphore::new(1)),
                queued: 0,
            });
            line.queued += 1;
            Arc::clone(&line.turn)
        }))
    }

    fn lock(&self) -> MutexGuard<'_, QueueLines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for QueueEntry {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.queued -= 1;
        for key in &self.keys {
            let Some(line) = state.lines.get_mut(key) else {
                continue;
            };
            line.queued -= 1;
            if line.queued == 0 {
                state.lines.remove(key);
            }
        }
    }
}

/// Returns the address itself, or the site's first address for IPv6.
fn site_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let site = u128::from(address) >> (128 - SITE_BITS) << (128 - SITE_BITS);
            Ipv6Addr::from(site).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::task::yield_now;

    use super::*;

    const ATTACKER: &str = "198.51.100.1";

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    type Log = Arc<Mutex<Vec<&'static str>>>;

    /// Queues a check that records its name when it runs, or that it was refused.
    fn queue_check(
        queue: &Arc<PasswordQueue>,
        (client, module): (&str, &'static str),
        name: &'static str,
        log: &Log,
    ) {
        let (queue, client, log) = (Arc::clone(queue), address(client), Arc::clone(log));
        tokio::spawn(async move {
            let permit = queue.acquire(client, module).await;
            let entry = if permit.is_ok() { name } else { "refused" };
            log.lock().unwrap().push(entry);
            yield_now().await;
        });
    }

    async fn settle() {
        for _ in 0..2_000 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn wrong_passwords_delay_nobody_else_by_more_than_a_check() {
        let (queue, log) = (PasswordQueue::new(1), Log::default());
        let first = queue.acquire(address(ATTACKER), "M1").await.unwrap();
        for _ in 1..200 {
            queue_check(&queue, (ATTACKER, "M1"), "attacker", &log);
        }
        settle().await;
        let refused = std::mem::take(&mut *log.lock().unwrap());
        assert_eq!(
            refused.len(),
            200 - MAX_QUEUED_PER_MODULE,
            "the queue is bounded"
        );
        queue_check(&queue, ("192.0.2.7", "M2"), "device", &log);
        settle().await;
        drop(first);
        settle().await;
        let order = std::mem::take(&mut *log.lock().unwrap());
        assert_eq!(order.len(), MAX_QUEUED_PER_MODULE);
        assert!(order[..2].contains(&"device"), "{order:?}");
    }

    #[tokio::test]
    async fn another_device_at_the_same_address_waits_for_one_check() {
        let (queue, log) = (PasswordQueue::new(1), Log::default());
        let first = queue.acquire(address(ATTACKER), "M1").await.unwrap();
        for _ in 1..200 {
            queue_check(&queue, (ATTACKER, "M1"), "attacker", &log);
        }
        settle().await;
        log.lock().unwrap().clear();
        queue_check(&queue, (ATTACKER, "M2"), "device", &log);
        settle().await;
        drop(first);
        settle().await;
        let order = std::mem::take(&mut *log.lock().unwrap());
        assert_eq!(order.len(), MAX_QUEUED_PER_MODULE);
        assert!(order[..2].contains(&"device"), "{order:?}");
    }

    #[tokio::test]
    async fn finished_and_cancelled_checks_leave_nothing() {
        let queue = PasswordQueue::new(2);
        let one = queue.acquire(address("2001:db8::1"), "M1").await.unwrap();
        {
            let mut waiting = std::pin::pin!(queue.acquire(address("2001:db8::2"), "M1"));
            assert!(
                waiting.as_mut().now_or_never().is_none(),
                "both addresses are of one site"
            );
        }
        drop(one);
        drop(queue.acquire(None, "M1").await.unwrap());
        let state = queue.lock();
        assert_eq!((state.queued, state.lines.len()), (0, 0));
    }
}
