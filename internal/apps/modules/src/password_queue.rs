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
        let [_, own] = &keys;
        let module_here =
            |[module, address]: &[LineKey; 2]| (address == own).then(|| module.clone());
        if of_address >= MAX_QUEUED_PER_ADDRESS {
            state.displace(of_module, module_here)?;
        } else if state.checks.len() >= MAX_QUEUED {
            let by_address = state.displace(of_address, |[_, address]| Some(address.clone()));
            by_address.or_else(|_| state.displace(of_module, module_here))?;
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
        line: impl Fn(&[LineKey; 2]) -> Option<LineKey>,
    ) -> Result<(), QueueError> {
        let waiting = self.checks.iter().filter(|check| check.waiting.is_some());
        let longest = waiting
            .filter_map(|check| Some((self.queued(&line(&check.keys)?), check.id)))
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
#[path = "password_queue_tests.rs"]
mod tests;
