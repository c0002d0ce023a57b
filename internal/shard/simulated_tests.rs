//! A shard, driven by a simulator: its thread is the simulator's, and so are the clock and the desk.

use mio::Waker;
use tokio::sync::mpsc;

use super::*;
use crate::auth::Principal;
use crate::ident::{Channel, UserId};
use crate::session::Unverified;
use crate::shard::desk::{Asked, Question};
use crate::shard::entrance::Porch;
use crate::shard::{Entrance, Porter, inbox};

/// So many rounds without time passing are a loop that never rests.
const RESTLESS: usize = 10_000;
/// Questions that a desk takes before it is full.
pub(crate) const DESK: usize = 64;

/// Who asks, to be answered later.
pub(crate) struct Asking(Asked);

/// What is asked.
pub(crate) enum Asks {
    MayRead(UserId, Channel),
    Verify(String),
}

/// A shard that does only what it is told to, by whoever owns it.
pub(crate) struct Thread {
    worker: Worker,
    events: Events,
    /// Permissions, and new tokens.
    questions: [mpsc::Receiver<Asked>; 2],
    /// No app lives here: nobody asks.
    _guests: mpsc::Receiver<Asked>,
}

impl Thread {
    /// A shard of a hub.
    pub(crate) fn new(parts: Parts) -> Self {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(usize::MAX)).unwrap());
        let inbox = Arc::new(Inbox::new(Arc::clone(&waker)));
        let outlet = parts.hub.add_outlet(move || inbox::wake(&waker));
        let [
            (desk, questions),
            (tokens_desk, tokens),
            (guests_desk, guests),
        ] = std::array::from_fn(|_| mpsc::channel(DESK));
        let worker = Worker::new(poll, inbox, outlet, [desk, tokens_desk, guests_desk], parts);
        Self {
            worker,
            events: Events::with_capacity(64),
            questions: [questions, tokens],
            _guests: guests,
        }
    }

    /// A new client.
    pub(crate) fn adopt(&self, arrival: Arrival) {
        self.worker.inbox.put(Command::Adopt(Box::new(arrival)));
    }

    /// Callers at a listening socket.
    pub(crate) fn open(&self, socket: std::net::TcpListener, porter: Arc<dyn Porter>) -> Entrance {
        Porch::open(0, socket, porter, vec![Arc::clone(&self.worker.inbox)])
    }

    /// The server stops.
    pub(crate) fn leave(&self, spread_ms: u64) {
        self.worker.inbox.put(Command::Leave { spread_ms });
    }

    /// Whether its loop has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.worker.stop
    }

    /// Open connections.
    pub(crate) fn count(&self) -> usize {
        self.worker.count()
    }

    /// Does whatever [`Worker::run`] would do before time passes. False: it would never rest.
    pub(crate) fn act(&mut self) -> bool {
        for _ in 0..RESTLESS {
            if self.worker.stop {
                return true;
            }
            let due = self.worker.patience() == Some(Duration::ZERO);
            self.worker
                .poll
                .poll(&mut self.events, Some(Duration::ZERO))
                .unwrap();
            if self.events.is_empty() && !due {
                return true;
            }
            self.worker.handle(&self.events);
        }
        false
    }

    /// Does so many rounds and no more, whatever is left to do.
    pub(crate) fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            if !self.worker.stop {
                self.worker
                    .poll
                    .poll(&mut self.events, Some(Duration::ZERO))
                    .unwrap();
                self.worker.handle(&self.events);
            }
        }
    }

    /// When it acts although nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.worker
            .patience()
            .filter(|_| !self.worker.stop)
            .map(|patience| instant() + patience)
    }

    /// The next question put to the desk.
    pub(crate) fn question(&mut self) -> Option<Asking> {
        self.questions
            .iter_mut()
            .find_map(|questions| questions.try_recv().ok())
            .map(Asking)
    }
}

impl Asking {
    /// What is asked.
    pub(crate) fn question(&self) -> Asks {
        match &self.0.question {
            Question::MayRead(user, channel) => Asks::MayRead(user.clone(), channel.clone()),
            Question::Verify(token) => Asks::Verify(token.clone()),
            Question::Guest(_) => unreachable!("no app lives here"),
        }
    }

    /// Whether the user may; `None`: the database could not be asked.
    pub(crate) fn allowed(self, channel: Channel, allowed: Option<bool>) {
        let Asked {
            inbox,
            slot,
            generation,
            ..
        } = self.0;
        inbox.put(Command::asked(slot, generation, channel, allowed));
    }

    /// Who the token says is there.
    pub(crate) fn verified(self, result: Result<Principal, String>) {
        let Asked {
            inbox,
            slot,
            generation,
            ..
        } = self.0;
        let answer = Answer::Verified(result.map_err(Unverified::Refused));
        inbox.put(Command::Answer {
            slot,
            generation,
            answer,
        });
    }
    /// Nobody can say whose the token is.
    pub(crate) fn undecided(self) {
        let Asked {
            inbox,
            slot,
            generation,
            ..
        } = self.0;
        let answer = Answer::Verified(Err(Unverified::Later("later".to_owned())));
        inbox.put(Command::Answer {
            slot,
            generation,
            answer,
        });
    }
}
