//! The task that owns all sessions. It is to their handlers what a shard is to those of WebSockets:
//! it never waits within a call, and events of the bus arrive through one queue for all sessions.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::long_poll::poll_session::{PollAnswer, PollSession};
use crate::long_poll::request::{ClientFrame, Status};
use crate::long_poll::session_table::{SessionTable, TokenIndex};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_event_bus::{
    ClientDelivery, ConnectionSlot, DeliveryBatch, DisconnectReason, EventQueue,
};
use latido_http::{HandlerSpec, PermitSet};
use latido_session::{RateDecision, message_cost};
use latido_shard::{
    Action, Actions, AsyncResult, ClientMessage, HandlerContext, ProtocolHandler, Timestamp,
};

/// The requests that may wait for the task.
const QUEUE_CAPACITY: usize = 1024;
/// The futures of handlers that run at a time.
const CONCURRENCY: usize = 64;
/// The largest number of sessions of one user. Those that are not polled end by themselves.
pub(super) const MAX_SESSIONS_PER_USER: usize = 50;
/// The interval between two looks at the times of the sessions.
const TICK: Duration = Duration::from_millis(500);
/// The range of close codes with which a handler says that the client's token or rights have ended,
/// so that it fetches a new token.
const UNAUTHORIZED_CODES: std::ops::RangeInclusive<u16> = 4001..=4403;

/// A request to the task.
pub(super) enum Command {
    /// Opens a session, and responds with its token, or not at all if there is no room.
    Open(
        Box<HandlerSpec>,
        Option<PermitSet>,
        oneshot::Sender<Box<str>>,
    ),
    /// Waits for frames. The number identifies the poll.
    Poll(ConnectionSlot, u64, oneshot::Sender<PollAnswer>),
    /// The request of a poll has ended before its response was handed over.
    PollAborted(ConnectionSlot, u64),
    /// Handles a batch of the client's messages. Responds with `true` if the session goes on.
    Receive(ConnectionSlot, Vec<ClientFrame>, oneshot::Sender<bool>),
}

/// A handle to the task.
#[derive(Clone)]
pub(super) struct Sessions {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) tokens: TokenIndex,
}

impl Sessions {
    /// Starts the task. It ends, and all sessions with it, when the server stops.
    pub(super) fn start(clock: Clock, drain: &Drain) -> Self {
        let (sender, commands) = mpsc::channel(QUEUE_CAPACITY);
        let (finished, results) = mpsc::channel(CONCURRENCY);
        let wake = Arc::new(Notify::new());
        let waker = Arc::clone(&wake);
        let table = SessionTable::default();
        let tokens = table.tokens.clone();
        let worker = SessionWorker {
            table,
            queue: EventQueue::new(move || waker.notify_one()),
            batch: DeliveryBatch::default(),
            permits: Arc::new(Semaphore::new(CONCURRENCY)),
            finished,
            started: Instant::now(),
            clock,
            drain: drain.clone(),
        };
        drain.spawn_until_stop(worker.run(commands, results, wake));
        Self {
            commands: sender,
            tokens,
        }
    }
}

/// What the task handles next.
enum Event {
    Command(Command),
    Finished(ConnectionSlot, AsyncResult),
    Deliver,
    Tick,
}

struct SessionWorker {
    table: SessionTable,
    queue: EventQueue,
    batch: DeliveryBatch,
    /// The permits of the handlers' futures.
    permits: Arc<Semaphore>,
    finished: mpsc::Sender<(ConnectionSlot, AsyncResult)>,
    started: Instant,
    clock: Clock,
    drain: Drain,
}

impl SessionWorker {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut results: mpsc::Receiver<(ConnectionSlot, AsyncResult)>,
        wake: Arc<Notify>,
    ) {
        let mut next_tick = Instant::now() + TICK;
        loop {
            let event = tokio::select! {
                Some(command) = commands.recv() => Event::Command(command),
                Some((slot, result)) = results.recv() => Event::Finished(slot, result),
                () = wake.notified() => Event::Deliver,
                () = sleep_until(next_tick), if !self.table.is_empty() => Event::Tick,
                else => return,
            };
            if matches!(event, Event::Tick) {
                next_tick = Instant::now() + TICK;
            }
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Command(command) => self.handle_command(command),
            Event::Finished(slot, result) => {
                self.call_handler(slot, |handler, now, actions| {
                    handler.on_async_result(result, now, actions)
                });
                self.settle(slot);
            }
            Event::Deliver => {}
            Event::Tick => self.run_timers(),
        }
        self.deliver_events();
    }

    fn handle_command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Open(spec, permits, response) => {
                if let Some(token) = self.open(*spec, permits, now) {
                    // Without a receiver nobody polls, and the session ends soon.
                    let _received = response.send(token);
                }
            }
            Command::Poll(slot, number, answer) => {
                if let Some(session) = self.table.get_mut(slot) {
                    session.start_poll(number, answer, now);
                    self.settle(slot);
                }
            }
            Command::PollAborted(slot, number) => {
                if let Some(session) = self.table.get_mut(slot) {
                    session.on_poll_aborted(number, now);
                }
            }
            Command::Receive(slot, frames, response) => {
                for frame in &frames {
                    self.receive(slot, frame, now);
                }
                let session = self.table.get(slot);
                let goes_on = session.is_some_and(|session| !session.has_ended());
                self.settle(slot);
                let _received = response.send(goes_on);
            }
        }
    }

    /// Opens a session. Returns its token, or `None` if its user has too many.
    fn open(
        &mut self,
        spec: HandlerSpec,
        permits: Option<PermitSet>,
        now: Instant,
    ) -> Option<Box<str>> {
        let queue = self.queue.clone();
        let token = self.table.insert(|connection_slot| {
            let handler = (spec.factory)(HandlerContext {
                queue,
                connection_slot,
            });
            PollSession::new(handler, spec.limits.unwrap_or_default(), permits, now)
        })?;
        let slot = self.table.tokens.slot(&token)?;
        if self.table.sessions_of_same_user(slot) > MAX_SESSIONS_PER_USER {
            self.table.remove(slot);
            return None;
        }
        Some(token)
    }

    /// Passes a message of the client to its handler, within the limits of its connection.
    fn receive(&mut self, slot: ConnectionSlot, frame: &ClientFrame, now: Instant) {
        let elapsed = now.saturating_duration_since(self.started).as_secs();
        let now_s = u32::try_from(elapsed).unwrap_or(u32::MAX);
        let Some(session) = self.table.get_mut(slot) else {
            return;
        };
        let bytes = match frame {
            ClientFrame::Text(text) => text.len(),
            ClientFrame::Binary(bytes) => bytes.len(),
        };
        if bytes > session.limits.message_bytes as usize {
            return session.end(Status::Gone);
        }
        let limits = session.limits;
        match session
            .rate_limit
            .check(&limits, message_cost(bytes), now_s)
        {
            RateDecision::Allow => {}
            RateDecision::Drop { is_first: true } => {
                return self
                    .call_handler(slot, |handler, _, actions| handler.on_rate_limited(actions));
            }
            RateDecision::Drop { is_first: false } => return,
            RateDecision::Disconnect => return session.end(Status::Gone),
        }
        let message = match frame {
            ClientFrame::Text(text) => ClientMessage::Text(text),
            ClientFrame::Binary(bytes) => ClientMessage::Binary(bytes),
        };
        self.call_handler(slot, |handler, now, actions| {
            handler.on_message(message, now, actions)
        });
    }

    /// Calls the handler of a session and applies the actions that it requests.
    fn call_handler(
        &mut self,
        slot: ConnectionSlot,
        call: impl FnOnce(&mut dyn ProtocolHandler, Timestamp, &mut Actions<'_>),
    ) {
        let now = Timestamp {
            unix_s: self.clock.unix_s(),
        };
        let Some(session) = self.table.get_mut(slot) else {
            return;
        };
        let Some(handler) = &mut session.handler else {
            return;
        };
        let (permits, finished, drain) = (&self.permits, &self.finished, &self.drain);
        let mut spawn = |future: futures_util::future::BoxFuture<'static, AsyncResult>| {
            let (permits, finished) = (Arc::clone(permits), finished.clone());
            drain.spawn_until_stop(async move {
                let _permit = permits.acquire_owned().await;
                let result = future.await;
                // The receiver is gone only when the server stops.
                let _sent = finished.send((slot, result)).await;
            });
            true
        };
        let mut actions = Actions::new(&mut spawn);
        call(handler.as_mut(), now, &mut actions);
        for action in actions.into_actions() {
            self.apply_action(slot, action);
        }
    }

    fn apply_action(&mut self, slot: ConnectionSlot, action: Action) {
        let has_events = !(self.batch.is_empty() && self.queue.is_empty());
        let Some(session) = self.table.get_mut(slot) else {
            return;
        };
        match action {
            Action::SendAfterEvents(frame) if has_events => self.queue.push_reply(slot, frame),
            Action::Send(frame) | Action::SendAfterEvents(frame) => session.send(&frame),
            Action::Close(code, reason) => {
                tracing::debug!(code, reason, "a polling session ended");
                session.end(end_status(code));
            }
            // These sessions do not speak the streams' protocol, and the app has timers of whole
            // seconds and one limit of message sizes.
            Action::AttachNativeSession(_)
            | Action::ForwardNative(_)
            | Action::WakeAfter(_)
            | Action::LimitMessageBytes(_) => {}
        }
    }

    /// Delivers the pending events of the bus.
    fn deliver_events(&mut self) {
        let drained = self.queue.drain();
        if drained.is_overrun {
            tracing::warn!(
                "the polling sessions fell behind; they end, and their clients come back"
            );
            self.batch = DeliveryBatch::default();
            for slot in self.table.slots() {
                self.end(slot, Status::Gone);
            }
            return;
        }
        self.batch.extend(drained);
        loop {
            let table = &self.table;
            let encode = |event: &_, _, to: &[ConnectionSlot]| {
                let handler = to
                    .iter()
                    .find_map(|slot| table.get(*slot)?.handler.as_ref())?;
                Some(handler.encode(event))
            };
            let Some((slot, deliveries)) = self.batch.next_client(&encode) else {
                return;
            };
            if let Some(session) = self.table.get_mut(slot) {
                deliver(session, deliveries);
                self.settle(slot);
            }
        }
    }

    fn end(&mut self, slot: ConnectionSlot, status: Status) {
        if let Some(session) = self.table.get_mut(slot) {
            session.end(status);
            self.settle(slot);
        }
    }

    /// Answers the poll of a session if there is something to answer, and removes a session whose
    /// end the client knows.
    fn settle(&mut self, slot: ConnectionSlot) {
        let session = self.table.get_mut(slot);
        if session.is_some_and(|session| session.answer_poll(Instant::now())) {
            self.table.remove(slot);
        }
    }

    /// Ends polls that have waited long enough and sessions that are not polled any more, and runs
    /// the timers of handlers.
    fn run_timers(&mut self) {
        let unix_s = self.clock.unix_s();
        for slot in self.table.slots() {
            let Some(session) = self.table.get_mut(slot) else {
                continue;
            };
            if session.is_abandoned(Instant::now()) {
                self.table.remove(slot);
                continue;
            }
            let handler = session.handler.as_ref();
            let timer = handler.and_then(|handler| handler.next_timer());
            if timer.is_some_and(|at| at <= unix_s) {
                self.call_handler(slot, |handler, now, actions| handler.on_timer(now, actions));
            }
            self.settle(slot);
        }
    }
}

fn deliver<'f>(session: &mut PollSession, deliveries: impl Iterator<Item = ClientDelivery<'f>>) {
    for delivery in deliveries {
        match delivery {
            ClientDelivery::Frame(frame) => session.send(frame),
            ClientDelivery::Disconnect(DisconnectReason::TooSlow) => session.end(Status::Gone),
            ClientDelivery::Disconnect(DisconnectReason::Kicked(reason)) => {
                let handler = session.handler.as_ref();
                let code = handler.map_or(4403, |handler| handler.close_reason(reason).0);
                session.end(end_status(code));
            }
        }
    }
}

/// Returns the status that a close code stands for.
fn end_status(code: u16) -> Status {
    if UNAUTHORIZED_CODES.contains(&code) {
        Status::Forbidden
    } else {
        Status::Gone
    }
}
