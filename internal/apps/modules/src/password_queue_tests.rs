//! Tests of the turns and the bounds of the queue.

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
async fn full_queue_has_room_for_another_module_of_an_address() {
    let (queue, log) = (PasswordQueue::new(1), Log::default());
    let _first = queue.acquire(address("192.0.2.1"), "M1").await.unwrap();
    for client in 0..10 {
        let client = format!("198.51.100.{client}");
        for _ in 0..MAX_QUEUED_PER_MODULE {
            queue_check(&queue, (&client, "M1"), "attacker", &log);
        }
    }
    settle().await;
    log.lock().unwrap().clear();
    queue_check(&queue, ("198.51.100.0", "M2"), "device", &log);
    settle().await;
    let site = site_of("198.51.100.0".parse().unwrap());
    let device = LineKey::Module(site, "M2".into());
    assert_eq!(queue.lock().queued(&device), 1);
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
