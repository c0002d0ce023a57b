//! Single flight: concurrent calls for the same key share one call.
//!
//! A shared call is a future that every caller polls. Dropping one caller does not cancel the call
//! for the others. Without a caller it is cancelled; a component that wants it to go on spawns a
//! clone of the future that [`SingleFlight::join`] returned.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};

/// A call that several callers await. All of them receive a clone of its result.
pub type SharedCall<V> = Shared<BoxFuture<'static, V>>;

/// The calls in progress. They are held weakly: a call lives as long as something awaits it, so the
/// callers bound their number.
pub struct SingleFlight<K: Eq + Hash, V>(Arc<Mutex<Calls<K, V>>>);

struct Calls<K, V> {
    /// The number of calls started so far. It tells a call from a later one for the same key.
    started: u64,
    in_progress: HashMap<K, Call<V>>,
}

struct Call<V> {
    number: u64,
    future: Option<WeakShared<BoxFuture<'static, V>>>,
}

/// The result of [`SingleFlight::join_bounded`].
#[derive(Debug, Clone)]
pub enum Joined<V: Clone> {
    /// The call was in progress already.
    Running(SharedCall<V>),
    /// The call was started now. It runs as soon as it is polled.
    Started(SharedCall<V>),
    /// The call was not started, because too many others are in progress.
    Full,
}

impl<K, V> SingleFlight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Joins the call in progress for `key`, or starts the one that `start` creates. `start` runs
    /// under a lock, so it must only build a future.
    pub fn join<F>(&self, key: &K, start: impl FnOnce() -> F) -> SharedCall<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut calls = lock(&self.0);
        match calls.running(key) {
            Some(call) => call,
            None => self.start(&mut calls, key, start()),
        }
    }

    /// Does the same, but starts no call while `max_calls` are in progress.
    pub fn join_bounded<F>(&self, key: &K, max_calls: usize, start: impl FnOnce() -> F) -> Joined<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut calls = lock(&self.0);
        match calls.running(key) {
            Some(call) => Joined::Running(call),
            None if calls.in_progress.len() >= max_calls => Joined::Full,
            None => Joined::Started(self.start(&mut calls, key, start())),
        }
    }

    /// Returns the number of calls in progress.
    pub fn in_progress(&self) -> usize {
        lock(&self.0).in_progress.len()
    }

    fn start<F>(&self, calls: &mut Calls<K, V>, key: &K, call: F) -> SharedCall<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        calls.started += 1;
        let number = calls.started;
        let guard = CallGuard {
            calls: Arc::clone(&self.0),
            key: key.clone(),
            number,
        };
        let call = async move {
            let _guard = guard;
            call.await
        };
        let call = call.boxed().shared();
        let future = call.downgrade();
        calls
            .in_progress
            .insert(key.clone(), Call { number, future });
        call
    }
}

impl<K: Eq + Hash, V: Clone> Calls<K, V> {
    fn running(&self, key: &K) -> Option<SharedCall<V>> {
        self.in_progress.get(key)?.future.as_ref()?.upgrade()
    }
}

/// A guard inside a call's future. It removes the call's entry when the call has ended or all of
/// its callers have dropped it.
struct CallGuard<K: Eq + Hash, V> {
    calls: Arc<Mutex<Calls<K, V>>>,
    key: K,
    number: u64,
}

impl<K: Eq + Hash, V> Drop for CallGuard<K, V> {
    fn drop(&mut self) {
        let mut calls = lock(&self.calls);
        let entry = calls.in_progress.get(&self.key);
        // A newer call may have replaced one whose callers were all dropped.
        if entry.is_some_and(|call| call.number == self.number) {
            calls.in_progress.remove(&self.key);
        }
    }
}

/// Locks the table of calls. The lock is held for one look-up.
fn lock<T>(calls: &Mutex<T>) -> MutexGuard<'_, T> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Eq + Hash, V> Default for SingleFlight<K, V> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Calls {
            started: 0,
            in_progress: HashMap::new(),
        })))
    }
}

impl<K: Eq + Hash, V> fmt::Debug for SingleFlight<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::poll;
    use tokio::sync::Semaphore;

    use super::*;

    /// A slow service that counts its requests and answers once it may.
    struct Service {
        requests: AtomicUsize,
        responses: Semaphore,
        calls: SingleFlight<u32, u32>,
    }

    impl Service {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                requests: AtomicUsize::new(0),
                responses: Semaphore::new(0),
                calls: SingleFlight::default(),
            })
        }

        async fn answer(self: Arc<Self>, key: u32) -> u32 {
            self.requests.fetch_add(1, Ordering::SeqCst);
            self.responses.acquire().await.unwrap().forget();
            key * 10
        }

        fn ask(self: &Arc<Self>, key: u32) -> SharedCall<u32> {
            self.calls.join(&key, || Arc::clone(self).answer(key))
        }
    }

    #[tokio::test]
    async fn concurrent_calls_share_one() {
        let service = Service::new();
        let (mut first, mut second) = (service.ask(2), service.ask(2));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        drop(first); // the other caller still gets the result
        assert!(poll!(&mut second).is_pending());
        service.responses.add_permits(1);
        assert_eq!(second.await, 20);
        assert_eq!(service.requests.load(Ordering::SeqCst), 1);
        assert_eq!(service.calls.in_progress(), 0, "nothing is left behind");
    }

    #[tokio::test]
    async fn finished_call_is_not_shared() {
        let service = Service::new();
        service.responses.add_permits(2);
        assert_eq!((service.ask(1).await, service.ask(1).await), (10, 10));
        assert_eq!(service.requests.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn abandoned_call_is_removed() {
        let service = Service::new();
        let mut only = service.ask(2);
        assert!(poll!(&mut only).is_pending());
        drop(only);
        assert_eq!(service.calls.in_progress(), 0);
        service.responses.add_permits(1);
        assert_eq!(service.ask(2).await, 20);
        assert_eq!(service.requests.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn spawned_call_goes_on_without_its_caller() {
        let service = Service::new();
        let call = service.ask(2);
        let task = tokio::spawn(call.clone());
        drop(call);
        service.responses.add_permits(1);
        assert_eq!(service.ask(2).await, 20);
        assert_eq!(task.await.unwrap(), 20);
        assert_eq!(service.requests.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn calls_are_bounded_but_joining_is_not() {
        let service = Service::new();
        let join = |key| {
            let answer = Arc::clone(&service).answer(key);
            service.calls.join_bounded(&key, 2, || answer)
        };
        let started: Vec<_> = [1, 2].map(join).into_iter().collect();
        assert!(
            started
                .iter()
                .all(|call| matches!(call, Joined::Started(_)))
        );
        assert!(matches!(join(3), Joined::Full));
        assert!(matches!(join(1), Joined::Running(_)));
        drop(started);
        assert!(matches!(join(3), Joined::Started(_)));
    }
}
