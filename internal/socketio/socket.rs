//! One socket's task: hears, delivers, and ends with the client.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::hub::exchange::End;
use crate::socketio::inbox::Letters;
use crate::socketio::outgoing::{Outgoing, Over};
use crate::socketio::{Config, Dialect, Heard, Link, Talk};

/// Far enough never to come.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// What all sockets of a namespace share.
pub(super) struct Hall {
    pub(super) config: Config,
    /// At least one.
    pub(super) dialects: Vec<Arc<dyn Dialect>>,
    /// The server has stopped and every client is gone.
    pub(super) closed: CancellationToken,
}

/// Serves a socket until it is gone.
pub(super) async fn serve(hall: Arc<Hall>, link: Link, auth: Value, mut letters: Letters) {
    let gone = letters.gone();
    let pace = Pace::new(&hall.config);
    let settled = tokio::select! {
        biased;
        () = gone.cancelled() => return,
        settled = settle(&hall, &link, &mut letters) => settled,
    };
    let Some((dialect, first)) = settled else {
        return link.disconnect();
    };
    let Some((talk, mailbox)) = dialect.connect(&link, auth) else {
        return link.disconnect();
    };
    let outgoing = Outgoing::new(
        link.clone(),
        Arc::clone(&dialect),
        mailbox,
        hall.config.behind,
    );
    let mut conversation = Conversation {
        hall,
        link,
        dialect,
        talk,
        pace,
    };
    if let Some(over) = conversation.run(outgoing, &mut letters, first).await {
        conversation.end(over);
    } else {
        conversation.hear_the_rest(&mut letters);
    }
}

/// Whose socket it is, and the event that told; none if it did not tell in time.
async fn settle(
    hall: &Hall,
    link: &Link,
    letters: &mut Letters,
) -> Option<(Arc<dyn Dialect>, Option<Heard>)> {
    if let [only] = &*hall.dialects {
        return Some((Arc::clone(only), None));
    }
    if let Some(dialect) = hall.dialects.iter().find(|dialect| dialect.claims(link)) {
        return Some((Arc::clone(dialect), None));
    }
    let told = async {
        loop {
            let heard = letters.next().await?;
            if let Some(dialect) = hall
                .dialects
                .iter()
                .find(|dialect| dialect.owns(&heard.event))
            {
                return Some((Arc::clone(dialect), Some(heard)));
            }
            refuse(link, "unknown event");
        }
    };
    timeout(hall.config.connect_timeout, told)
        .await
        .ok()
        .flatten()
}

fn refuse(link: &Link, message: &str) {
    link.emit("error", &json!({"message": message}));
}

struct Conversation {
    hall: Arc<Hall>,
    link: Link,
    dialect: Arc<dyn Dialect>,
    talk: Box<dyn Talk>,
    pace: Pace,
}

impl Conversation {
    /// Hears and delivers. None: the client is gone.
    async fn run(
        &mut self,
        mut outgoing: Outgoing,
        letters: &mut Letters,
        first: Option<Heard>,
    ) -> Option<Over> {
        let gone = letters.gone();
        let mut next = first;
        loop {
            let heard = match next.take() {
                Some(heard) => heard,
                None => tokio::select! {
                    biased;
                    () = gone.cancelled() => return None,
                    step = outgoing.step() => match step {
                        Ok(()) => continue,
                        Err(over) => return Some(over),
                    },
                    () = sleep_until(self.talk.next_time().unwrap_or_else(|| Instant::now() + NEVER)) => {
                        self.talk.on_time();
                        continue;
                    }
                    heard = letters.next() => heard?,
                },
            };
            match self.admit(&heard) {
                Admission::Hear => {}
                Admission::Drop => continue,
                Admission::End => return Some(Over::Ended(End::TooSlow)),
            }
            let mut hearing = pin!(self.talk.hear(heard));
            loop {
                tokio::select! {
                    biased;
                    () = gone.cancelled() => return None,
                    () = &mut hearing => break,
                    step = outgoing.step() => if let Err(over) = step { return Some(over) },
                }
            }
        }
    }

    /// Whether a message is to be heard at all.
    fn admit(&mut self, heard: &Heard) -> Admission {
        match self.pace.take(Instant::now()) {
            Admission::Hear => {}
            Admission::Drop => {
                if self.pace.dropped == 1 {
                    refuse(&self.link, "too many messages; slow down");
                }
                return Admission::Drop;
            }
            Admission::End => return Admission::End,
        }
        let foreign = !self.dialect.owns(&heard.event)
            && self
                .hall
                .dialects
                .iter()
                .any(|dialect| dialect.owns(&heard.event));
        if foreign {
            refuse(&self.link, "this event is another application's");
            return Admission::Drop;
        }
        Admission::Hear
    }

    /// What a client said before it left is still heard, as far as nothing has to be waited for: `emit` and then `disconnect` is no rare thing.
    fn hear_the_rest(&mut self, letters: &mut Letters) {
        while let Some(heard) = letters.left() {
            if matches!(self.admit(&heard), Admission::Hear) {
                let _ = self.talk.hear(heard).now_or_never();
            }
        }
    }

    fn end(&self, over: Over) {
        if let Over::Ended(end) = over {
            debug!(namespace = self.link.namespace(), peer = ?self.link.peer(), ?end, "a Socket.IO client was ended");
            self.link.disconnect();
        }
    }
}

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    Hear,
    Drop,
    /// The client does not listen.
    End,
}

/// How fast a client may speak.
struct Pace {
    per_second: f64,
    burst: u32,
    level: f64,
    at: Instant,
    /// In a row.
    dropped: u32,
}

impl Pace {
    fn new(config: &Config) -> Self {
        let burst = config.message_burst.max(1);
        let per_second = f64::from(config.messages_per_second);
        Self {
            per_second,
            burst,
            level: f64::from(burst),
            at: Instant::now(),
            dropped: 0,
        }
    }

    fn take(&mut self, now: Instant) -> Admission {
        self.level += now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.level = self.level.min(f64::from(self.burst));
        self.at = now;
        if self.level >= 1.0 {
            self.level -= 1.0;
            self.dropped = 0;
            return Admission::Hear;
        }
        self.dropped += 1;
        if self.dropped > self.burst {
            Admission::End
        } else {
            Admission::Drop
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_too_fast_is_told_and_then_ended() {
        let config = Config {
            messages_per_second: 1,
            message_burst: 3,
            ..Config::default()
        };
        let mut pace = Pace::new(&config);
        let start = pace.at;
        let mut at = |seconds| pace.take(start + Duration::from_secs(seconds));
        use Admission::{Drop, End, Hear};
        assert_eq!(
            [at(0), at(0), at(0), at(0), at(0)],
            [Hear, Hear, Hear, Drop, Drop]
        );
        assert_eq!(
            [at(1), at(1), at(1), at(1), at(1)],
            [Hear, Drop, Drop, Drop, End]
        );
        assert_eq!(
            [at(1_000), at(1_000), at(1_000), at(1_000)],
            [Hear, Hear, Hear, Drop],
            "never more than the burst"
        );
    }
}
