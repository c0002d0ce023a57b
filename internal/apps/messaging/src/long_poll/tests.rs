//! Tests of the sessions' task, with a handler that echoes and a clock that is advanced.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{advance, sleep};

use super::outgoing::MAX_WAITING_FRAMES;
use super::poll_session::{ABORTED_PAUSE, POLL_PAUSE, POLL_WINDOW, PollAnswer};
use super::request::{ClientFrame, Status};
use super::sessions::{Command, MAX_SESSIONS_PER_USER, Sessions};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_base::ident::UserId;
use latido_event_bus::{
    BusEvent, ConnectionId, ConnectionSlot, EncodingId, EventBus, Identity, JoinRequest,
    PresenceDiff, PresenceMode, Publish, TopicName, TopicPolicy,
};
use latido_http::HandlerSpec;
use latido_protocol::Frame;
use latido_shard::{Actions, AsyncResult, ClientMessage, ProtocolHandler, Timestamp};

const SECOND: Duration = Duration::from_secs(1);

struct Silent;

impl TopicPolicy for Silent {
    fn presence_mode(&self, _: &TopicName) -> PresenceMode {
        PresenceMode::Off
    }
    fn on_presence_change(&self, _: &TopicName, _: &PresenceDiff) -> Vec<Publish> {
        Vec::new()
    }
}

/// A handler that echoes texts. `later X` is echoed by a future, `close N` closes with a code, and
/// `many N` sends N frames.
struct Echo {
    bus: Arc<EventBus>,
    connection: ConnectionId,
    open: Arc<AtomicUsize>,
    user: UserId,
}

impl ProtocolHandler for Echo {
    fn on_message(&mut self, message: ClientMessage<'_>, _: Timestamp, actions: &mut Actions<'_>) {
        let ClientMessage::Text(text) = message else {
            return actions.send_text("binary");
        };
        match text.split_once(' ') {
            Some(("later", text)) => {
                let text = text.to_owned();
                assert!(actions.spawn(async move {
                    sleep(SECOND).await;
                    text
                }));
            }
            Some(("close", code)) => {
                actions.send_text("last");
                actions.close(code.parse().unwrap(), "asked for");
            }
            Some(("many", count)) => {
                (0..count.parse().unwrap()).for_each(|_| actions.send_text("x"));
            }
            _ => actions.send_text(text),
        }
    }

    fn on_async_result(&mut self, result: AsyncResult, _: Timestamp, actions: &mut Actions<'_>) {
        actions.send_text(&result.downcast::<String>().unwrap());
    }

    fn encode(&self, event: &BusEvent) -> Frame {
        Frame::text(&event.message().unwrap().payload)
    }

    fn user(&self) -> Option<&UserId> {
        Some(&self.user)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.bus.disconnect(self.connection);
    }
}

/// The task, and the number of its handlers.
struct Harness {
    sessions: Sessions,
    bus: Arc<EventBus>,
    open: Arc<AtomicUsize>,
    next_poll: u64,
    _drain: Drain,
}

impl Harness {
    fn start() -> Self {
        let drain = Drain::new();
        Self {
            sessions: Sessions::start(Clock::system(), &drain),
            bus: Arc::new(EventBus::new(Silent, || 0)),
            open: Arc::default(),
            next_poll: 0,
            _drain: drain,
        }
    }

    async fn open(&self) -> ConnectionSlot {
        self.try_open().await.expect("there is room")
    }

    async fn try_open(&self) -> Option<ConnectionSlot> {
        let (bus, open) = (Arc::clone(&self.bus), Arc::clone(&self.open));
        let spec = HandlerSpec::new("test", move |context| {
            let joins = [JoinRequest::new(TopicName::new("all"))];
            let connection = bus.connect_on_shard(
                &context.queue,
                EncodingId(9),
                context.connection_slot,
                Identity::default(),
                &joins,
            );
            open.fetch_add(1, Ordering::Relaxed);
            let connection = connection.unwrap();
            Box::new(Echo {
                bus,
                connection,
                open,
                user: UserId::new("ana"),
            })
        });
        let (response, opened) = oneshot::channel();
        self.send(Command::Open(Box::new(spec), None, response))
            .await;
        let Ok(token) = opened.await else {
            return None;
        };
        assert!(token.starts_with("lp.") && token.len() == 46, "{token}");
        self.sessions.tokens.slot(&token)
    }

    async fn send(&self, command: Command) {
        assert!(self.sessions.commands.send(command).await.is_ok());
    }

    async fn poll(&mut self, slot: ConnectionSlot) -> oneshot::Receiver<PollAnswer> {
        let (answer, answered) = oneshot::channel();
        self.next_poll += 1;
        self.send(Command::Poll(slot, self.next_poll, answer)).await;
        answered
    }

    /// Polls and returns the answer as status and texts. `None` stands for a session that is gone.
    async fn answer(&mut self, slot: ConnectionSlot) -> Option<(Status, Vec<String>)> {
        let answer = self.poll(slot).await.await.ok()?;
        let texts = answer.frames.iter().map(|frame| frame.payload().to_owned());
        Some((answer.status, texts.collect()))
    }

    async fn say(&self, slot: ConnectionSlot, texts: &[&str]) -> bool {
        let frames = texts
            .iter()
            .map(|text| ClientFrame::Text((*text).to_owned()));
        let (response, received) = oneshot::channel();
        self.send(Command::Receive(slot, frames.collect(), response))
            .await;
        received.await.unwrap()
    }

    /// Lets time pass, and the task act in it.
    async fn wait(&self, time: Duration) {
        let steps = time.as_millis() / 250;
        for _ in 0..steps {
            advance(Duration::from_millis(250)).await;
            tokio::task::yield_now().await;
        }
        // The task has handled everything before it responds to an unknown session.
        let nobody = ConnectionSlot {
            index: 99,
            generation: 0,
        };
        assert!(!self.say(nobody, &[]).await);
    }

    fn open_handlers(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

fn texts(status: Status, texts: &[&str]) -> Option<(Status, Vec<String>)> {
    Some((
        status,
        texts.iter().map(|text| (*text).to_owned()).collect(),
    ))
}

#[tokio::test(start_paused = true)]
async fn frames_wait_for_polls_and_polls_for_frames() {
    let mut harness = Harness::start();
    let (ana, eva) = (harness.open().await, harness.open().await);
    assert!(harness.say(ana, &["one", "two"]).await);
    assert_eq!(
        harness.answer(ana).await,
        texts(Status::Ok, &["one", "two"])
    );
    let waiting = harness.poll(ana).await;
    harness.say(ana, &["three"]).await;
    assert_eq!(waiting.await.unwrap().frames[0].payload(), "three");
    harness.say(ana, &["later four"]).await;
    assert_eq!(harness.answer(ana).await, texts(Status::Ok, &["four"]));
    let event = Publish::new([TopicName::new("all")], "e", "to all");
    harness.bus.publish(event).unwrap();
    for slot in [ana, eva] {
        assert_eq!(harness.answer(slot).await, texts(Status::Ok, &["to all"]));
    }
    let binary = vec![ClientFrame::Binary(vec![1])];
    let (response, received) = oneshot::channel();
    harness.send(Command::Receive(eva, binary, response)).await;
    assert!(received.await.unwrap());
    assert_eq!(harness.answer(eva).await, texts(Status::Ok, &["binary"]));
}

#[tokio::test(start_paused = true)]
async fn session_lives_as_long_as_it_is_polled() {
    let mut harness = Harness::start();
    let slot = harness.open().await;
    for _ in 0..5 {
        assert_eq!(harness.answer(slot).await, texts(Status::NoContent, &[]));
        harness.wait(POLL_PAUSE - SECOND).await;
    }
    assert_eq!(harness.open_handlers(), 1);
    harness.wait(2 * SECOND).await;
    assert_eq!(harness.open_handlers(), 0);
    assert_eq!(harness.answer(slot).await, None);
    assert_eq!(harness.bus.totals().connections, 0);
    // The slot's next owner has nothing of it.
    let next = harness.open().await;
    assert_eq!(next.index, slot.index);
    assert!(!harness.say(slot, &["x"]).await);
    assert_eq!(harness.answer(next).await, texts(Status::NoContent, &[]));
}

#[tokio::test(start_paused = true)]
async fn aborted_poll_loses_nothing_and_ends_the_session_soon() {
    let mut harness = Harness::start();
    let slot = harness.open().await;
    let aborted = harness.poll(slot).await;
    drop(aborted);
    // The task learns of the abort when it answers, or is told of it.
    harness.say(slot, &["kept"]).await;
    assert_eq!(harness.answer(slot).await, texts(Status::Ok, &["kept"]));
    let aborted = harness.poll(slot).await;
    drop(aborted);
    harness
        .send(Command::PollAborted(slot, harness.next_poll))
        .await;
    harness.wait(ABORTED_PAUSE - SECOND).await;
    assert_eq!(harness.open_handlers(), 1);
    harness.wait(2 * SECOND).await;
    assert_eq!(harness.open_handlers(), 0);
}

#[tokio::test(start_paused = true)]
async fn session_whose_frames_were_lost_ends() {
    let mut harness = Harness::start();
    let slot = harness.open().await;
    harness.say(slot, &["lost"]).await;
    assert_eq!(harness.answer(slot).await, texts(Status::Ok, &["lost"]));
    harness
        .send(Command::PollAborted(slot, harness.next_poll))
        .await;
    assert_eq!(harness.answer(slot).await, texts(Status::Gone, &[]));
    assert_eq!(
        (harness.answer(slot).await, harness.open_handlers()),
        (None, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn handler_that_closes_ends_the_session_after_its_frames() {
    let mut harness = Harness::start();
    for (text, status) in [
        ("close 4001", Status::Forbidden),
        ("close 4403", Status::Forbidden),
        ("close 1003", Status::Gone),
    ] {
        let slot = harness.open().await;
        assert!(!harness.say(slot, &[text, "too late"]).await);
        assert_eq!(harness.open_handlers(), 0);
        assert_eq!(harness.answer(slot).await, texts(Status::Ok, &["last"]));
        assert_eq!(harness.answer(slot).await, texts(status, &[]));
        assert_eq!(harness.answer(slot).await, None);
    }
    // A client that does not ask is forgotten.
    let slot = harness.open().await;
    harness.say(slot, &["close 4001"]).await;
    harness.wait(POLL_PAUSE + SECOND).await;
    assert_eq!(harness.answer(slot).await, None);
}

#[tokio::test(start_paused = true)]
async fn sessions_of_a_user_are_limited() {
    let harness = Harness::start();
    for _ in 0..MAX_SESSIONS_PER_USER {
        harness.open().await;
    }
    assert_eq!(harness.try_open().await, None);
    harness.wait(POLL_PAUSE + SECOND).await;
    assert_eq!(harness.open_handlers(), 0);
    harness.open().await;
}

#[tokio::test(start_paused = true)]
async fn one_poll_waits_at_a_time() {
    let mut harness = Harness::start();
    let slot = harness.open().await;
    let (first, second) = (harness.poll(slot).await, harness.poll(slot).await);
    assert_eq!(first.await.unwrap().status, Status::Gone);
    harness.wait(POLL_WINDOW + SECOND).await;
    assert_eq!(second.await.unwrap().status, Status::NoContent);
}

#[tokio::test(start_paused = true)]
async fn client_that_takes_or_sends_too_much_is_ended() {
    let mut harness = Harness::start();
    let slow = harness.open().await;
    assert!(
        harness
            .say(slow, &[&format!("many {MAX_WAITING_FRAMES}")])
            .await
    );
    assert!(!harness.say(slow, &["one more"]).await);
    assert_eq!(harness.answer(slow).await, texts(Status::Gone, &[]));
    let flood = harness.open().await;
    let mut goes_on = true;
    for _ in 0..1000 {
        goes_on = goes_on && harness.say(flood, &["later x"]).await;
    }
    assert!(!goes_on);
    let large = harness.open().await;
    assert!(!harness.say(large, &[&"x".repeat(1024 * 1024)]).await);
    assert_eq!(harness.open_handlers(), 0);
}
