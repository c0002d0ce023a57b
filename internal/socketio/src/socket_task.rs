//! The task of one socket: it handles events, delivers events, and ends with the client.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::app::{ClientEvent, SocketHandler, SocketIoApp};
use crate::config::Config;
use crate::inbox::InboxReceiver;
use crate::sender::{EventSender, SendEnd};
use crate::socket_handle::SocketHandle;
use latido_base::token_bucket::{TokenBucket, TokenRate};
use latido_event_bus::DisconnectReason;

/// A time that is far enough never to come.
const FAR_FUTURE: Duration = Duration::from_secs(365 * 24 * 3600);

/// The data that all sockets of a namespace share.
pub(super) struct NamespaceContext {
    pub(super) config: Config,
    /// The apps of the namespace, at least one.
    pub(super) apps: Vec<Arc<dyn SocketIoApp>>,
    /// Cancelled when the server has stopped and every client is disconnected.
    pub(super) closed: CancellationToken,
}

/// Serves a socket until it is disconnected.
pub(super) async fn serve_socket(
    context: Arc<NamespaceContext>,
    socket: SocketHandle,
    auth: Value,
    mut messages: InboxReceiver,
) {
    let gone = messages.disconnected();
    let _identity = IdentityGuard(socket.clone());
    let rate_limit = EventRateLimit::new(&context.config);
    let resolved = tokio::select! {
        biased;
        () = gone.cancelled() => return,
        resolved = resolve_app(&context, &socket, &mut messages) => resolved,
    };
    let Some((app, first)) = resolved else {
        return socket.disconnect();
    };
    let Some((handler, mailbox)) = app.on_connect(&socket, auth) else {
        return socket.disconnect();
    };
    let sender = EventSender::new(
        socket.clone(),
        Arc::clone(&app),
        mailbox,
        context.config.slow_client,
    );
    let mut task = SocketTask {
        context,
        socket,
        app,
        handler,
        rate_limit,
    };
    if let Some(end) = task.run(sender, &mut messages, first).await {
        task.disconnect(end);
    } else {
        task.drain_inbox(&mut messages);
    }
}

/// Ends the identity of a socket with its task.
struct IdentityGuard(SocketHandle);

impl Drop for IdentityGuard {
    fn drop(&mut self) {
        self.0.forget_identity();
    }
}

/// Determines the app of a socket. Returns it with the event that identified it, or `None` if no
/// event did so in time.
async fn resolve_app(
    context: &NamespaceContext,
    socket: &SocketHandle,
    messages: &mut InboxReceiver,
) -> Option<(Arc<dyn SocketIoApp>, Option<ClientEvent>)> {
    if let [only] = &*context.apps {
        return Some((Arc::clone(only), None));
    }
    if let Some(app) = context.apps.iter().find(|app| app.claims_socket(socket)) {
        return Some((Arc::clone(app), None));
    }
    let first_event = async {
        loop {
            let event = messages.next().await?;
            if let Some(app) = context
                .apps
                .iter()
                .find(|app| app.handles_event(&event.name))
            {
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

fn reject(socket: &SocketHandle, message: &str) {
    socket.emit("error", &json!({"message": message}));
}

struct SocketTask {
    context: Arc<NamespaceContext>,
    socket: SocketHandle,
    app: Arc<dyn SocketIoApp>,
    handler: Box<dyn SocketHandler>,
    rate_limit: EventRateLimit,
}

impl SocketTask {
    /// Handles the client's events and delivers events of the bus. Returns `None` if the client
    /// disconnected.
    async fn run(
        &mut self,
        mut sender: EventSender,
        messages: &mut InboxReceiver,
        first: Option<ClientEvent>,
    ) -> Option<SendEnd> {
        let gone = messages.disconnected();
        let mut next = first;
        loop {
            let event = match next.take() {
                Some(event) => event,
                None => tokio::select! {
                    biased;
                    () = gone.cancelled() => return None,
                    step = sender.deliver_next() => match step {
                        Ok(()) => continue,
                        Err(end) => return Some(end),
                    },
                    () = sleep_until(self.handler.next_timer().unwrap_or_else(|| Instant::now() + FAR_FUTURE)) => {
                        self.handler.on_timer();
                        continue;
                    }
                    event = messages.next() => event?,
                },
            };
            match self.check_event(&event) {
                EventDecision::Handle => {}
                EventDecision::Drop => continue,
                EventDecision::Disconnect => {
                    return Some(SendEnd::Disconnect(DisconnectReason::TooSlow));
                }
            }
            let mut handling = pin!(self.handler.on_event(event));
            loop {
                tokio::select! {
                    biased;
                    () = gone.cancelled() => return None,
                    () = &mut handling => break,
                    step = sender.deliver_next() => if let Err(end) = step { return Some(end) },
                }
            }
        }
    }

    /// Decides whether an event is passed to the handler.
    fn check_event(&mut self, event: &ClientEvent) -> EventDecision {
        match self.rate_limit.check(Instant::now()) {
            EventDecision::Handle => {}
            EventDecision::Drop => {
                if self.rate_limit.dropped == 1 {
                    reject(&self.socket, "too many messages; slow down");
                }
                return EventDecision::Drop;
            }
            EventDecision::Disconnect => return EventDecision::Disconnect,
        }
        let belongs_to_other_app = !self.app.handles_event(&event.name)
            && self
                .context
                .apps
                .iter()
                .any(|app| app.handles_event(&event.name));
        if belongs_to_other_app {
            reject(&self.socket, "this event is another application's");
            return EventDecision::Drop;
        }
        EventDecision::Handle
    }

    /// Handles the events that a client sent before it disconnected, as far as this needs no
    /// waiting. `emit` directly followed by `disconnect` is common.
    fn drain_inbox(&mut self, messages: &mut InboxReceiver) {
        while let Some(event) = messages.try_next() {
            if matches!(self.check_event(&event), EventDecision::Handle) {
                let _ = self.handler.on_event(event).now_or_never();
            }
        }
    }

    fn disconnect(&self, end: SendEnd) {
        if let SendEnd::Disconnect(reason) = end {
            let peer = self.socket.peer().map(tracing::field::display);
            debug!(namespace = self.socket.namespace(), peer, %reason, "a Socket.IO client was disconnected");
            self.socket.disconnect();
        }
    }
}

/// The decision about one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EventDecision {
    Handle,
    Drop,
    /// Disconnect the client, because it keeps sending in spite of dropped messages.
    Disconnect,
}

/// The rate limit of a client's events.
struct EventRateLimit {
    rate: TokenRate,
    burst: u32,
    bucket: TokenBucket,
    /// The origin of the bucket's time.
    started: Instant,
    /// The number of events dropped in a row.
    dropped: u32,
}

impl EventRateLimit {
    fn new(config: &Config) -> Self {
        let burst = config.message_burst.max(1);
        let rate = TokenRate::per_second(config.messages_per_second, burst);
        Self {
            rate,
            burst,
            bucket: TokenBucket::full(rate, Duration::ZERO),
            started: Instant::now(),
            dropped: 0,
        }
    }

    fn check(&mut self, now: Instant) -> EventDecision {
        let elapsed = now.saturating_duration_since(self.started);
        if self.bucket.try_take(self.rate, elapsed) {
            self.dropped = 0;
            return EventDecision::Handle;
        }
        self.dropped += 1;
        if self.dropped > self.burst {
            EventDecision::Disconnect
        } else {
            EventDecision::Drop
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
        let mut limit = EventRateLimit::new(&config);
        let start = limit.started;
        let mut at = |seconds| limit.check(start + Duration::from_secs(seconds));
        use EventDecision::{Disconnect, Drop, Handle};
        assert_eq!(
            [at(0), at(0), at(0), at(0), at(0)],
            [Handle, Handle, Handle, Drop, Drop]
        );
        assert_eq!(
            [at(1), at(1), at(1), at(1), at(1)],
            [Handle, Drop, Drop, Drop, Disconnect]
        );
        assert_eq!(
            [at(1_000), at(1_000), at(1_000), at(1_000)],
            [Handle, Handle, Handle, Drop],
            "never more than the burst"
        );
    }
}
