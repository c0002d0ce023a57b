use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use mio::{Poll, Token, Waker};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::*;
use crate::auth::{Grants, Lookup, LookupFuture, PolicyConfig, VerifierConfig};
use crate::clock::Clock;
use crate::hub::{Hub, Observer};
use crate::ident::{Key, Topic};
use crate::session::{Context, Limits};
use crate::shard::worker::simulated::DESK;
use crate::shard::{Arrival, Asks, Entrant, Parts, Permits, Thread};
use crate::stream::{KeyType, Stream};
use crate::telemetry::Metrics;

/// Counts who asks, and never answers.
#[derive(Default)]
struct Silence(AtomicUsize);

impl Lookup for Silence {
    fn allowed<'a>(&'a self, _: &'a Stream, _: &'a UserId, _: &'a Key) -> LookupFuture<'a> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::pending())
    }
}

struct Nobody;

impl Observer for Nobody {
    fn watched(&self, _: &Topic) {}
    fn unwatched(&self, _: &Topic) {}
}

fn clerk(lookup: Arc<dyn Lookup>) -> Clerk {
    let stream = Stream {
        authorize: Some(String::new()),
        ..Stream::fake("estadisticas", Some(KeyType::Integer))
    };
    let verifier = Verifier::new(&VerifierConfig::default(), Clock::system()).unwrap();
    let policy = Policy::new(PolicyConfig::default(), lookup);
    Clerk {
        verifier: Arc::new(verifier),
        policy: Arc::new(policy),
        catalog: Arc::new(Catalog::new(vec![stream])),
    }
}

#[tokio::test]
async fn who_waits_long_is_told_to_ask_again_and_nobody_asks_for_who_waited_too_long() {
    let silence = Arc::new(Silence::default());
    let clerk = clerk(Arc::clone(&silence) as Arc<dyn Lookup>);
    let (poll, drain) = (Poll::new().unwrap(), Drain::new());
    let inbox = Arc::new(Inbox::new(Arc::new(
        Waker::new(poll.registry(), Token(0)).unwrap(),
    )));
    let ask = |number: usize, waited: Duration| {
        let channel = clerk
            .catalog
            .resolve(&format!("estadisticas:{number}"))
            .unwrap();
        let question = Question::MayRead(UserId::new("ana"), channel);
        Asked {
            inbox: Arc::clone(&inbox),
            slot: 0,
            generation: 0,
            since: instant() - waited,
            question,
        }
    };
    let desk = open(clerk.clone(), &drain);
    // More than are worked on at a time, all with little time left: none waits for the others' turn to end.
    for number in 0..AT_ONCE + 10 {
        assert!(
            desk.try_send(ask(number, ANSWER_WITHIN - Duration::from_millis(200)))
                .is_ok()
        );
    }
    let mut answered = 0;
    while answered < AT_ONCE + 10 {
        for command in inbox.take() {
            assert!(matches!(
                command,
                Command::Answer {
                    answer: Answer::Allowed(_, None),
                    ..
                }
            ));
            answered += 1;
        }
        tokio::task::yield_now().await;
    }
    let asked = silence.0.load(Ordering::SeqCst);
    assert!(asked >= AT_ONCE);
    assert!(desk.try_send(ask(1_000, ANSWER_WITHIN)).is_ok());
    while inbox.take().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        silence.0.load(Ordering::SeqCst),
        asked,
        "nobody is asked for who waits no more"
    );
    drain.stop();
}

/// A client on a shard of its own.
struct Client {
    thread: Thread,
    socket: UnixStream,
}

impl Client {
    fn connect() -> Self {
        let Clerk {
            verifier,
            policy,
            catalog,
        } = clerk(Arc::new(Silence::default()));
        let thread = Thread::new(Parts {
            hub: Arc::new(Hub::new(Arc::clone(&catalog), Box::new(Nobody))),
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
        });
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let socket = TcpStream::from(OwnedFd::from(theirs));
        socket.set_nonblocking(true).unwrap();
        let principal = Principal::new(
            UserId::new("ana"),
            i64::MAX,
            None,
            Grants::new(Vec::new(), Vec::new()),
        );
        let permit = Permits::new(Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap());
        thread.adopt(Arrival {
            socket,
            early: bytes::Bytes::new(),
            entrant: Entrant::Native(Arc::new(principal), None),
            permit,
        });
        Self {
            thread,
            socket: ours,
        }
    }

    fn say(&mut self, message: &Value) {
        let text = message.to_string();
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 126);
        self.socket
            .write_all(&[&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat())
            .unwrap();
        assert!(self.thread.act());
    }

    fn subscribe(&mut self, number: usize) {
        self.say(&json!({"type": "subscribe", "channel": format!("estadisticas:{number}")}));
    }

    /// All that has come, as text: frames of JSON, one behind the other.
    fn heard(&mut self) -> String {
        assert!(self.thread.act());
        let mut bytes = Vec::new();
        let end = self
            .socket
            .read_to_end(&mut bytes)
            .map_err(|error| error.kind());
        assert_eq!(end, Err(ErrorKind::WouldBlock), "the connection stays open");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[test]
fn a_full_desk_is_said_and_who_is_here_brings_a_new_token_all_the_same() {
    let mut client = Client::connect();
    (0..DESK).for_each(|number| client.subscribe(number));
    assert_eq!(client.heard(), "", "all of them are being asked");
    client.subscribe(DESK);
    let answer = client.heard();
    assert!(
        answer.contains(r#""code":"unavailable""#)
            && answer.contains(&format!(r#""channel":"estadisticas:{DESK}""#)),
        "{answer}"
    );
    client.say(&json!({"type": "auth", "data": {"token": "new"}}));
    assert_eq!(client.heard(), "");
    let questions: Vec<_> = std::iter::from_fn(|| client.thread.question()).collect();
    assert_eq!(questions.len(), DESK + 1);
    for asked in questions {
        match asked.question() {
            Asks::MayRead(_, channel) => asked.allowed(channel, Some(true)),
            Asks::Verify(token) => {
                assert_eq!(token, "new");
                asked.undecided();
            }
        }
    }
    let answer = client.heard();
    assert!(
        !answer.contains("unauthorized"),
        "that would make it connect anew: {answer}"
    );
    assert_eq!(answer.matches(r#""code":"unavailable""#).count(), 1);
    assert_eq!(
        answer.matches(r#""type":"subscribed""#).count(),
        DESK,
        "what was asked first is answered as ever"
    );
    client.subscribe(DESK);
    assert!(
        client.thread.question().is_some(),
        "what was put off may be asked again"
    );
}
