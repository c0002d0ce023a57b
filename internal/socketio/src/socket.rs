//! The task of one socket: it handles events, delivers events, and ends with the client.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::inbox::Letters;
use crate::outgoing::{Outgoing, Over};
use crate::{Config, Dialect, Heard, Link, Talk};
use latido_event_bus::DisconnectReason;

/// A time that is far enough never to come.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// The data that all sockets of a namespace share.
pub(super) struct Hall {
    pub(super) config: Config,
    /// The apps of the namespace, at least one.
    pub(super) dialects: Vec<Arc<dyn Dialect>>,
    /// Cancelled when the server has stopped and every client is disconnected.
    pub(super) closed: CancellationToken,
}

/// Serves a socket until it is disconnected.
pub(super) async fn serve(context: Arc<Hall>, socket: Link, auth: Value, mut messages: Letters) {
    let gone = messages.gone();
    let rate_limit = Pace::new(&context.config);
    let resolved = tokio::select! {
        biased;
        () = gone.cancelled() => return,
        resolved = settle(&context, &socket, &mut messages) => resolved,
    };
    let Some((app, first)) = resolved else {
        return socket.disconnect();
    };
    let Some((handler, mailbox)) = app.connect(&socket, auth) else {
        return socket.disconnect();
    };
    let sender = Outgoing::new(
        socket.clone(),
        Arc::clone(&app),
        mailbox,
        context.config.behind,
    );
    let mut task = Conversation {
        hall: context,
        link: socket,
        dialect: app,
        talk: handler,
        pace: rate_limit,
    };
    if let Some(end) = task.run(sender, &mut messages, first).await {
        task.end(end);
    } else {
        task.hear_the_rest(&mut messages);
    }
}

/// Determines the app of a socket. Returns it with the event that identified it, or `None` if no
/// event did so in time.
async fn settle(
    context: &Hall,
    socket: &Link,
    messages: &mut Letters,
) -> Option<(Arc<dyn Dialect>, Option<Heard>)> {
    if let [only] = &*context.dialects {
        return Some((Arc::clone(only), None));
    }
    if let Some(app) = context.dialects.iter().find(|app| app.claims(socket)) {
        return Some((Arc::clone(app), None));
    }
    let first_event = async {
        loop {
            let event = messages.next().await?;
            if let Some(app) = context.dialects.iter().find(|app| app.owns(&event.event)) {
                return Some((Arc::clone(app), Some(event)));
            }
            reject(socket, "unknown event");
        }
    };
    timeout(context.config.connect_timeout, first_event)
        .await
        .ok()
        .flatten()
}

fn reject(socket: &Link, message: &str) {
    socket.emit("error", &json!({"message": message}));
}

struct Conversation {
    hall: Arc<Hall>,
    link: Link,
    dialect: Arc<dyn Dialect>,
    talk: Box<dyn Talk>,
    pace: Pace,
}

impl Conversation {
    /// Handles the client's events and delivers events of the bus. Returns `None` if the client
    /// disconnected.
    async fn run(
        &mut self,
        mut sender: Outgoing,
        messages: &mut Letters,
        first: Option<Heard>,
    ) -> Option<Over> {
        let gone = messages.gone();
        let mut next = first;
        loop {
            let event = match next.take() {
                Some(event) => event,
                None => tokio::select! {
                    biased;
                    () = gone.cancelled() => return None,
                    step = sender.step() => match step {
                        Ok(()) => continue,
                        Err(end) => return Some(end),
                    },
                    () = sleep_until(self.talk.next_time().unwrap_or_else(|| Instant::now() + NEVER)) => {
                        self.talk.on_time();
                        continue;
                    }
                    event = messages.next() => event?,
                },
            };
            match self.admit(&event) {
                Admission::Hear => {}
                Admission::Drop => continue,
                Admission::End => return Some(Over::Ended(DisconnectReason::TooSlow)),
            }
            let mut handling = pin!(self.talk.hear(event));
            loop {
                tokio::select! {
                    biased;
                    () = gone.cancelled() => return None,
                    () = &mut handling => break,
                    step = sender.step() => if let Err(end) = step { return Some(end) },
                }
            }
        }
    }

    /// Decides whether an event is passed to the handler.
    fn admit(&mut self, event: &Heard) -> Admission {
        match self.pace.take(Instant::now()) {
            Admission::Hear => {}
            Admission::Drop => {
                if self.pace.dropped == 1 {
                    reject(&self.link, "too many messages; slow down");
                }
                return Admission::Drop;
            }
            Admission::End => return Admission::End,
        }
        let belongs_to_other_app = !self.dialect.owns(&event.event)
            && self.hall.dialects.iter().any(|app| app.owns(&event.event));
        if belongs_to_other_app {
            reject(&self.link, "this event is another application's");
            return Admission::Drop;
        }
        Admission::Hear
    }

    /// Handles the events that a client sent before it disconnected, as far as this needs no
    /// waiting. `emit` directly followed by `disconnect` is common.
    fn hear_the_rest(&mut self, messages: &mut Letters) {
        while let Some(event) = messages.left() {
            if matches!(self.admit(&event), Admission::Hear) {
                let _ = self.talk.hear(event).now_or_never();
            }
        }
    }

    fn end(&self, end: Over) {
        if let Over::Ended(end) = end {
            debug!(namespace = self.link.namespace(), peer = ?self.link.peer(), ?end, "a Socket.IO client was ended");
            self.link.disconnect();
        }
    }
}

/// The decision about one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    Hear,
    Drop,
    /// Disconnect the client, because it keeps sending in spite of dropped messages.
    End,
}

/// The rate limit of a client's events: a token bucket.
struct Pace {
    per_second: f64,
    burst: u32,
    level: f64,
    at: Instant,
    /// The number of events dropped in a row.
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
    fn fast_clients_are_warned_and_then_disconnected() {
        let config = Config {
            messages_per_second: 1,
            message_burst: 3,
            ..Config::default()
        };
        let mut limit = Pace::new(&config);
        let start = limit.at;
        let mut at = |seconds| limit.take(start + Duration::from_secs(seconds));
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
