//! Tests of the event bus: single edge cases, and concurrent use from several threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use latido_base::ident::UserId;

use crate::*;

struct NoPresencePolicy;

impl TopicPolicy for NoPresencePolicy {
    fn presence_mode(&self, _: &TopicName) -> PresenceMode {
        PresenceMode::Off
    }

    fn on_presence_change(&self, _: &TopicName, _: &PresenceDiff) -> Vec<Publish> {
        Vec::new()
    }
}

fn event_bus() -> Arc<EventBus> {
    Arc::new(EventBus::new(NoPresencePolicy, || 1))
}

fn join_request(name: &str) -> JoinRequest {
    JoinRequest::new(TopicName::new(name))
}

fn message_to(topic: &str, payload: &str) -> Publish {
    Publish::new([TopicName::new(topic)], "said", payload)
}

fn slot_at(slot: u32) -> ConnectionSlot {
    ConnectionSlot {
        index: slot,
        generation: 0,
    }
}

#[test]
fn connection_moves_to_a_shard_without_losing_an_event() {
    let bus = event_bus();
    let mailbox = bus
        .connect(Identity::default(), &[join_request("a")])
        .unwrap();
    let id = mailbox.id();
    for payload in ["1", "2"] {
        bus.publish(message_to("a", payload)).unwrap();
    }
    let queue = EventQueue::new(|| {});
    let moved = mailbox.move_to_shard(&queue, EncodingId(7), slot_at(3));
    assert!(bus.is_connected(id), "the mailbox does not end it");
    assert_eq!((moved.id, moved.end_reason), (id, None));
    let texts: Vec<_> = moved
        .events
        .iter()
        .map(|event| event.message().unwrap().payload.to_string())
        .collect();
    assert_eq!(texts, ["1", "2"]);
    bus.publish(message_to("a", "3")).unwrap();
    let delivered = queue.drain().deliveries;
    let [
        Delivery::Event {
            event,
            encoding,
            to,
        },
    ] = &*delivered
    else {
        panic!("one event was published: {delivered:?}")
    };
    assert_eq!(&*event.message().unwrap().payload, "3");
    assert_eq!((*encoding, &**to), (EncodingId(7), &[slot_at(3)][..]));
    bus.disconnect(id);
    assert!(!bus.is_connected(id));
}

#[test]
fn overloaded_shard_refuses_event_before_any_delivery() {
    let bus = event_bus();
    bus.retain_history(&TopicName::new("both"), 10);
    let (free, full) = (EventQueue::new(|| {}), EventQueue::new(|| {}));
    bus.connect_on_shard(
        &free,
        EncodingId(0),
        slot_at(0),
        Identity::default(),
        &[join_request("both")],
    )
    .unwrap();
    bus.connect_on_shard(
        &full,
        EncodingId(0),
        slot_at(0),
        Identity::default(),
        &[join_request("both"), join_request("busy")],
    )
    .unwrap();
    let mut mailbox = bus
        .connect(Identity::default(), &[join_request("both")])
        .unwrap();
    for _ in 0..MAX_QUEUE_EVENTS {
        bus.publish(message_to("busy", "1")).unwrap();
    }
    assert_eq!(bus.publish(message_to("both", "1")), Err(Overloaded));
    assert!(free.drain().deliveries.is_empty() && mailbox.try_recv().is_none());
    assert!(
        bus.recent(&TopicName::new("both"), 10).is_empty(),
        "the event was not recorded"
    );
    assert_eq!(full.drain().deliveries.len(), MAX_QUEUE_EVENTS);
    assert_eq!(bus.publish(message_to("both", "1")).unwrap().reached, 3);
    assert_eq!(
        (free.drain().deliveries.len(), full.drain().deliveries.len()),
        (1, 1)
    );
}

#[test]
fn slow_connection_ends_once_and_later_calls_have_no_effect() {
    let bus = event_bus();
    let mut slow = bus
        .connect(Identity::default(), &[join_request("a")])
        .unwrap();
    for _ in 0..MAX_MAILBOX_EVENTS {
        assert_eq!(bus.publish(message_to("a", "1")).unwrap().reached, 1);
    }
    assert_eq!(bus.publish(message_to("a", "1")).unwrap().reached, 0);
    assert_eq!(bus.totals(), BusTotals::default());
    let next = bus
        .connect(Identity::default(), &[join_request("a")])
        .unwrap();
    assert_ne!(next.id(), slow.id());
    assert!(!bus.kick(slow.id(), "late"), "already disconnected");
    assert_eq!(
        bus.join(slow.id(), &[join_request("b")]),
        Err(JoinError::Disconnected)
    );
    assert!(matches!(
        slow.try_recv(),
        Some(Err(DisconnectReason::TooSlow))
    ));
    drop(slow);
    assert_eq!(
        bus.totals().connections,
        1,
        "the next connection in its slot is not affected"
    );
}

#[test]
fn too_many_topics_join_none() {
    let bus = event_bus();
    let joins: Vec<_> = (0..=MAX_TOPICS)
        .map(|n| join_request(&n.to_string()))
        .collect();
    assert!(matches!(
        bus.connect(Identity::default(), &joins),
        Err(JoinError::TooManyTopics)
    ));
    let mailbox = bus
        .connect(Identity::default(), &joins[..MAX_TOPICS])
        .unwrap();
    assert_eq!(
        bus.join(mailbox.id(), &joins),
        Err(JoinError::TooManyTopics)
    );
    assert_eq!(
        bus.join(mailbox.id(), &joins[..MAX_TOPICS])
            .unwrap()
            .new_topics,
        0
    );
    assert_eq!(bus.totals().topics, MAX_TOPICS);
    drop(mailbox);
    assert_eq!(bus.totals(), BusTotals::default());
}

#[test]
fn shard_is_woken_once_per_burst_and_without_lock() {
    let bus = event_bus();
    let (wake_count, observed_bus) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&bus));
    let count = Arc::clone(&wake_count);
    let queue = EventQueue::new(move || {
        // A shard that is woken may take the bus's lock at once.
        assert_eq!(observed_bus.totals().connections, 1);
        count.fetch_add(1, Ordering::Relaxed);
    });
    let id = bus
        .connect_on_shard(
            &queue,
            EncodingId(0),
            slot_at(3),
            Identity::default(),
            &[join_request("a")],
        )
        .unwrap();
    for _ in 0..3 {
        bus.publish(message_to("a", "1")).unwrap();
    }
    assert_eq!(
        (
            wake_count.load(Ordering::Relaxed),
            queue.drain().deliveries.len()
        ),
        (1, 3)
    );
    bus.publish(message_to("a", "1")).unwrap();
    assert_eq!(wake_count.load(Ordering::Relaxed), 2);
    bus.disconnect(id);
    assert!(
        bus.publish(message_to("a", "1")).unwrap().reached == 0
            && queue.drain().deliveries.len() == 1
    );
}

#[test]
fn kicked_connection_reads_queued_events_then_reason() {
    let bus = event_bus();
    let mut mailbox = bus
        .connect(Identity::default(), &[join_request("a")])
        .unwrap();
    bus.publish(message_to("a", "1")).unwrap();
    assert!(bus.kick(mailbox.id(), "inactive"));
    assert!(mailbox.try_recv().unwrap().is_ok());
    for _ in 0..2 {
        assert_eq!(
            mailbox.try_recv().unwrap().unwrap_err(),
            DisconnectReason::Kicked("inactive")
        );
    }
}

struct PanickingPolicy;

impl TopicPolicy for PanickingPolicy {
    fn presence_mode(&self, _: &TopicName) -> PresenceMode {
        PresenceMode::Announced
    }

    fn on_presence_change(&self, _: &TopicName, _: &PresenceDiff) -> Vec<Publish> {
        panic!("panic of a test policy")
    }
}

#[test]
fn panicking_policy_breaks_nothing() {
    let bus = Arc::new(EventBus::new(PanickingPolicy, || 1));
    let identity = Identity {
        user: Some(UserId::new("u")),
    };
    let mut mailbox = bus.connect(identity, &[join_request("a")]).unwrap();
    assert_eq!(bus.present_users(&TopicName::new("a")).len(), 1);
    assert!(matches!(
        mailbox.try_recv().unwrap().unwrap().body,
        EventBody::PresenceList(_)
    ));
    drop(mailbox);
    assert_eq!(bus.totals(), BusTotals::default());
}

#[tokio::test]
async fn recv_is_cancel_safe() {
    let bus = event_bus();
    let mut mailbox = bus
        .connect(Identity::default(), &[join_request("a")])
        .unwrap();
    for n in 0..3 {
        {
            let mut next = std::pin::pin!(mailbox.recv());
            assert!(
                futures_util::future::poll_immediate(&mut next)
                    .await
                    .is_none()
            );
            bus.publish(message_to("a", &n.to_string())).unwrap();
        }
        assert_eq!(
            &*mailbox.recv().await.unwrap().message().unwrap().payload,
            n.to_string()
        );
    }
}

const EVENTS_PER_TOPIC: usize = MAX_QUEUE_EVENTS / 2;

/// Starts a thread that connects, reads a few events and disconnects until `stop` is set.
fn spawn_churn(n: usize, bus: &Arc<EventBus>, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (bus, stop) = (Arc::clone(bus), Arc::clone(stop));
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let identity = Identity {
                user: Some(UserId::new(&format!("u{n}"))),
            };
            let mut mailbox = bus
                .connect(identity, &[join_request("a"), join_request("c")])
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
    })
}

/// Reads all events of both topics and counts them in `received`. Returns their numbers.
async fn read_all_events(mut mailbox: Mailbox, received: Arc<AtomicUsize>) -> Vec<u64> {
    let mut seqs = Vec::new();
    while seqs.len() < 2 * EVENTS_PER_TOPIC {
        let event = mailbox.recv().await;
        seqs.push(event.expect("a reading client is not too slow").seq);
        received.store(seqs.len(), Ordering::Relaxed);
    }
    seqs
}

/// Publishes the events of one topic. Stays within a mailbox's capacity, however slowly the readers
/// run.
async fn publish_all_events(
    topic: &str,
    bus: Arc<EventBus>,
    published: Arc<AtomicUsize>,
    received: [Arc<AtomicUsize>; 2],
) {
    for _ in 0..EVENTS_PER_TOPIC {
        let ahead = published.fetch_add(1, Ordering::Relaxed) + 1;
        let is_behind = |received: &Arc<AtomicUsize>| {
            received.load(Ordering::Relaxed) + MAX_MAILBOX_EVENTS / 2 < ahead
        };
        while received.iter().any(is_behind) {
            tokio::task::yield_now().await;
        }
        bus.publish(message_to(topic, "1")).unwrap();
    }
}

/// With concurrent publishers, readers and short-lived connections, every connection that stays
/// gets every event, once and in one common order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_stay_miss_nothing_under_concurrency() {
    let bus = event_bus();
    let (stop, queue) = (Arc::new(AtomicBool::new(false)), EventQueue::new(|| {}));
    bus.connect_on_shard(
        &queue,
        EncodingId(0),
        slot_at(0),
        Identity::default(),
        &[join_request("a"), join_request("b")],
    )
    .unwrap();
    let churn = [0, 1].map(|n| spawn_churn(n, &bus, &stop));
    let received = [const { AtomicUsize::new(0) }; 2].map(Arc::new);
    let readers = received.clone().map(|received| {
        let mailbox = bus
            .connect(Identity::default(), &[join_request("b"), join_request("a")])
            .unwrap();
        tokio::spawn(read_all_events(mailbox, received))
    });
    let published = Arc::new(AtomicUsize::new(0));
    let publishers = ["a", "b"].map(|topic| {
        tokio::spawn(publish_all_events(
            topic,
            Arc::clone(&bus),
            Arc::clone(&published),
            received.clone(),
        ))
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
    let seq = |delivery| match delivery {
        Delivery::Event { event, .. } => event.seq,
        _ => 0,
    };
    sequences.push(queue.drain().deliveries.into_iter().map(seq).collect());
    assert!(sequences[0].is_sorted_by(|a, b| a < b), "once and in order");
    assert!(sequences[0] == sequences[1] && sequences[0] == sequences[2]);
    let totals = BusTotals {
        connections: 1,
        users: 0,
        topics: 2,
    };
    assert_eq!(bus.totals(), totals);
}
