//! A shard driven by the simulator, which replaces its thread, its clock and its request handler.

use mio::Waker;
use tokio::sync::mpsc;

use super::*;
use crate::desk::{Asked, Question};
use crate::entrance::Porch;
use crate::{Entrance, Porter, inbox};
use latido_auth::Principal;
use latido_base::ident::{Channel, UserId};
use latido_session::ReauthError;

/// The rounds without time passing after which the loop counts as busy forever.
const RESTLESS: usize = 10_000;
/// The capacity of each request queue.
pub const DESK: usize = 64;

/// A request of the shard, to be answered later.
pub struct Asking(Asked);

/// The content of a request.
pub enum Asks {
    MayRead(UserId, Channel),
    Verify(String),
}

/// A shard that runs only when its owner calls it.
pub struct Thread {
    worker: Worker,
    events: Events,
    /// The permission and the token requests.
    questions: [mpsc::Receiver<Asked>; 2],
    /// The requests of apps; there are none in the simulation.
    _guests: mpsc::Receiver<Asked>,
}

impl Thread {
    /// Creates a shard that is connected to a hub.
    pub fn new(deps: Parts) -> Self {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(usize::MAX)).unwrap());
        let inbox = Arc::new(Inbox::new(Arc::clone(&waker)));
        let frames = deps.hub.register_shard(move || inbox::wake(&waker));
        let [
            (permission_queue, permissions),
            (token_queue, tokens),
            (app_queue, app_requests),
        ] = std::array::from_fn(|_| mpsc::channel(DESK));
        let worker = Worker::new(
            poll,
            inbox,
            frames,
            [permission_queue, token_queue, app_queue],
            deps,
        );
        Self {
            worker,
            events: Events::with_capacity(64),
            questions: [permissions, tokens],
            _guests: app_requests,
        }
    }

    /// Adds an upgraded client.
    pub fn adopt(&self, connection: Arrival) {
        self.worker.inbox.put(Command::Adopt(Box::new(connection)));
    }

    /// Serves a listening socket with this shard alone.
    pub fn open(&self, socket: std::net::TcpListener, handler: Arc<dyn Porter>) -> Entrance {
        Porch::open(0, socket, handler, vec![Arc::clone(&self.worker.inbox)])
    }

    /// Starts the shutdown of the shard.
    pub fn leave(&self, spread_ms: u64) {
        self.worker.inbox.put(Command::Leave { spread_ms });
    }

    /// Returns whether the shard's loop has ended.
    pub fn has_ended(&self) -> bool {
        self.worker.stop
    }

    /// Returns the number of open connections.
    pub fn count(&self) -> usize {
        self.worker.count()
    }

    /// Does everything that `ShardWorker::run` would do before time passes. Returns `false` if it
    /// would never sleep.
    pub fn act(&mut self) -> bool {
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

    /// Runs at most this number of rounds, even if work is left.
    pub fn rounds(&mut self, count: usize) {
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

    /// Returns the time of the next action that needs no event.
    pub fn deadline(&self) -> Option<Instant> {
        self.worker
            .patience()
            .filter(|_| !self.worker.stop)
            .map(|timeout| monotonic_now() + timeout)
    }

    /// Takes the next pending request.
    pub fn question(&mut self) -> Option<Asking> {
        self.questions
            .iter_mut()
            .find_map(|requests| requests.try_recv().ok())
            .map(Asking)
    }
}

impl Asking {
    /// Returns the content of the request.
    pub fn question(&self) -> Asks {
        match &self.0.question {
            Question::MayRead(user, channel) => Asks::MayRead(user.clone(), channel.clone()),
            Question::Verify(token) => Asks::Verify(token.clone()),
            Question::Guest(_) => unreachable!("the simulation has no app"),
        }
    }

    /// Responds with the result of a permission check, or `None` if the database was unavailable.
    pub fn allowed(self, channel: Channel, allowed: Option<bool>) {
        let Asked {
            inbox,
            slot,
            generation,
            ..
        } = self.0;
        inbox.put(Command::asked(slot, generation, channel, allowed));
    }

    /// Responds with the result of a token check.
    pub fn verified(self, result: Result<Principal, String>) {
        let Asked {
            inbox,
            slot,
            generation,
            ..
        } = self.0;
        let response = Answer::Verified(result.map_err(ReauthError::Invalid));
        inbox.put(Command::Answer {
            slot,
            generation,
            answer: response,
        });
    }
    /// Responds that the token cannot be checked now.
    pub fn undecided(self) {
        let Asked {
            inbox,
            slot,
            generation,
            ..
        } = self.0;
        let response = Answer::Verified(Err(ReauthError::Unavailable("later".to_owned())));
        inbox.put(Command::Answer {
            slot,
            generation,
            answer: response,
        });
    }
}
