//! The queue of password checks. bcrypt is slow by design, so few checks run at a time.
//!
//! Addresses take turns: of each address one check at a time waits for a free thread, and of each
//! module of an address one at a time. So whoever sends many wrong passwords waits for its own
//! checks, and delays the device at another address, or another device at the same one, by a check
//! or two. The queue is bounded. In a full one, a check takes the place of another one whose address
//! or module has the most; if none has more, the check is refused at once.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, oneshot};

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
    state: Mutex<QueueState>,
}

#[derive(Debug, Default)]
struct QueueState {
    /// The checks that wait or run, the oldest first.
    checks: Vec<QueuedCheck>,
    lines: HashMap<LineKey, QueueLine>,
    last_id: u64,
}

#[derive(Debug)]
struct QueuedCheck {
    id: u64,
    /// The check's module, and its address.
    keys: [LineKey; 2],
    /// Ends the check's wait if it is dropped. `None` if the check runs.
    waiting: Option<oneshot::Sender<()>>,
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
    id: u64,
}

/// A check that has entered the queue.
struct EnteredCheck {
    entry: QueueEntry,
    module_turn: Arc<Semaphore>,
    address_turn: Arc<Semaphore>,
    /// Completes if another check takes the place of this one.
    displaced: oneshot::Receiver<()>,
}

impl PasswordQueue {
    /// Creates a queue that lets this many checks run at a time.
    pub(super) fn new(threads: usize) -> Arc<Self> {
        Arc::new(Self {
            threads: Arc::new(Semaphore::new(threads)),
            state: Mutex::default(),
        })
    }

    /// Waits until a password of this module may be checked for a client at this address.
    ///
    /// # Errors
    /// Returns [`QueueError::Full`] at once if too many checks wait, or later if another one takes
    /// the place of this one.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        module: &str,
    ) -> Result<CheckPermit, QueueError> {
        let site = site_of(address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        let keys = [LineKey::Module(site, module.into()), LineKey::Address(site)];
        let check = self.enter(keys)?;
        let permits = async {
            let module_permit = check.module_turn.acquire_owned().await?;
            let address_permit = check.address_turn.acquire_owned().await?;
            let thread_permit = Arc::clone(&self.threads).acquire_owned().await?;
            Ok([thread_permit, address_permit, module_permit])
        };
        let permits = tokio::select! {
            biased;
            _ = check.displaced => return Err(QueueError::Full),
            permits = permits => permits.map_err(QueueError::Stopping)?,
        };
        if !self.lock().start(check.entry.id) {
            return Err(QueueError::Full);
        }
        Ok(CheckPermit {
            _permits: permits,
            _entry: check.entry,
        })
    }

    fn enter(self: &Arc<Self>, keys: [LineKey; 2]) -> Result<EnteredCheck, QueueError> {
        let mut state = self.lock();
        let [of_module, of_address] = keys.each_ref().map(|key| state.queued(key));
        if of_module >= MAX_QUEUED_PER_MODULE {
            return Err(QueueError::Full);
        }
        if of_address >= MAX_QUEUED_PER_ADDRESS {
            let [_, address] = &keys;
            state.displace(of_module, |[module, of]| (of == address).then_some(module))?;
        }
        if state.checks.len() >= MAX_QUEUED {
            state.displace(of_address, |[_, address]| Some(address))?;
        }
        let (waiting, displaced) = oneshot::channel();
        let [module_turn, address_turn] = keys.each_ref().map(|key| state.join_line(key));
        state.last_id += 1;
        let id = state.last_id;
        state.checks.push(QueuedCheck {
            id,
            keys,
            waiting: Some(waiting),
        });
        Ok(EnteredCheck {
            entry: QueueEntry {
                queue: Arc::clone(self),
                id,
            },
            module_turn,
            address_turn,
            displaced,
        })
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    fn queued(&self, key: &LineKey) -> usize {
        self.lines.get(key).map_or(0, |line| line.queued)
    }

    fn join_line(&mut self, key: &LineKey) -> Arc<Semaphore> {
        let line = self.lines.entry(key.clone()).or_insert_with(|| QueueLine {
            turn: Arc::new(Semaphore::new(1)),
            queued: 0,
        });
        line.queued += 1;
        Arc::clone(&line.turn)
    }

    /// Makes room: removes the newest waiting check of the longest line. `line` returns the line of
    /// a check that may be removed. `own` is the length of the newcomer's line.
    ///
    /// # Errors
    /// Returns [`QueueError::Full`] if no line would stay longer than the newcomer's.
    fn displace(
        &mut self,
        own: usize,
        line: impl Fn(&[LineKey; 2]) -> Option<&LineKey>,
    ) -> Result<(), QueueError> {
        let waiting = self.checks.iter().filter(|check| check.waiting.is_some());
        let longest = waiting
            .filter_map(|check| Some((self.queued(line(&check.keys)?), check.id)))
            .max()
            .filter(|(length, _)| *length > own + 1);
        let (_, id) = longest.ok_or(QueueError::Full)?;
        self.remove(id);
        Ok(())
    }

    /// Records that a check runs, so that no other takes its place. Returns `false` if one has.
    fn start(&mut self, id: u64) -> bool {
        let check = self.checks.iter_mut().find(|check| check.id == id);
        check.is_some_and(|check| check.waiting.take().is_some())
    }

    /// Removes a check, if it is still there.
    fn remove(&mut self, id: u64) {
        let Some(at) = self.checks.iter().position(|check| check.id == id) else {
            return;
        };
        for key in &self.checks.remove(at).keys {
            let Some(line) = self.lines.get_mut(key) else {
                continue;
            };
            line.queued -= 1;
            if line.queued == 0 {
                self.lines.remove(key);
            }
        }
    }
}

impl Drop for QueueEntry {
    fn drop(&mut self) {
        self.queue.lock().remove(self.id);
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

    /// Queues checks of ten modules each at ten addresses, and returns their refusals.
    async fn fill(queue: &Arc<PasswordQueue>, log: &Log) -> usize {
        const MODULES: [&str; 10] = ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J"];
        for address in 0..10 {
            for module in MODULES {
                let address = format!("198.51.100.{address}");
                queue_check(queue, (&address, module), "attacker", log);
            }
        }
        settle().await;
        std::mem::take(&mut *log.lock().unwrap()).len()
    }

    #[tokio::test]
    async fn full_queue_has_room_for_another_address() {
        let (queue, log) = (PasswordQueue::new(1), Log::default());
        let first = queue.acquire(address("192.0.2.1"), "M1").await.unwrap();
        let refused = fill(&queue, &log).await;
        assert_eq!(refused, 100 + 1 - MAX_QUEUED, "the queue is full");
        queue_check(&queue, ("192.0.2.7", "M2"), "device", &log);
        settle().await;
        assert_eq!(std::mem::take(&mut *log.lock().unwrap()), ["refused"]);
        assert_eq!(queue.lock().checks.len(), MAX_QUEUED);
        drop(first);
        settle().await;
        let order = std::mem::take(&mut *log.lock().unwrap());
        assert!(order[..11].contains(&"device"), "{order:?}");
        assert_eq!(order.len(), MAX_QUEUED - 1);
    }

    #[tokio::test]
    async fn full_line_of_an_address_has_room_for_another_module() {
        let (queue, log) = (PasswordQueue::new(1), Log::default());
        let first = queue.acquire(address(ATTACKER), "M1").await.unwrap();
        for module in ["M1", "M1", "M1", "M2", "M2", "M2", "M2"] {
            queue_check(&queue, (ATTACKER, module), "attacker", &log);
        }
        queue_check(&queue, (ATTACKER, "M3"), "device", &log);
        settle().await;
        assert_eq!(std::mem::take(&mut *log.lock().unwrap()), ["refused"]);
        drop(first);
        settle().await;
        let order = std::mem::take(&mut *log.lock().unwrap());
        assert!(order[..3].contains(&"device"), "{order:?}");
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
        assert_eq!((state.checks.len(), state.lines.len()), (0, 0));
    }
}
