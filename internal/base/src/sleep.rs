//! Lets the connections to the database sleep while nobody uses them, so that a database that
//! suspends when it is idle can do so.
//!
//! Every part that asks the database by itself does so in [`Sleep::while_awake`]. The parts with a
//! connection of their own close it after [`Sleep::until_closed`] and report with [`Sleep::opened`]
//! that it is open again. Whatever happens for a client reports it with [`Sleep::touch`] or
//! [`Sleep::watch`], which wakes all of them.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::clock::monotonic_now;
use crate::sleep_state::SleepState;
pub use crate::sleep_state::{SleepPhase, SleepingConnection};

/// The sleep of one server's connections. Clones share it. Without a time it never begins, and all
/// methods do nothing.
#[derive(Debug, Clone)]
pub struct Sleep(Arc<SharedSleep>);

#[derive(Debug)]
struct SharedSleep {
    after: Option<Duration>,
    /// Changed under the channel's own lock. Receivers are notified when the phase changes.
    state: watch::Sender<SleepState>,
}

/// Reports changes of the phase to one task.
#[derive(Debug)]
pub struct SleepChanges(watch::Receiver<SleepState>);

impl Sleep {
    /// Creates the sleep that begins when nothing was watched or used for that long. `None` never
    /// begins it.
    pub fn new(after: Option<Duration>) -> Self {
        Self(Arc::new(SharedSleep {
            after,
            state: watch::Sender::new(SleepState::new(monotonic_now())),
        }))
    }

    /// Returns the time without use after which sleep begins. `None` if it never does.
    pub fn after(&self) -> Option<Duration> {
        self.0.after
    }

    /// Returns the current phase.
    pub fn phase(&self) -> SleepPhase {
        match self.0.after {
            Some(_) => self.0.state.borrow().phase,
            None => SleepPhase::Awake,
        }
    }

    /// Returns whether the connections sleep.
    pub fn is_asleep(&self) -> bool {
        self.phase() == SleepPhase::Asleep
    }

    /// Records that the database is used for somebody, and wakes the connections.
    pub fn touch(&self) {
        self.update(|state| state.touch(monotonic_now()));
    }

    /// Records that a topic is watched, and wakes the connections. Must be called before the topic is
    /// read.
    pub fn watch(&self) {
        self.update(|state| state.watch(monotonic_now()));
    }

    /// Records that a watched topic has no viewers any more.
    pub fn unwatch(&self) {
        self.update(|state| {
            state.unwatch(monotonic_now());
            false
        });
    }

    /// Returns the earliest time at which sleep may begin, as far as is known now. `None` if it never
    /// does.
    pub fn next_check(&self) -> Option<Instant> {
        let after = self.0.after?;
        Some(self.0.state.borrow().sleep_at(after, monotonic_now()))
    }

    /// Begins to sleep if it is time to. Returns whether it did.
    pub fn try_sleep(&self) -> bool {
        let Some(after) = self.0.after else {
            return false;
        };
        self.update(|state| state.try_sleep(after, monotonic_now()))
    }

    /// Counts a connection as closed if the connections sleep. Returns whether it may be closed; a
    /// use of the database may have come first.
    pub fn close(&self, connection: SleepingConnection) -> bool {
        let mut may_close = false;
        self.update(|state| {
            may_close = state.close(connection);
            false
        });
        may_close
    }

    /// Records that a connection is open, so that nothing is missed from now on.
    pub fn opened(&self, connection: SleepingConnection) {
        self.update(|state| state.opened(connection));
    }

    /// Records that a connection cannot be opened now. Reads no longer wait for it; they are repeated
    /// when it is open.
    pub fn wake_failed(&self) {
        self.update(SleepState::wake_failed);
    }

    /// Returns the time until which reads must wait for the connections. `None` if they may start now.
    pub fn reads_wait_until(&self, now: Instant) -> Option<Instant> {
        self.0.after?;
        self.0.state.borrow().reads_wait_until(now)
    }

    /// Waits while the connections sleep. Cancel-safe.
    pub async fn until_awake(&self) {
        self.wait_for(|phase| phase != SleepPhase::Asleep).await;
    }

    /// Runs work that no client waits for, once the connections do not sleep. Returns `None` if sleep
    /// began before its end; then it is dropped.
    pub async fn while_awake<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.until_awake().await;
        tokio::select! {
            result = work => Some(result),
            () = self.wait_for(|phase| phase == SleepPhase::Asleep) => None,
        }
    }

    /// Waits until the connections sleep and this one counts as closed. The caller closes it then.
    /// Cancel-safe.
    pub async fn until_closed(&self, connection: SleepingConnection) {
        loop {
            self.wait_for(|phase| phase == SleepPhase::Asleep).await;
            if self.close(connection) {
                return;
            }
        }
    }

    /// Returns a receiver of the changes from now on.
    pub fn changes(&self) -> SleepChanges {
        SleepChanges(self.0.state.subscribe())
    }

    async fn wait_for(&self, is_wanted: impl Fn(SleepPhase) -> bool) {
        let mut state = self.0.state.subscribe();
        // It fails only without a sender, and this is one.
        let _ = state.wait_for(|state| is_wanted(state.phase)).await;
    }

    /// Changes the state. Notifies the waiting tasks if the change returns `true`, and returns that.
    fn update(&self, change: impl FnOnce(&mut SleepState) -> bool) -> bool {
        self.0.after.is_some() && self.0.state.send_if_modified(change)
    }
}

impl SleepChanges {
    /// Waits for the next change of the phase. Cancel-safe.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns whether the phase changed since the last call, without waiting.
    #[cfg(feature = "simulation")]
    pub fn take(&mut self) -> bool {
        let has_changed = self.0.has_changed().unwrap_or(false);
        self.0.mark_unchanged();
        has_changed
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const AFTER: Duration = Duration::from_millis(1);

    fn asleep() -> Sleep {
        let sleep = Sleep::new(Some(AFTER));
        while !sleep.try_sleep() {
            std::thread::yield_now();
        }
        sleep
    }

    #[test]
    fn sleep_without_a_time_never_begins() {
        let sleep = Sleep::new(None);
        assert_eq!(sleep.next_check(), None);
        assert!(!sleep.try_sleep() && !sleep.close(SleepingConnection::Listener));
        assert_eq!(sleep.phase(), SleepPhase::Awake);
    }

    #[test]
    fn watched_topics_prevent_sleep_and_wake() {
        let sleep = asleep();
        assert!(sleep.is_asleep());
        sleep.watch();
        assert_eq!(sleep.phase(), SleepPhase::Awake, "nothing was closed yet");
        std::thread::sleep(2 * AFTER);
        assert!(!sleep.try_sleep());
        sleep.unwatch();
        std::thread::sleep(2 * AFTER);
        assert!(sleep.try_sleep());
    }

    #[test]
    fn reads_wait_for_both_connections_or_a_failure() {
        let (listener, locks) = (SleepingConnection::Listener, SleepingConnection::WatchLocks);
        let sleep = asleep();
        assert!(sleep.close(listener) && sleep.close(locks));
        sleep.touch();
        assert!(!sleep.close(listener), "it is too late to close");
        let now = monotonic_now();
        let limit = sleep.reads_wait_until(now).expect("reads wait");
        assert_eq!(sleep.reads_wait_until(limit), None, "not for ever");
        sleep.opened(listener);
        assert!(sleep.reads_wait_until(now).is_some());
        sleep.opened(locks);
        assert_eq!(sleep.reads_wait_until(now), None);
        std::thread::sleep(2 * AFTER);
        assert!(sleep.try_sleep() && sleep.close(locks));
        sleep.touch();
        assert!(sleep.reads_wait_until(now).is_some());
        sleep.wake_failed();
        assert_eq!(sleep.reads_wait_until(now), None);
    }

    #[test]
    fn work_is_dropped_when_sleep_begins() {
        let sleep = Sleep::new(Some(Duration::ZERO));
        let context = &mut Context::from_waker(Waker::noop());
        let mut work = pin!(sleep.while_awake(std::future::pending::<()>()));
        assert!(work.as_mut().poll(context).is_pending());
        assert!(sleep.try_sleep());
        assert!(work.as_mut().poll(context) == Poll::Ready(None));
        let mut work = pin!(sleep.while_awake(std::future::ready(1)));
        assert!(work.as_mut().poll(context).is_pending());
        sleep.touch();
        assert!(work.as_mut().poll(context) == Poll::Ready(Some(1)));
    }

    #[test]
    fn waiting_tasks_are_notified_of_each_phase() {
        let sleep = Sleep::new(Some(Duration::ZERO));
        let mut closed = pin!(sleep.until_closed(SleepingConnection::Listener));
        let context = &mut Context::from_waker(Waker::noop());
        assert!(closed.as_mut().poll(context).is_pending());
        assert!(sleep.try_sleep());
        assert!(closed.as_mut().poll(context).is_ready());
        let mut awake = pin!(sleep.until_awake());
        assert!(awake.as_mut().poll(context).is_pending());
        sleep.touch();
        assert_eq!(sleep.phase(), SleepPhase::Waking);
        assert!(awake.as_mut().poll(context).is_ready());
    }
}
