//! One session: its handler, the frames that wait for the client, and the poll that waits for
//! frames.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::long_poll::outgoing::Outgoing;
use crate::long_poll::request::Status;
use latido_base::ident::UserId;
use latido_event_bus::SlowConsumer;
use latido_http::PermitSet;
use latido_protocol::Frame;
use latido_session::{MessageRateLimit, SessionLimits};
use latido_shard::ProtocolHandler;

/// The time for which a poll waits, as in the original. Clients give it up after 20 s.
pub(super) const POLL_WINDOW: Duration = Duration::from_secs(10);
/// The time after the end of a poll in which the next one must come, as in the original.
pub(super) const POLL_PAUSE: Duration = Duration::from_secs(15);
/// The same after a poll that the client has aborted. An official client never goes on after that;
/// another may repeat the poll on a new connection.
pub(super) const ABORTED_PAUSE: Duration = Duration::from_secs(5);

/// The answer to a poll.
#[derive(Debug)]
pub(super) struct PollAnswer {
    pub(super) status: Status,
    pub(super) frames: Vec<Frame>,
}

impl PollAnswer {
    fn without_frames(status: Status) -> Self {
        Self {
            status,
            frames: Vec::new(),
        }
    }
}

/// A poll that waits for frames.
#[derive(Debug)]
struct WaitingPoll {
    number: u64,
    answer: oneshot::Sender<PollAnswer>,
    ends_at: Instant,
}

/// One session.
pub(super) struct PollSession {
    /// The handler, or `None` once the session has ended; its event bus holds nothing of it then.
    pub(super) handler: Option<Box<dyn ProtocolHandler>>,
    pub(super) limits: SessionLimits,
    pub(super) rate_limit: MessageRateLimit,
    outgoing: Outgoing,
    poll: Option<WaitingPoll>,
    /// The number of the last poll that was answered with frames.
    last_answered: Option<u64>,
    /// The time by which the next poll must come. It counts while no poll waits.
    next_poll_by: Instant,
    /// The status that the client gets after the waiting frames, once the session has ended.
    end_status: Option<Status>,
    /// Held as long as the session exists.
    _permits: Option<PermitSet>,
}

impl PollSession {
    pub(super) fn new(
        handler: Box<dyn ProtocolHandler>,
        limits: SessionLimits,
        permits: Option<PermitSet>,
        now: Instant,
    ) -> Self {
        Self {
            handler: Some(handler),
            limits,
            rate_limit: MessageRateLimit::new(&limits, 0),
            outgoing: Outgoing::default(),
            poll: None,
            last_answered: None,
            next_poll_by: now + POLL_PAUSE,
            end_status: None,
            _permits: permits,
        }
    }

    /// Returns the user, until the session has ended.
    pub(super) fn user(&self) -> Option<&UserId> {
        self.handler.as_ref()?.user()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end_status.is_some()
    }

    /// Queues a frame for the client. Ends the session if too much is waiting.
    pub(super) fn send(&mut self, frame: &Frame) {
        if !self.has_ended() && self.outgoing.push(frame) == Err(SlowConsumer) {
            self.outgoing.take();
            self.end(Status::Gone);
        }
    }

    /// Ends the session. The client still gets what is waiting, and then this status.
    pub(super) fn end(&mut self, status: Status) {
        self.end_status.get_or_insert(status);
        self.handler = None;
    }

    /// Begins a poll. A poll that waits already has lost its client, or is one too many.
    pub(super) fn start_poll(
        &mut self,
        number: u64,
        answer: oneshot::Sender<PollAnswer>,
        now: Instant,
    ) {
        let poll = WaitingPoll {
            number,
            answer,
            ends_at: now + POLL_WINDOW,
        };
        if let Some(other) = self.poll.replace(poll) {
            let _gone = other.answer.send(PollAnswer::without_frames(Status::Gone));
        }
    }

    /// Handles a poll whose request ended before its response was handed over. Frames that were on
    /// their way with it are lost, and so is the session.
    pub(super) fn on_poll_aborted(&mut self, number: u64, now: Instant) {
        if self.poll.take_if(|poll| poll.number == number).is_some() {
            self.next_poll_by = now + ABORTED_PAUSE;
        } else if self.last_answered == Some(number) {
            self.end(Status::Gone);
        }
    }

    /// Answers the waiting poll if there is something to answer. Returns `true` if the client knows
    /// that the session has ended.
    pub(super) fn answer_poll(&mut self, now: Instant) -> bool {
        let Some(poll) = self.poll.take_if(|poll| {
            !self.outgoing.is_empty() || self.end_status.is_some() || poll.ends_at <= now
        }) else {
            return false;
        };
        self.next_poll_by = now + POLL_PAUSE;
        let frames = self.outgoing.take();
        if frames.is_empty() {
            let status = self.end_status.unwrap_or(Status::NoContent);
            let sent = poll.answer.send(PollAnswer::without_frames(status));
            return sent.is_ok() && self.end_status.is_some();
        }
        let status = Status::Ok;
        match poll.answer.send(PollAnswer { status, frames }) {
            Ok(()) => self.last_answered = Some(poll.number),
            Err(unsent) => {
                self.outgoing.put_back(unsent.frames);
                self.next_poll_by = now + ABORTED_PAUSE;
            }
        }
        false
    }

    /// Returns `true` if the client should have polled by now.
    pub(super) fn is_abandoned(&self, now: Instant) -> bool {
        self.poll.is_none() && self.next_poll_by <= now
    }
}
