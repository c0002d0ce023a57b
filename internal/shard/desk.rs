//! What a shard can't answer itself, because it must await: it asks here, and the answer comes back as a command.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use crate::auth::{Policy, Principal, Verifier};
use crate::drain::Drain;
use crate::ident::{Channel, UserId};
use crate::shard::guest::{Answered, Asking};
use crate::shard::inbox::{Command, Inbox};
use crate::stream::Catalog;

/// Questions that may wait; beyond that the client is told to ask again later.
const QUEUE: usize = 4096;
/// Questions that are worked on at a time; the database's pool is smaller still.
const AT_ONCE: usize = 64;

/// What came of a question.
pub(super) enum Answer {
    /// Whether the user may read the channel; `None`: the database could not be asked.
    Allowed(Channel, Option<bool>),
    /// Who the new token says is there, or why it says nothing.
    Verified(Result<Principal, String>),
    /// What a guest's future gave.
    Guest(Answered),
}

/// What is asked.
pub(super) enum Question {
    MayRead(UserId, Channel),
    /// Holds a token: never printed.
    Verify(String),
    /// A guest's own.
    Guest(Asking),
}

/// A question and who asks.
pub(super) struct Asked {
    pub(super) inbox: Arc<Inbox>,
    pub(super) slot: u32,
    pub(super) generation: u32,
    pub(super) question: Question,
}

/// Where shards put their questions; full means «later».
pub(super) type Desk = mpsc::Sender<Asked>;

/// What answers them.
#[derive(Debug, Clone)]
pub struct Clerk {
    /// Verifies tokens.
    pub verifier: Arc<Verifier>,
    /// Knows who may read what.
    pub policy: Arc<Policy>,
    /// The streams.
    pub catalog: Arc<Catalog>,
}

/// Opens the desk.
pub(super) fn open(clerk: Clerk, drain: &Drain) -> Desk {
    let (desk, questions) = mpsc::channel(QUEUE);
    let tasks = drain.clone();
    drain.spawn_until_stop(serve(questions, clerk, tasks));
    desk
}

async fn serve(mut questions: mpsc::Receiver<Asked>, clerk: Clerk, drain: Drain) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(asked) = questions.recv().await {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let clerk = clerk.clone();
        drain.spawn_until_stop(async move {
            clerk.answer(asked).await;
            drop(place);
        });
    }
}

impl Clerk {
    async fn answer(&self, asked: Asked) {
        let Asked { inbox, slot, generation, question } = asked;
        let command = match question {
            Question::MayRead(user, channel) => {
                let stream = self.catalog.get(channel.topic.stream);
                let allowed = self.policy.ask(&user, stream, &channel.topic).await;
                Command::asked(slot, generation, channel, allowed.ok())
            }
            Question::Verify(token) => {
                let verified = self.verifier.verify(&token).await.map_err(|error| error.to_string());
                Command::Answer { slot, generation, answer: Answer::Verified(verified) }
            }
            Question::Guest(future) => Command::Answer { slot, generation, answer: Answer::Guest(future.await) },
        };
        inbox.put(command);
    }
}
