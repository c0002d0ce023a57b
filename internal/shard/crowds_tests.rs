//! Many who want something in one instant, and clients who ask without reading: what it costs the others.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use mio::Waker;
use tokio::sync::{Semaphore, mpsc};

use super::*;
use crate::auth::{
    Grants, Lookup, LookupFuture, Policy, PolicyConfig, Principal, Verifier, VerifierConfig,
};
use crate::clock::Clock;
use crate::drain::Drain;
use crate::hub::{Hub, Observer};
use crate::ident::{Key, StreamId, Topic};
use crate::session::{Context, Limits};
use crate::shard::{Clerk, SEND_BUFFER_BYTES};
use crate::stream::{Catalog, KeyType, Row, Stream};
use crate::telemetry::Metrics;

/// A message that subscribes, masked with zeros.
fn subscription(key: usize) -> Vec<u8> {
    let text = format!(r#"{{"type":"subscribe","channel":"estadisticas:{key}"}}"#);
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// Bytes of a frame, and some.
const FRAME: usize = 10_000;
/// How many come, or go.
const CROWD: usize = 100;
/// The key that one viewer watches; those of the crowd have their own each.
const VIEWED: usize = 0;

/// Notes, whenever a topic is watched or is no longer, whether the viewer has anything to read by then.
#[derive(Clone, Default)]
struct Witness {
    viewer: Arc<Mutex<Option<UnixStream>>>,
    notes: Arc<Mutex<Vec<bool>>>,
}

impl Witness {
    fn has_read(&self) -> bool {
        let viewer = self.viewer.lock().unwrap();
        viewer
            .as_ref()
            .is_some_and(|mut socket| socket.read(&mut [0; 4096]).is_ok_and(|count| count > 0))
    }

    /// How many were seen to before the viewer had something.
    fn before(&self) -> Option<usize> {
        self.notes.lock().unwrap().iter().position(|had| *had)
    }

    fn note(&self) {
        let had = self.has_read();
        self.notes.lock().unwrap().push(had);
    }
}

impl Observer for Witness {
    fn watched(&self, _: &Topic) {
        self.note();
    }

    fn unwatched(&self, _: &Topic) {
        self.note();
    }
}

struct Nobody;

impl Lookup for Nobody {
    fn allowed<'a>(&'a self, _: &'a Stream, _: &'a UserId, _: &'a Key) -> LookupFuture<'a> {
        Box::pin(std::future::ready(Ok(false)))
    }
}

/// A shard with one viewer, who has read all there is.
struct House {
    worker: Worker,
    events: Events,
    witness: Witness,
    hub: Arc<Hub>,
    seats: Arc<Semaphore>,
    _questions: [mpsc::Receiver<crate::shard::desk::Asked>; 3],
}

impl House {
    fn new() -> Self {
        let catalog = Arc::new(Catalog::new(vec![Stream::fake(
            "estadisticas",
            Some(KeyType::Integer),
        )]));
        let witness = Witness::default();
        let hub = Arc::new(Hub::new(Arc::clone(&catalog), Box::new(witness.clone())));
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(usize::MAX)).unwrap());
        let outlet = hub.add_outlet(|| {});
        let policy = Arc::new(Policy::new(PolicyConfig::default(), Arc::new(Nobody)));
        let verifier =
            Arc::new(Verifier::new(&VerifierConfig::default(), Clock::system()).unwrap());
        let parts = Parts {
            hub: Arc::clone(&hub),
            context: Context {
                catalog: Arc::clone(&catalog),
                policy: Arc::clone(&policy),
                limits: Limits::default(),
            },
            clerk: Clerk {
                verifier,
                policy,
                catalog,
            },
            clock: Clock::system(),
            metrics: Arc::new(Metrics::new()),
            drain: Drain::new(),
        };
        let [
            (desk, asked),
            (tokens_desk, tokens),
            (guests_desk, guests_asked),
        ] = std::array::from_fn(|_| mpsc::channel(1));
        let inbox = Arc::new(Inbox::new(waker));
        let worker = Worker::new(poll, inbox, outlet, [desk, tokens_desk, guests_desk], parts);
        let (events, seats) = (
            Events::with_capacity(2 * CROWD),
            Arc::new(Semaphore::new(CROWD + 1)),
        );
        let mut house = Self {
            worker,
            events,
            witness,
            hub,
            seats,
            _questions: [asked, tokens, guests_asked],
        };
        let viewer = house.arrives(VIEWED);
        house.turn();
        *house.witness.viewer.lock().unwrap() = Some(viewer);
        assert!(house.witness.has_read(), "the answer to its subscription");
        house
    }

    /// Somebody who subscribes in one breath with the arrival.
    fn arrives(&self, key: usize) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let socket = std::net::TcpStream::from(OwnedFd::from(theirs));
        socket.set_nonblocking(true).unwrap();
        let grants = Grants::new(
            vec![(
                "negocio_id".into(),
                (0..=CROWD).map(|key| key.to_string()).collect(),
            )],
            Vec::new(),
        );
        let principal = Arc::new(Principal::new(UserId::new("ana"), i64::MAX, None, grants));
        let early = subscription(key);
        let permit = Permits::new(Arc::clone(&self.seats).try_acquire_owned().unwrap());
        let entrant = Entrant::Native(principal, None);
        self.worker.inbox.put(Command::Adopt(Box::new(Arrival {
            socket,
            early: early.into(),
            entrant,
            permit,
        })));
        ours
    }

    fn crowd(&self) -> Vec<UnixStream> {
        (1..=CROWD).map(|key| self.arrives(key)).collect()
    }

    /// A key's numbers change; `turn` is among them.
    fn change(&self, key: usize, turn: usize) {
        let key = Key::from_canonical(&key.to_string());
        let columns = format!(r#"{{"turn":{turn},"padding":"{}"}}"#, "x".repeat(FRAME));
        self.hub.publish(
            &Topic {
                stream: StreamId(0),
                key: key.clone(),
            },
            &Row {
                key,
                columns,
                clock_us: 1,
            },
        );
    }

    /// The numbers of the viewer change.
    fn publish(&self) {
        self.change(VIEWED, 1);
        self.witness.notes.lock().unwrap().clear();
    }

    /// What the thread does once it wakes.
    fn turn(&mut self) {
        self.worker
            .poll
            .poll(&mut self.events, Some(Duration::ZERO))
            .unwrap();
        self.worker.handle(&self.events);
    }

    /// The same until all but the viewer are gone and closed.
    fn turn_until_alone(&mut self) {
        while self.worker.count() > 1 {
            let patience = self.worker.patience();
            self.worker.poll.poll(&mut self.events, patience).unwrap();
            self.worker.handle(&self.events);
        }
    }

    fn assert_served_among_them(&self) {
        assert_eq!(
            self.witness.notes.lock().unwrap().len(),
            CROWD,
            "everybody was seen to in this turn"
        );
        let before = self
            .witness
            .before()
            .expect("the viewer's frame came before the last of them");
        assert!(before <= IN_A_ROW, "after {before} of them");
    }
}

#[test]
fn a_frame_waits_for_few_of_those_who_leave_at_once() {
    let mut house = House::new();
    let crowd = house.crowd();
    house.turn();
    house.publish();
    drop(crowd);
    house.turn();
    house.assert_served_among_them();
    assert_eq!(
        house.seats.available_permits(),
        CROWD,
        "they are forgotten at once"
    );
    assert!(house.worker.count() > 1, "and closed by and by");
    house.turn_until_alone();
}

#[test]
fn each_of_a_crowd_that_says_goodbye_has_its_answer_whatever_it_says_after() {
    const GOODBYE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8];
    const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];
    let mut house = House::new();
    let mut crowd = house.crowd();
    house.turn();
    let mut said = Vec::new();
    for guest in &mut crowd {
        // What was subscribed to.
        let _unread: io::Result<usize> = guest.read(&mut [0; 4096]);
        guest.write_all(&GOODBYE).unwrap();
    }
    house.turn();
    crowd
        .iter_mut()
        .for_each(|guest| guest.write_all(&PING).unwrap_or_default());
    house.turn_until_alone();
    for guest in &mut crowd {
        said.clear();
        guest.read_to_end(&mut said).unwrap();
        assert_eq!(said, [0x88, 0x02, 0x03, 0xE8]);
    }
}

#[test]
fn who_leaves_alone_is_closed_in_the_same_round() {
    let mut house = House::new();
    let guest = house.arrives(1);
    house.turn();
    drop(guest);
    house.turn();
    assert_eq!(house.worker.count(), 1);
}

#[test]
fn a_server_that_stops_does_not_wait_for_those_who_have_gone() {
    let mut house = House::new();
    let crowd = house.crowd();
    house.turn();
    drop(crowd);
    *house.witness.viewer.lock().unwrap() = None;
    house.turn();
    assert!(house.worker.count() > 0, "some are still to be closed");
    house.worker.inbox.put(Command::Leave { spread_ms: 0 });
    house.turn();
    assert!(house.worker.stop);
}

#[test]
fn descriptors_of_those_who_have_gone_are_there_for_those_who_come() {
    let mut house = House::new();
    let crowd = house.crowd();
    house.turn();
    drop(crowd);
    house.turn();
    assert!(house.worker.see_all_off(), "some were still to be closed");
    assert_eq!(house.worker.count(), 1);
    assert!(!house.worker.see_all_off());
}

#[test]
fn a_frame_waits_for_few_of_those_who_come_at_once() {
    let mut house = House::new();
    house.publish();
    let _crowd = house.crowd();
    house.turn();
    house.assert_served_among_them();
    assert_eq!(house.worker.count(), 1 + CROWD);
}

/// What is kept for single clients, in bytes.
fn kept(house: &House) -> usize {
    let clients = house.worker.clients.iter().flatten();
    clients
        .filter_map(|client| client.outbox.as_ref())
        .map(|outbox| outbox.kept())
        .sum()
}

/// What there is to read.
fn read(socket: &mut UnixStream) -> String {
    let (mut all, mut buffer) = (Vec::new(), [0; 64 * 1024]);
    while let Ok(count @ 1..) = socket.read(&mut buffer) {
        all.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn who_asks_again_and_again_without_reading_has_one_frame_kept_and_not_one_for_each_question() {
    const QUESTIONS: usize = 150;
    /// More than the bytes of an answer.
    const ANSWER: usize = 100;
    let mut house = House::new();
    let mut deaf = house.arrives(1);
    house.turn();
    for turn in 1.. {
        house.change(1, turn);
        house.turn();
        if house
            .worker
            .clients
            .iter()
            .flatten()
            .any(|client| client.outbox.is_some())
        {
            break;
        }
    }
    let mut questions: Vec<u8> = (0..QUESTIONS).flat_map(|_| subscription(1)).collect();
    // Said in one breath, and read before its socket was full.
    house.worker.with_client(1, |worker, client| {
        worker.feed(1, client, &mut Chunk::new(&mut questions))
    });
    assert!(
        kept(&house) < QUESTIONS * ANSWER + FRAME,
        "{} bytes are kept",
        kept(&house)
    );
    house.change(1, 1_000_000);
    let mut all = String::new();
    for _ in 0..100 {
        all.push_str(&read(&mut deaf));
        house.turn();
    }
    let (answers, newest) = (
        all.matches("subscribed").count(),
        all.matches("1000000").count(),
    );
    assert_eq!(
        (answers, newest),
        (1 + QUESTIONS, 1),
        "every question has its answer, and the newest frame comes once"
    );
}

#[test]
fn what_a_client_missed_in_many_rooms_is_not_copied_at_once() {
    let mut house = House::new();
    let mut slow = house.arrives(1);
    for key in 2..=50 {
        io::Write::write_all(&mut slow, &subscription(key)).unwrap();
    }
    house.turn();
    house.turn();
    for turn in 1..20 {
        for key in 1..=50 {
            house.change(key, turn);
        }
        house.turn();
    }
    let mut all = String::new();
    for _ in 0..200 {
        assert!(
            kept(&house) <= 2 * (SEND_BUFFER_BYTES + 2 * FRAME),
            "{} bytes are kept",
            kept(&house)
        );
        all.push_str(&read(&mut slow));
        house.turn();
    }
    assert_eq!(
        all.matches("\"turn\":19").count(),
        50,
        "the newest of each, once"
    );
}
