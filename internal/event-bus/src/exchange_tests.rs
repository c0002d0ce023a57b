//! Tests of the event bus: single edge cases, and concurrent use from several threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

struct Quiet;

impl Rules for Quiet {
    fn presence(&self, _: &TopicName) -> Presence {
        Presence::Off
    }

    fn notices(&self, _: &TopicName, _: &Diff) -> Vec<Publish> {
        Vec::new()
    }
}

fn exchange() -> Arc<Exchange> {
    Arc::new(Exchange::new(Quiet, || 1))
}

fn join(name: &str) -> Join {
    Join::new(TopicName::new(name))
}

fn said(topic: &str, payload: &str) -> Publish {
    Publish::new([TopicName::new(topic)], "said", payload)
}

fn to(slot: u32) -> Address {
    Address {
        slot,
        generation: 0,
    }
}

#[test]
fn overloaded_shard_refuses_event_before_any_delivery() {
    let bus = exchange();
    bus.declare(&TopicName::new("both"), 10);
    let (free, full) = (Port::new(|| {}), Port::new(|| {}));
    bus.attach(
        &free,
        Dialect(0),
        to(0),
        Identity::default(),
        &[join("both")],
    )
    .unwrap();
    bus.attach(
        &full,
        Dialect(0),
        to(0),
        Identity::default(),
        &[join("both"), join("busy")],
    )
    .unwrap();
    let mut mailbox = bus.open(Identity::default(), &[join("both")]).unwrap();
    for _ in 0..PORT_EVENTS {
        bus.publish(said("busy", "1")).unwrap();
    }
    assert_eq!(bus.publish(said("both", "1")), Err(Overloaded));
    assert!(free.take().deliveries.is_empty() && mailbox.try_recv().is_none());
    assert!(
        bus.recent(&TopicName::new("both"), 10).is_empty(),
        "the event was not recorded"
    );
    assert_eq!(full.take().deliveries.len(), PORT_EVENTS);
    assert_eq!(bus.publish(said("both", "1")).unwrap().reached, 3);
    assert_eq!(
        (free.take().deliveries.len(), full.take().deliveries.len()),
        (1, 1)
    );
}

#[test]
fn slow_connection_ends_once_and_later_calls_have_no_effect() {
    let bus = exchange();
    let mut slow = bus.open(Identity::default(), &[join("a")]).unwrap();
    for _ in 0..MAILBOX {
        assert_eq!(bus.publish(said("a", "1")).unwrap().reached, 1);
    }
    assert_eq!(bus.publish(said("a", "1")).unwrap().reached, 0);
    assert_eq!(bus.totals(), Totals::default());
    let next = bus.open(Identity::default(), &[join("a")]).unwrap();
    assert_ne!(next.id(), slow.id());
    assert!(
        !bus.dismiss(slow.id(), "late"),
        "it is already disconnected"
    );
    assert_eq!(bus.join(slow.id(), &[join("b")]), Err(JoinError::Gone));
    assert!(matches!(slow.try_recv(), Some(Err(End::TooSlow))));
    drop(slow);
    assert_eq!(
        bus.totals().connections,
        1,
        "the next connection in its slot is not affected"
    );
}

#[test]
fn too_many_topics_join_none() {
    let bus = exchange();
    let joins: Vec<_> = (0..=TOPICS).map(|n| join(&n.to_string())).collect();
    assert!(matches!(
        bus.open(Identity::default(), &joins),
        Err(JoinError::TooMany)
    ));
    let mailbox = bus.open(Identity::default(), &joins[..TOPICS]).unwrap();
    assert_eq!(bus.join(mailbox.id(), &joins), Err(JoinError::TooMany));
    assert_eq!(bus.join(mailbox.id(), &joins[..TOPICS]).unwrap().new, 0);
    assert_eq!(bus.totals().topics, TOPICS);
    drop(mailbox);
    assert_eq!(bus.totals(), Totals::default());
}

#[test]
fn shard_is_woken_once_per_burst_and_without_lock() {
    let bus = exchange();
    let (wake_count, observed_bus) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&bus));
    let count = Arc::clone(&wake_count);
    let queue = Port::new(move || {
        // A shard that is woken may take the bus's lock at once.
        assert_eq!(observed_bus.totals().connections, 1);
        count.fetch_add(1, Ordering::Relaxed);
    });
    let id = bus
        .attach(&queue, Dialect(0), to(3), Identity::default(), &[join("a")])
        .unwrap();
    for _ in 0..3 {
        bus.publish(said("a", "1")).unwrap();
    }
    assert_eq!(
        (
            wake_count.load(Ordering::Relaxed),
            queue.take().deliveries.len()
        ),
        (1, 3)
    );
    bus.publish(said("a", "1")).unwrap();
    assert_eq!(wake_count.load(Ordering::Relaxed), 2);
    bus.disconnect(id);
    assert!(
        bus.publish(said("a", "1")).unwrap().reached == 0 && queue.take().deliveries.len() == 1
    );
}

#[test]
fn kicked_connection_reads_queued_events_then_reason() {
    let bus = exchange();
    let mut mailbox = bus.open(Identity::default(), &[join("a")]).unwrap();
    bus.publish(said("a", "1")).unwrap();
    assert!(bus.dismiss(mailbox.id(), "inactive"));
    assert!(mailbox.try_recv().unwrap().is_ok());
    for _ in 0..2 {
        assert_eq!(
            mailbox.try_recv().unwrap().unwrap_err(),
            End::Dismissed("inactive")
        );
    }
}

struct Loud;

impl Rules for Loud {
    fn presence(&self, _: &TopicName) -> Presence {
        Presence::Announced
    }

    fn notices(&self, _: &TopicName, _: &Diff) -> Vec<Publish> {
        panic!("panic of a test policy")
    }
}

#[test]
fn panicking_policy_breaks_nothing() {
    let bus = Arc::new(Exchange::new(Loud, || 1));
    let identity = Identity {
        user: Some(UserId::new("u")),
        ..Identity::default()
    };
    let mut mailbox = bus.open(identity, &[join("a")]).unwrap();
    assert_eq!(bus.list(&TopicName::new("a")).len(), 1);
    assert!(matches!(
        mailbox.try_recv().unwrap().unwrap().body,
        Body::State(_)
    ));
    drop(mailbox);
    assert_eq!(bus.totals(), Totals::default());
}

#[tokio::test]
async fn recv_is_cancel_safe() {
    let bus = exchange();
    let mut mailbox = bus.open(Identity::default(), &[join("a")]).unwrap();
    for n in 0..3 {
        {
            let mut next = std::pin::pin!(mailbox.recv());
            assert!(
                futures_util::future::poll_immediate(&mut next)
                    .await
                    .is_none()
            );
            bus.publish(said("a", &n.to_string())).unwrap();
        }
        assert_eq!(
            &*mailbox.recv().await.unwrap().message().unwrap().payload,
            n.to_string()
        );
    }
}

/// With concurrent publishers, readers and short-lived connections, every connection that stays
/// gets every event, once and in one common order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_stay_miss_nothing_under_concurrency() {
    const EVENTS: usize = PORT_EVENTS / 2;
    let bus = exchange();
    let (stop, queue) = (Arc::new(AtomicBool::new(false)), Port::new(|| {}));
    bus.attach(
        &queue,
        Dialect(0),
        to(0),
        Identity::default(),
        &[join("a"), join("b")],
    )
    .unwrap();
    let mut churn = Vec::new();
    for n in 0..2 {
        let (bus, stop) = (Arc::clone(&bus), Arc::clone(&stop));
        churn.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let user = Some(UserId::new(&format!("u{n}")));
                let mut mailbox = bus
                    .open(
                        Identity {
                            user,
                            ..Identity::default()
                        },
                        &[join("a"), join("c")],
                    )
                    .unwrap();
                let (mut seq, mut reads) = (0, 0);
                while let Some(Ok(event)) = mailbox.try_recv()
                    && reads < 20
                {
                    assert!(event.seq > seq);
                    (seq, reads) = (event.seq, reads + 1);
                }
                bus.leave(mailbox.id(), &TopicName::new("a"));
            }
        }));
    }
    // Publishers stay within a mailbox's capacity, however slowly the readers run.
    let received = [const { AtomicUsize::new(0) }; 2].map(Arc::new);
    let readers = received.clone().map(|received| {
        let mut mailbox = bus
            .open(Identity::default(), &[join("b"), join("a")])
            .unwrap();
        tokio::spawn(async move {
            let mut seqs = Vec::new();
            while seqs.len() < 2 * EVENTS {
                seqs.push(
                    mailbox
                        .recv()
                        .await
                        .expect("a reading client is not too slow")
                        .seq,
                );
                received.store(seqs.len(), Ordering::Relaxed);
            }
            seqs
        })
    });
    let published = Arc::new(AtomicUsize::new(0));
    let publishers = ["a", "b"].map(|topic| {
        let (bus, received, published) =
            (Arc::clone(&bus), received.clone(), Arc::clone(&published));
        tokio::spawn(async move {
            for _ in 0..EVENTS {
                let ahead = published.fetch_add(1, Ordering::Relaxed) + 1;
                while received
                    .iter()
                    .any(|received| received.load(Ordering::Relaxed) + MAILBOX / 2 < ahead)
                {
                    tokio::task::yield_now().await;
                }
                bus.publish(said(topic, "1")).unwrap();
            }
        })
    });
    let mut sequences = Vec::new();
    for reader in readers {
        sequences.push(reader.await.unwrap());
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    churn.into_iter().for_each(|thread| thread.join().unwrap());
    let drained = queue.take().deliveries.into_iter();
    sequences.push(
        drained
            .map(|delivery| {
                if let Delivery::Event { event, .. } = delivery {
                    event.seq
                } else {
                    0
                }
            })
            .collect(),
    );
    assert!(sequences[0].is_sorted_by(|a, b| a < b), "once and in order");
    assert!(sequences[0] == sequences[1] && sequences[0] == sequences[2]);
    assert_eq!(
        bus.totals(),
        Totals {
            connections: 1,
            users: 0,
            topics: 2
        }
    );
}
