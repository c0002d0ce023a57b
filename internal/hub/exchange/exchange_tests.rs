//! The exchange's edges one by one, and under threads.

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
fn an_overloaded_shard_refuses_before_anybody_gets_anything() {
    let exchange = exchange();
    exchange.declare(&TopicName::new("both"), 10);
    let (free, full) = (Port::new(|| {}), Port::new(|| {}));
    exchange
        .attach(
            &free,
            Dialect(0),
            to(0),
            Identity::default(),
            &[join("both")],
        )
        .unwrap();
    exchange
        .attach(
            &full,
            Dialect(0),
            to(0),
            Identity::default(),
            &[join("both"), join("busy")],
        )
        .unwrap();
    let mut mailbox = exchange.open(Identity::default(), &[join("both")]).unwrap();
    for _ in 0..PORT_EVENTS {
        exchange.publish(said("busy", "1")).unwrap();
    }
    assert_eq!(exchange.publish(said("both", "1")), Err(Overloaded));
    assert!(free.take().deliveries.is_empty() && mailbox.try_recv().is_none());
    assert!(
        exchange.recent(&TopicName::new("both"), 10).is_empty(),
        "it did not happen"
    );
    assert_eq!(full.take().deliveries.len(), PORT_EVENTS);
    assert_eq!(exchange.publish(said("both", "1")).unwrap().reached, 3);
    assert_eq!(
        (free.take().deliveries.len(), full.take().deliveries.len()),
        (1, 1)
    );
}

#[test]
fn a_slow_connection_ends_once_and_a_late_word_means_nothing() {
    let exchange = exchange();
    let mut slow = exchange.open(Identity::default(), &[join("a")]).unwrap();
    for _ in 0..MAILBOX {
        assert_eq!(exchange.publish(said("a", "1")).unwrap().reached, 1);
    }
    assert_eq!(exchange.publish(said("a", "1")).unwrap().reached, 0);
    assert_eq!(exchange.totals(), Totals::default());
    let next = exchange.open(Identity::default(), &[join("a")]).unwrap();
    assert_ne!(next.id(), slow.id());
    assert!(!exchange.dismiss(slow.id(), "late"), "it is gone already");
    assert_eq!(exchange.join(slow.id(), &[join("b")]), Err(JoinError::Gone));
    assert!(matches!(slow.try_recv(), Some(Err(End::TooSlow))));
    drop(slow);
    assert_eq!(
        exchange.totals().connections,
        1,
        "the next one in its place is not touched"
    );
}

#[test]
fn too_many_topics_join_none() {
    let exchange = exchange();
    let joins: Vec<_> = (0..=TOPICS).map(|n| join(&n.to_string())).collect();
    assert!(matches!(
        exchange.open(Identity::default(), &joins),
        Err(JoinError::TooMany)
    ));
    let mailbox = exchange
        .open(Identity::default(), &joins[..TOPICS])
        .unwrap();
    assert_eq!(exchange.join(mailbox.id(), &joins), Err(JoinError::TooMany));
    assert_eq!(
        exchange.join(mailbox.id(), &joins[..TOPICS]).unwrap().new,
        0
    );
    assert_eq!(exchange.totals().topics, TOPICS);
    drop(mailbox);
    assert_eq!(exchange.totals(), Totals::default());
}

#[test]
fn a_shard_is_woken_once_for_a_burst_and_under_no_lock() {
    let exchange = exchange();
    let (woken, lock) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&exchange));
    let count = Arc::clone(&woken);
    let port = Port::new(move || {
        // Whoever is woken may look at once.
        assert_eq!(lock.totals().connections, 1);
        count.fetch_add(1, Ordering::Relaxed);
    });
    let id = exchange
        .attach(&port, Dialect(0), to(3), Identity::default(), &[join("a")])
        .unwrap();
    for _ in 0..3 {
        exchange.publish(said("a", "1")).unwrap();
    }
    assert_eq!(
        (woken.load(Ordering::Relaxed), port.take().deliveries.len()),
        (1, 3)
    );
    exchange.publish(said("a", "1")).unwrap();
    assert_eq!(woken.load(Ordering::Relaxed), 2);
    exchange.disconnect(id);
    assert!(
        exchange.publish(said("a", "1")).unwrap().reached == 0 && port.take().deliveries.len() == 1
    );
}

#[test]
fn a_dismissed_connection_reads_what_it_had_and_then_why() {
    let exchange = exchange();
    let mut mailbox = exchange.open(Identity::default(), &[join("a")]).unwrap();
    exchange.publish(said("a", "1")).unwrap();
    assert!(exchange.dismiss(mailbox.id(), "inactive"));
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
        panic!("rules of a test")
    }
}

#[test]
fn rules_that_panic_break_nothing() {
    let exchange = Arc::new(Exchange::new(Loud, || 1));
    let identity = Identity {
        user: Some(UserId::new("u")),
        ..Identity::default()
    };
    let mut mailbox = exchange.open(identity, &[join("a")]).unwrap();
    assert_eq!(exchange.list(&TopicName::new("a")).len(), 1);
    assert!(matches!(
        mailbox.try_recv().unwrap().unwrap().body,
        Body::State(_)
    ));
    drop(mailbox);
    assert_eq!(exchange.totals(), Totals::default());
}

#[tokio::test]
async fn waiting_is_cancel_safe() {
    let exchange = exchange();
    let mut mailbox = exchange.open(Identity::default(), &[join("a")]).unwrap();
    for n in 0..3 {
        {
            let mut next = std::pin::pin!(mailbox.recv());
            assert!(
                futures_util::future::poll_immediate(&mut next)
                    .await
                    .is_none()
            );
            exchange.publish(said("a", &n.to_string())).unwrap();
        }
        assert_eq!(
            &*mailbox.recv().await.unwrap().message().unwrap().payload,
            n.to_string()
        );
    }
}

/// Publishers, readers, and others that come and go: who stays gets every event, once, in one order that all share.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_threads_who_stays_misses_nothing() {
    const EVENTS: usize = PORT_EVENTS / 2;
    let exchange = exchange();
    let (stop, port) = (Arc::new(AtomicBool::new(false)), Port::new(|| {}));
    exchange
        .attach(
            &port,
            Dialect(0),
            to(0),
            Identity::default(),
            &[join("a"), join("b")],
        )
        .unwrap();
    let mut churn = Vec::new();
    for n in 0..2 {
        let (exchange, stop) = (Arc::clone(&exchange), Arc::clone(&stop));
        churn.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let user = Some(UserId::new(&format!("u{n}")));
                let mut mailbox = exchange
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
                exchange.leave(mailbox.id(), &TopicName::new("a"));
            }
        }));
    }
    // Publishers stay within what a mailbox holds, however slowly the machine lets the readers run.
    let heard = [const { AtomicUsize::new(0) }; 2].map(Arc::new);
    let readers = heard.clone().map(|heard| {
        let mut mailbox = exchange
            .open(Identity::default(), &[join("b"), join("a")])
            .unwrap();
        tokio::spawn(async move {
            let mut seqs = Vec::new();
            while seqs.len() < 2 * EVENTS {
                seqs.push(mailbox.recv().await.expect("who reads is not too slow").seq);
                heard.store(seqs.len(), Ordering::Relaxed);
            }
            seqs
        })
    });
    let published = Arc::new(AtomicUsize::new(0));
    let publishers = ["a", "b"].map(|topic| {
        let (exchange, heard, published) =
            (Arc::clone(&exchange), heard.clone(), Arc::clone(&published));
        tokio::spawn(async move {
            for _ in 0..EVENTS {
                let ahead = published.fetch_add(1, Ordering::Relaxed) + 1;
                while heard
                    .iter()
                    .any(|heard| heard.load(Ordering::Relaxed) + MAILBOX / 2 < ahead)
                {
                    tokio::task::yield_now().await;
                }
                exchange.publish(said(topic, "1")).unwrap();
            }
        })
    });
    let mut orders = Vec::new();
    for reader in readers {
        orders.push(reader.await.unwrap());
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    churn.into_iter().for_each(|thread| thread.join().unwrap());
    let taken = port.take().deliveries.into_iter();
    orders.push(
        taken
            .map(|delivery| {
                if let Delivery::Event { event, .. } = delivery {
                    event.seq
                } else {
                    0
                }
            })
            .collect(),
    );
    assert!(orders[0].is_sorted_by(|a, b| a < b), "once and in order");
    assert!(orders[0] == orders[1] && orders[0] == orders[2]);
    assert_eq!(
        exchange.totals(),
        Totals {
            connections: 1,
            users: 0,
            topics: 2
        }
    );
}
