//! Tests of the running app over a store in memory.

use std::collections::HashMap;
use std::future::ready;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use latido_auth::{Secret, VerifierConfig};
use latido_postgres::DatabaseError;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::*;
use crate::database::{DeviceCredentials, ModuleStateRow, SessionRow, StoredModule};
use crate::module_claims::ClaimError;
use crate::row_notifications::RowHint;
use crate::store::StoreFuture;

/// A store in memory that counts how often it is used.
#[derive(Default)]
struct CountingStore {
    full_reads: AtomicUsize,
    row_reads: Mutex<Vec<Vec<String>>>,
    judged_codes: AtomicUsize,
    fails: AtomicUsize,
}

fn answer<'a, T: Send + 'a>(value: T) -> StoreFuture<'a, T> {
    Box::pin(ready(Ok(value)))
}

impl ModuleStore for CountingStore {
    fn read_page<'a>(&'a self, _: Option<&'a str>, _: usize) -> StoreFuture<'a, Vec<StoredModule>> {
        self.full_reads.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) > 0 {
            self.fails.fetch_sub(1, Ordering::SeqCst);
            return Box::pin(ready(Err(DatabaseError::Unavailable {
                reason: "no database in this test".to_owned(),
            })));
        }
        answer(Vec::new())
    }

    fn read_modules<'a>(&'a self, ids: &'a [String]) -> StoreFuture<'a, Vec<StoredModule>> {
        self.row_reads.lock().unwrap().push(ids.to_vec());
        answer(Vec::new())
    }

    fn credentials<'a>(&'a self, _: &'a str) -> StoreFuture<'a, Option<DeviceCredentials>> {
        answer(None)
    }

    fn session<'a>(&'a self, _: &'a str) -> StoreFuture<'a, Option<SessionRow>> {
        answer(None)
    }

    fn claim<'a>(&'a self, _: &'a str, code: &'a Secret, _: &'a str) -> StoreFuture<'a, bool> {
        self.judged_codes.fetch_add(1, Ordering::SeqCst);
        let is_right = code.expose() == "right";
        Box::pin(async move {
            // The other attempts run meanwhile.
            tokio::task::yield_now().await;
            Ok(is_right)
        })
    }

    fn save_states<'a>(&'a self, _: &'a [ModuleStateRow]) -> StoreFuture<'a, ()> {
        answer(())
    }

    fn mark_all_offline(&self) -> StoreFuture<'_, ()> {
        answer(())
    }
}

fn app() -> (Arc<ModulesApp>, Arc<CountingStore>) {
    let keys = VerifierConfig {
        secrets: vec![Secret::new("a secret of more than thirty-two bytes")],
        ..VerifierConfig::default()
    };
    let clock = Clock::system();
    let verifier = Arc::new(Verifier::new(&keys, clock.clone()).unwrap());
    let store = Arc::new(CountingStore::default());
    let used = Arc::clone(&store);
    let app = ModulesApp::build(Config::default(), store, verifier, clock, Drain::new()).unwrap();
    (Arc::new(app), used)
}

fn rows(id: &str) -> RowHint {
    RowHint::Rows(vec![id.to_owned()])
}

#[tokio::test(start_paused = true)]
async fn flood_of_notifications_causes_few_reads() {
    let (app, store) = app();
    let (sender, receiver) = mpsc::channel(256);
    let reader = tokio::spawn(app.watch_rows(receiver));
    for _ in 0..2_000 {
        let _ = sender.try_send(RowHint::All);
        sleep(Duration::from_millis(5)).await;
    }
    let reads = store.full_reads.load(Ordering::SeqCst);
    assert!(
        (9..=11).contains(&reads),
        "{reads} full reads in ten seconds"
    );
    reader.abort();
}

#[tokio::test(start_paused = true)]
async fn named_rows_do_not_wait_for_a_full_read() {
    let (app, store) = app();
    let (sender, receiver) = mpsc::channel(256);
    let reader = tokio::spawn(app.watch_rows(receiver));
    sender.send(RowHint::All).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    for hint in [RowHint::All, rows("M1"), rows("M2"), rows("M1")] {
        sender.send(hint).await.unwrap();
    }
    sleep(Duration::from_millis(10)).await;
    assert_eq!(store.full_reads.load(Ordering::SeqCst), 1);
    assert_eq!(*store.row_reads.lock().unwrap(), [["M1", "M2"]]);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(store.full_reads.load(Ordering::SeqCst), 2);
    reader.abort();
}

#[tokio::test(start_paused = true)]
async fn failed_read_is_repeated_every_second() {
    let (app, store) = app();
    store.fails.store(5, Ordering::SeqCst);
    let (sender, receiver) = mpsc::channel(256);
    let reader = tokio::spawn(app.watch_rows(receiver));
    sender.send(rows("M1")).await.unwrap();
    sleep(Duration::from_millis(5_100)).await;
    assert_eq!(store.full_reads.load(Ordering::SeqCst), 6);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(store.full_reads.load(Ordering::SeqCst), 6);
    reader.abort();
}

#[tokio::test]
async fn wrong_codes_at_the_same_time_are_not_judged_beyond_the_limit() {
    let (app, store) = app();
    let user = |id: &str| WebUser {
        id: UserId::new(id),
        ..WebUser::test_user(id)
    };
    let (eva, ana) = (user("eva"), user("ana"));
    let wrong = Secret::new("wrong");
    let attempts = (0..120).map(|_| app.claim_module(&eva, "M1", &wrong));
    let mut outcomes: HashMap<String, usize> = HashMap::new();
    for outcome in join_all(attempts).await {
        *outcomes.entry(format!("{outcome:?}")).or_default() += 1;
    }
    assert_eq!(store.judged_codes.load(Ordering::SeqCst), 10);
    assert_eq!(outcomes["Err(WrongCode)"], 10);
    assert_eq!(outcomes["Err(TooManyWrongCodes)"], 110);
    let right = Secret::new("right");
    let refused = app.claim_module(&eva, "M1", &right).await;
    assert_eq!(refused, Err(ClaimError::TooManyWrongCodes));
    let claimed = app.claim_module(&ana, "M1", &right).await;
    assert_eq!(claimed, Ok(false), "claimed, and not online");
}
