//! The task of a polling session. It owns the session until the client upgrades to a WebSocket.

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;

use crate::config::millis;
use crate::engine::{Millis, PollBody, PollStart, SessionEnd};
use crate::host::SocketOutput;
use crate::mount_shared::MountShared;
use crate::polling_host::PollingHost;
use crate::polling_table::{MovedSession, PollingCommand, PollingEntry, PollingTable};
use crate::session::{BusOutcome, NewSession, Session};
use latido_session::{MessageRateLimit, RateDecision, message_cost};
use latido_socketio_protocol::engineio::{PayloadBody, PayloadLimits, decode_payload};

/// The factor on the largest payload for everything that waits for a poll: answers to the client's
/// own packets are not held back as events are.
const QUEUE_FACTOR: usize = 4;

/// The task of a polling session.
pub(crate) struct PollingTask {
    mount: Arc<MountShared>,
    session: Box<Session>,
    host: PollingHost,
    outputs: mpsc::Receiver<SocketOutput>,
    entry: PollingEntry,
    /// The poll that waits for packets.
    waiting: Option<oneshot::Sender<PollBody>>,
    /// The end of the WebSocket that is tried out.
    probe: Option<oneshot::Receiver<()>>,
    rate_limit: MessageRateLimit,
    /// The time since when too many packets wait for a poll.
    full_since: Option<Millis>,
}

/// One event of the task.
enum PollingEvent {
    Command(PollingCommand),
    PollAborted,
    Output(SocketOutput),
    ProbeEnded,
    Bus(u32, BusOutcome),
    Timer,
    Stopping,
}

impl PollingTask {
    /// Opens a session and adds it to the table of its mount.
    pub(crate) fn open(new: NewSession, table: &Arc<PollingTable>) -> Self {
        let mount = Arc::clone(&new.mount);
        let (mut host, outputs) = PollingHost::new(&mount.drain);
        let entry = PollingEntry::add(table, new.sid, new.version);
        let now = mount.now();
        let session = Box::new(Session::polling(new, now, &mut host));
        Self {
            session,
            host,
            outputs,
            entry,
            waiting: None,
            probe: None,
            rate_limit: MessageRateLimit::new(&mount.limits, seconds(now)),
            full_since: None,
            mount,
        }
    }

    /// Runs until the session ends or moves to its WebSocket.
    pub(crate) async fn run(mut self) {
        loop {
            let now = self.mount.now();
            self.finish_event(now);
            if self.session.engine.is_finished(now) {
                return;
            }
            let event = self.next_event().await;
            let now = self.mount.now();
            // A request that comes with a timer comes after it.
            if self.session.next_timer().is_some_and(|at| now >= at) {
                self.session.on_timer(now, &mut self.host);
            }
            match event {
                PollingEvent::Command(PollingCommand::Take(answer)) => return self.move_to(answer),
                PollingEvent::Command(command) => self.on_command(command, now),
                PollingEvent::PollAborted => {
                    self.waiting = None;
                    self.session.engine.on_poll_aborted(now);
                }
                PollingEvent::Output(output) => {
                    self.host.on_taken();
                    self.session.on_output(output, now, &mut self.host);
                }
                PollingEvent::ProbeEnded => {
                    self.probe = None;
                    self.session.engine.on_probe_ended();
                    self.entry.state.is_probed.store(false, Ordering::Relaxed);
                }
                PollingEvent::Bus(socket, Ok(event)) => self.session.on_bus_event(socket, &event),
                PollingEvent::Bus(socket, Err(reason)) => {
                    self.session.on_bus_end(socket, reason, now, &mut self.host);
                }
                // The timers have run.
                PollingEvent::Timer => {}
                PollingEvent::Stopping => {
                    self.session.engine.close(SessionEnd::Server, now);
                    return self.finish_event(now);
                }
            }
        }
    }

    /// Waits for the next event. Cancel-safe.
    async fn next_event(&mut self) -> PollingEvent {
        let timer = self.next_timer();
        let timer = timer.map(|at| self.mount.instant_at(at).into());
        let is_full = self.full_since.is_some();
        let session = &mut self.session;
        tokio::select! {
            biased;
            () = self.mount.drain.stopping() => PollingEvent::Stopping,
            Some(command) = self.entry.commands.recv() => PollingEvent::Command(command),
            () = aborted(&mut self.waiting) => PollingEvent::PollAborted,
            Some(output) = self.outputs.recv() => PollingEvent::Output(output),
            () = ended(&mut self.probe) => PollingEvent::ProbeEnded,
            (socket, outcome) = poll_fn(|context| session.poll_bus(context)), if !is_full => {
                PollingEvent::Bus(socket, outcome)
            }
            () = sleep_until(timer.unwrap_or_else(tokio::time::Instant::now)), if timer.is_some() => {
                PollingEvent::Timer
            }
        }
    }

    fn next_timer(&self) -> Option<Millis> {
        let slow = self.full_since.map(|since| since + self.slow_client());
        self.session.next_timer().into_iter().chain(slow).min()
    }

    fn slow_client(&self) -> Millis {
        millis(self.mount.config.slow_client)
    }

    fn on_command(&mut self, command: PollingCommand, now: Millis) {
        match command {
            PollingCommand::Poll(answer) => match self.session.engine.on_poll(now) {
                PollStart::Waits => self.waiting = Some(answer),
                // The caller answers with an error when its receiver finds nothing.
                PollStart::Refused => drop(answer),
            },
            PollingCommand::Post {
                body,
                is_binary,
                answer,
            } => {
                let is_valid = self.on_post(&body, is_binary, now);
                // The client may be gone.
                let _ = answer.send(is_valid);
            }
            PollingCommand::ProbeStarted(ended) => self.probe = Some(ended),
            PollingCommand::Probed => self.session.engine.on_probe(now),
            PollingCommand::Take(answer) => drop(answer),
        }
    }

    /// Handles packets from the client. Returns `false` if they, or the session, are not valid.
    fn on_post(&mut self, body: &Bytes, is_binary: bool, now: Millis) -> bool {
        if self.session.engine.end().is_some() {
            return false;
        }
        let payload = if is_binary {
            Some(PayloadBody::Binary(body))
        } else {
            std::str::from_utf8(body).ok().map(PayloadBody::Text)
        };
        let Some(payload) = payload else {
            self.session
                .on_invalid_packet(&"a text that is not UTF-8", now);
            return false;
        };
        let limits = PayloadLimits {
            packets: usize::MAX,
            bytes: self.mount.config.max_payload_bytes,
        };
        self.session.count_bytes(body.len(), now);
        let version = self.session.engine.version();
        let mut cost = message_cost(body.len());
        match decode_payload(version, payload, &limits) {
            Err(error) => self.session.on_invalid_packet(&error, now),
            Ok(packets) => {
                for packet in packets {
                    if self.session.engine.end().is_some() {
                        break;
                    }
                    // The first packet pays for the size of all.
                    if !self.check_rate(std::mem::replace(&mut cost, 1), now) {
                        continue;
                    }
                    match packet {
                        Ok(packet) => self.session.on_packet(packet, now, &mut self.host),
                        Err(error) => self.session.on_invalid_packet(&error, now),
                    }
                }
            }
        }
        matches!(self.session.engine.end(), None | Some(SessionEnd::Client))
    }

    /// Counts a packet against the client's rate. Returns whether it is handled.
    fn check_rate(&mut self, cost: u32, now: Millis) -> bool {
        let limits = &self.mount.limits;
        match self.rate_limit.check(limits, cost, seconds(now)) {
            RateDecision::Allow => return true,
            RateDecision::Drop { is_first: true } => self.session.on_rate_limited(),
            RateDecision::Drop { is_first: false } => {}
            RateDecision::Disconnect => self.session.engine.close(SessionEnd::Server, now),
        }
        false
    }

    /// Answers the waiting poll, and notes what other requests need to know.
    fn finish_event(&mut self, now: Millis) {
        let config = &self.mount.config;
        let queued_bytes = self.session.engine.queued_bytes();
        let is_full = self.session.engine.queued() >= config.buffered_packets
            || queued_bytes >= config.max_payload_bytes;
        self.full_since = is_full.then(|| self.full_since.unwrap_or(now));
        let is_slow = self
            .full_since
            .is_some_and(|since| now >= since + self.slow_client());
        if is_slow || queued_bytes > config.max_payload_bytes.saturating_mul(QUEUE_FACTOR) {
            tracing::debug!("a polling client was too slow");
            self.session.engine.close(SessionEnd::Server, now);
        }
        if self.session.engine.end().is_some() {
            self.session.drop_sockets();
        }
        if self.waiting.is_some()
            && let Some(body) = self.session.engine.take_poll(now)
            && let Some(waiting) = self.waiting.take()
        {
            // A client that is gone by now loses what it was sent, as over a socket.
            let _ = waiting.send(body);
            self.full_since = None;
        }
        let is_identified = self.session.is_identified();
        let state = &self.entry.state;
        state.is_identified.store(is_identified, Ordering::Relaxed);
    }

    /// Gives the session to the WebSocket that the client has upgraded to. A poll that still waits
    /// gets an error.
    fn move_to(mut self, answer: oneshot::Sender<Option<Box<MovedSession>>>) {
        let is_moved = self.session.engine.on_upgrade();
        // Later requests must not find the session.
        drop(self.entry);
        let moved = is_moved.then(|| {
            Box::new(MovedSession {
                session: self.session,
                outputs: self.outputs,
                pending: self.host.pending(),
            })
        });
        // If the WebSocket is gone, the session ends here.
        let _ = answer.send(moved);
    }
}

/// Resolves when the client breaks off its poll.
async fn aborted(waiting: &mut Option<oneshot::Sender<PollBody>>) {
    match waiting {
        Some(waiting) => waiting.closed().await,
        None => pending().await,
    }
}

/// Resolves when the WebSocket that is tried out has ended.
async fn ended(probe: &mut Option<oneshot::Receiver<()>>) {
    match probe {
        // Nothing is ever sent: the sender is dropped.
        Some(probe) => drop(probe.await),
        None => pending().await,
    }
}

/// Converts a time to the seconds of the rate limit.
fn seconds(now: Millis) -> u32 {
    u32::try_from(now / 1_000).unwrap_or(u32::MAX)
}
