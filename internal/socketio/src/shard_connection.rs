//! A WebSocket on its shard: a session of its own, or a try of a polling session.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::engine::{Millis, SessionEnd};
use crate::host::{Host, SocketOutput};
use crate::mount_shared::{MountService, MountShared};
use crate::polling_table::MovedSession;
use crate::probe::Probe;
use crate::session::{NewSession, Session};
use crate::shard_host::ShardHost;
use latido_base::ident::UserId;
use latido_event_bus::{BusEvent, EncodingId};
use latido_protocol::Frame;
use latido_shard::{
    Actions, AsyncResult, ClientMessage, HandlerContext, ProtocolHandler, Timestamp,
};
use latido_socketio_protocol::engineio::Packet;

/// The packets that a client may send between its upgrade and the arrival of its session.
const MAX_HELD: usize = 256;

/// The time below which a timer needs more than whole seconds.
const FINE_TIMER: Millis = 2_000;

/// A WebSocket; see the module's documentation.
pub(crate) struct ShardConnection {
    mount: Arc<MountShared>,
    context: HandlerContext,
    stage: Stage,
    /// The time of the pending timer of less than whole seconds, or `Millis::MAX`.
    wake_at: Millis,
    /// The time of the next timer in Unix seconds, or `i64::MAX`.
    timer_s: i64,
}

enum Stage {
    /// The socket is not open yet.
    New(Box<NewSession>),
    /// The socket has a session.
    Open(Box<Session>),
    /// The client of a polling session tries out the socket.
    Probing(Box<Probe>),
    /// The client has upgraded, and its session is on its way from its task.
    Moving(Vec<HeldMessage>),
    /// The session of the request does not exist, or has a WebSocket.
    Refused,
    Closed,
}

/// A message that waits for its session.
enum HeldMessage {
    Text(String),
    Binary(Vec<u8>),
}

/// The session of an upgraded client, or `None` if it has ended.
struct Moved(Option<Box<MovedSession>>);

/// An output of a future that was started before the session moved, with the way to further ones.
struct ForwardedOutput {
    outputs: mpsc::Receiver<SocketOutput>,
    output: Option<SocketOutput>,
}

impl ShardConnection {
    /// Creates the handler of a new session.
    pub(crate) fn open(new: NewSession, context: HandlerContext) -> Self {
        let mount = Arc::clone(&new.mount);
        Self::new(mount, Stage::New(Box::new(new)), context)
    }

    /// Creates the handler of a socket that a polling session tries out.
    pub(crate) fn probe(mount: Arc<MountShared>, probe: Probe, context: HandlerContext) -> Self {
        Self::new(mount, Stage::Probing(Box::new(probe)), context)
    }

    /// Creates the handler of a socket whose session does not exist, or has a WebSocket. It is
    /// closed when it is open, as by the reference server.
    pub(crate) fn refused(mount: Arc<MountShared>, context: HandlerContext) -> Self {
        Self::new(mount, Stage::Refused, context)
    }

    fn new(mount: Arc<MountShared>, stage: Stage, context: HandlerContext) -> Self {
        Self {
            mount,
            context,
            stage,
            wake_at: Millis::MAX,
            timer_s: i64::MAX,
        }
    }

    /// Opens the session of a new socket, and starts the timer of one that is tried out.
    fn start(&mut self, now: Timestamp, actions: &mut Actions<'_>) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Closed) {
            Stage::New(new) => {
                let mut host = ShardHost {
                    actions,
                    context: &self.context,
                };
                let session = Session::websocket(*new, self.mount.now(), &mut host);
                Stage::Open(Box::new(session))
            }
            Stage::Refused => return self.close(SessionEnd::Server, actions),
            stage => stage,
        };
        self.finish_call(now, actions);
    }

    /// Calls the session, if there is one, and sends what it has to say.
    fn with_session(
        &mut self,
        now: Timestamp,
        actions: &mut Actions<'_>,
        call: impl FnOnce(&mut Session, Millis, &mut dyn Host),
    ) {
        if let Stage::Open(session) = &mut self.stage {
            let mut host = ShardHost {
                actions,
                context: &self.context,
            };
            call(session, self.mount.now(), &mut host);
        }
        self.finish_call(now, actions);
    }

    /// Sends the session's packets, closes the socket if the session has ended, and sets the timer.
    fn finish_call(&mut self, now: Timestamp, actions: &mut Actions<'_>) {
        let next_timer = match &mut self.stage {
            Stage::Open(session) => {
                send_packets(session, actions);
                match session.engine.end() {
                    Some(end) => return self.close(end, actions),
                    None => session.next_timer(),
                }
            }
            Stage::Probing(probe) => Some(probe.until),
            Stage::New(_) | Stage::Moving(_) | Stage::Refused | Stage::Closed => None,
        };
        self.set_timer(next_timer, now, actions);
    }

    fn close(&mut self, end: SessionEnd, actions: &mut Actions<'_>) {
        let (code, reason) = match end {
            SessionEnd::PingTimeout => (4408, "no heartbeat"),
            SessionEnd::Invalid => (1002, "protocol error"),
            SessionEnd::Client
            | SessionEnd::PollAborted
            | SessionEnd::PollOverlap
            | SessionEnd::Server => (1000, ""),
        };
        self.stage = Stage::Closed;
        self.timer_s = i64::MAX;
        actions.close(code, reason);
    }

    fn set_timer(&mut self, at: Option<Millis>, now: Timestamp, actions: &mut Actions<'_>) {
        self.timer_s = i64::MAX;
        let Some(at) = at else { return };
        let now_ms = self.mount.now();
        let delay = at.saturating_sub(now_ms);
        if delay >= FINE_TIMER {
            let seconds = i64::try_from(delay.div_ceil(1_000)).unwrap_or(i64::MAX);
            self.timer_s = now.unix_s.saturating_add(seconds);
        } else if self.wake_at > at {
            self.wake_at = at;
            actions.wake_after(Duration::from_millis(delay.max(1)));
        }
    }

    /// Handles a message on a socket that is only tried out.
    fn on_probe_message(&mut self, packet: Option<Packet<'_>>, actions: &mut Actions<'_>) {
        let Stage::Probing(probe) = &mut self.stage else {
            return;
        };
        let session = probe.session.clone();
        let is_started = match packet {
            Some(Packet::Ping("probe")) => {
                // The answer and the upgrade need as long on their way as the probe, or longer.
                probe.extend(&self.mount);
                actions.send_text("3probe");
                actions.spawn(async move { session.notify_probe().await })
            }
            Some(Packet::Upgrade) => {
                let alive = probe.alive.take();
                self.stage = Stage::Moving(Vec::new());
                actions.spawn(async move {
                    let moved = session.take().await;
                    drop(alive);
                    Moved(moved)
                })
            }
            _ => false,
        };
        // Only this socket ends. The session goes on by polling.
        if !is_started {
            self.close(SessionEnd::Server, actions);
        }
    }

    fn on_moved(&mut self, moved: Moved, now: Timestamp, actions: &mut Actions<'_>) {
        let Stage::Moving(held) = std::mem::replace(&mut self.stage, Stage::Closed) else {
            return;
        };
        let Some(moved) = moved.0 else {
            return self.close(SessionEnd::Server, actions);
        };
        let MovedSession {
            mut session,
            outputs,
            pending,
        } = *moved;
        let mut host = ShardHost {
            actions,
            context: &self.context,
        };
        let now_ms = self.mount.now();
        session.move_to_shard(&self.context, now_ms, &mut host);
        self.stage = Stage::Open(session);
        if pending > 0 {
            forward_output(outputs, actions);
        }
        self.finish_call(now, actions);
        for message in held {
            match message {
                HeldMessage::Text(text) => {
                    self.on_message(ClientMessage::Text(&text), now, actions);
                }
                HeldMessage::Binary(bytes) => {
                    self.on_message(ClientMessage::Binary(&bytes), now, actions);
                }
            }
        }
    }

    fn hold(&mut self, message: ClientMessage<'_>, actions: &mut Actions<'_>) {
        let Stage::Moving(held) = &mut self.stage else {
            return;
        };
        if held.len() >= MAX_HELD {
            return self.close(SessionEnd::Server, actions);
        }
        held.push(match message {
            ClientMessage::Text(text) => HeldMessage::Text(text.to_owned()),
            ClientMessage::Binary(bytes) => HeldMessage::Binary(bytes.to_vec()),
        });
    }
}

/// Sends what a session has for its client.
fn send_packets(session: &mut Session, actions: &mut Actions<'_>) {
    let version = session.engine.version();
    while let Some(packet) = session.engine.next_frame() {
        actions.send(packet.into_frame(version));
    }
}

/// Awaits the next output of a future that was started before the session moved.
fn forward_output(mut outputs: mpsc::Receiver<SocketOutput>, actions: &mut Actions<'_>) {
    // If too many futures are pending, the socket goes on waiting until its client gives up.
    let _started = actions.spawn(async move {
        let output = outputs.recv().await;
        ForwardedOutput { outputs, output }
    });
}

impl ProtocolHandler for ShardConnection {
    fn on_open(&mut self, now: Timestamp, actions: &mut Actions<'_>) {
        let delay = self.mount.config.open_delay;
        if matches!(self.stage, Stage::New(_)) && !delay.is_zero() {
            return actions.wake_after(delay);
        }
        self.start(now, actions);
    }

    fn on_message(
        &mut self,
        message: ClientMessage<'_>,
        now: Timestamp,
        actions: &mut Actions<'_>,
    ) {
        if matches!(self.stage, Stage::New(_)) {
            self.start(now, actions);
        }
        let version = match &self.stage {
            Stage::Open(session) => session.engine.version(),
            Stage::Probing(probe) => probe.version,
            Stage::Moving(_) => return self.hold(message, actions),
            Stage::New(_) | Stage::Refused | Stage::Closed => return,
        };
        let (packet, bytes) = match message {
            ClientMessage::Text(text) => (Packet::from_text(version, text), text.len()),
            ClientMessage::Binary(bytes) => (Packet::from_binary(version, bytes), bytes.len()),
        };
        if matches!(self.stage, Stage::Probing(_)) {
            return self.on_probe_message(packet.ok(), actions);
        }
        self.with_session(now, actions, |session, now, host| {
            session.count_bytes(bytes, now);
            match packet {
                Ok(packet) => session.on_packet(packet, now, host),
                Err(error) => session.on_invalid_packet(&error, now),
            }
        });
    }

    fn on_async_result(&mut self, result: AsyncResult, now: Timestamp, actions: &mut Actions<'_>) {
        let result = match result.downcast::<SocketOutput>() {
            Ok(output) => {
                return self.with_session(now, actions, |session, now, host| {
                    session.on_output(*output, now, host)
                });
            }
            Err(result) => result,
        };
        let result = match result.downcast::<Moved>() {
            Ok(moved) => return self.on_moved(*moved, now, actions),
            Err(result) => result,
        };
        if let Ok(forwarded) = result.downcast::<ForwardedOutput>()
            && let Some(output) = forwarded.output
        {
            forward_output(forwarded.outputs, actions);
            self.with_session(now, actions, |session, now, host| {
                session.on_output(output, now, host)
            });
        }
    }

    fn on_timer(&mut self, now: Timestamp, actions: &mut Actions<'_>) {
        let now_ms = self.mount.now();
        if self.wake_at <= now_ms {
            self.wake_at = Millis::MAX;
        }
        if let Stage::Probing(probe) = &self.stage
            && now_ms >= probe.until
        {
            return self.close(SessionEnd::Server, actions);
        }
        if matches!(self.stage, Stage::New(_)) {
            return self.start(now, actions);
        }
        self.with_session(now, actions, Session::on_timer);
    }

    fn next_timer(&self) -> Option<i64> {
        (self.timer_s < i64::MAX).then_some(self.timer_s)
    }

    /// Unused: every connection has an encoding of its namespace.
    fn encode(&self, _: &BusEvent) -> Frame {
        Frame::joined([])
    }

    fn encode_as(&self, event: &BusEvent, encoding: EncodingId) -> Frame {
        match &self.mount.service {
            MountService::SocketIo(namespaces) => namespaces.frame(event, encoding),
            MountService::Messages(_) => Frame::joined([]),
        }
    }

    fn user(&self) -> Option<&UserId> {
        None
    }

    fn on_rate_limited(&mut self, actions: &mut Actions<'_>) {
        if let Stage::Open(session) = &mut self.stage {
            session.on_rate_limited();
            send_packets(session, actions);
        }
    }

    fn on_kicked(&mut self, reason: &'static str, actions: &mut Actions<'_>) -> bool {
        if let Stage::Open(session) = &mut self.stage {
            let mut host = ShardHost {
                actions,
                context: &self.context,
            };
            let now = self.mount.now();
            session.on_kicked(reason, now, &mut host);
            send_packets(session, actions);
            // The identity may have ended, or the session: the timer sees to both.
            self.wake_at = now;
            actions.wake_after(Duration::from_millis(1));
        }
        true
    }
}
