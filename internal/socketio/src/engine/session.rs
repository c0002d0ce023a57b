//! The session: its transport, its queue, its heartbeat and its end.

use std::borrow::Cow;
use std::collections::VecDeque;

use latido_socketio_protocol::engineio::{Packet, Version};

use super::heartbeat::{Heartbeat, HeartbeatEvent, Millis, Timing};
use super::outgoing::{OutPacket, PollBody};

const PING: &str = "2";
const CLOSE: &str = "1";
const NOOP: &str = "6";

/// The times after the probe at which a waiting poll is released, in milliseconds.
///
/// A client ends polling when its probe is answered, and for that its last poll must end. The
/// answer to the probe may arrive after the first noop, so there are a few more. A client whose
/// probe gets lost goes on polling, so they must be few.
const NOOP_TIMES: [Millis; 4] = [100, 500, 2_000, 5_000];

/// The time for which one poll may follow the packet that closed its session.
const LAST_POLL_WAIT: Millis = 2_000;

/// The reason for the end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionEnd {
    /// The client closed the session.
    Client,
    /// The client broke off a poll.
    PollAborted,
    /// The client polled twice at a time.
    PollOverlap,
    /// The heartbeat failed.
    PingTimeout,
    /// The client sent something invalid.
    Invalid,
    /// The server closed the session, for a reason of the layers above.
    Server,
}

/// A message from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Text(&'a str),
    Binary(Cow<'a, [u8]>),
}

/// The beginning of a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PollStart {
    /// The poll waits for [`EngineSession::take_poll`].
    Waits,
    /// The poll gets an error.
    Refused,
}

/// A session; see the module's documentation.
#[derive(Debug)]
pub(crate) struct EngineSession {
    version: Version,
    /// Whether a poll may have a binary body (version 3).
    supports_binary: bool,
    transport: Transport,
    heartbeat: Heartbeat,
    queue: VecDeque<OutPacket>,
    end: Option<SessionEnd>,
}

#[derive(Debug)]
enum Transport {
    /// Boxed, because a session with a WebSocket needs nothing of it.
    Polling(Box<Polling>),
    WebSocket,
}

#[derive(Debug, Default)]
struct Polling {
    /// Whether a poll waits for packets.
    is_waiting: bool,
    probe: Option<Probe>,
    /// The time until which one poll of the closed session gets a noop.
    last_poll_until: Millis,
}

/// A WebSocket that the client tries out.
#[derive(Debug)]
struct Probe {
    since: Millis,
    /// The number of polls that were released for it.
    noops: usize,
}

impl Probe {
    fn next_noop(&self) -> Option<Millis> {
        Some(self.since + NOOP_TIMES.get(self.noops)?)
    }
}

impl EngineSession {
    /// Opens a session by polling.
    pub(crate) fn polling(
        version: Version,
        supports_binary: bool,
        timing: &Timing,
        now: Millis,
    ) -> Self {
        let polling = Box::default();
        Self::new(
            version,
            supports_binary,
            Transport::Polling(polling),
            timing,
            now,
        )
    }

    /// Opens a session by WebSocket.
    pub(crate) fn websocket(version: Version, timing: &Timing, now: Millis) -> Self {
        Self::new(version, true, Transport::WebSocket, timing, now)
    }

    fn new(
        version: Version,
        supports_binary: bool,
        transport: Transport,
        timing: &Timing,
        now: Millis,
    ) -> Self {
        Self {
            version,
            supports_binary,
            transport,
            heartbeat: Heartbeat::new(version, timing, now),
            queue: VecDeque::new(),
            end: None,
        }
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Returns the reason for the end, or `None` while the session is open.
    pub(crate) fn end(&self) -> Option<SessionEnd> {
        self.end
    }

    /// Returns whether the session has ended and no poll can follow.
    pub(crate) fn is_finished(&self, now: Millis) -> bool {
        let is_polled = match &self.transport {
            Transport::Polling(polling) => polling.is_waiting || now < polling.last_poll_until,
            Transport::WebSocket => false,
        };
        self.end.is_some() && !is_polled
    }

    /// Returns the number of packets that wait for the transport.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Returns the bytes of the packets that wait for the transport.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queue.iter().map(OutPacket::len).sum()
    }

    /// Sends an encoded packet with its type.
    pub(crate) fn push_text(&mut self, packet: String) {
        if self.end.is_none() {
            self.queue.push_back(OutPacket::Text(packet));
        }
    }

    /// Sends a message of bytes.
    pub(crate) fn push_binary(&mut self, bytes: &[u8]) {
        if self.end.is_none() {
            self.queue.push_back(OutPacket::Binary(bytes.into()));
        }
    }

    /// Handles a packet from the client, on either transport. Returns the message if it is one.
    pub(crate) fn on_packet<'p>(
        &mut self,
        packet: Packet<'p>,
        timing: &Timing,
        now: Millis,
    ) -> Option<Message<'p>> {
        if self.end.is_some() {
            return None;
        }
        match (packet, self.version) {
            (Packet::Text(text), _) => return Some(Message::Text(text)),
            (Packet::Binary(bytes), _) => return Some(Message::Binary(bytes)),
            (Packet::Ping(content), Version::V3) => {
                self.heartbeat.on_ping(timing, now);
                self.push_text(format!("3{content}"));
            }
            (Packet::Pong(_), Version::V4) => self.heartbeat.on_pong(timing, now),
            (Packet::Ping(_), Version::V4) | (Packet::Pong(_), Version::V3) => {
                self.close(SessionEnd::Invalid, now);
            }
            (Packet::Close, _) => self.close(SessionEnd::Client, now),
            (Packet::Open(_) | Packet::Upgrade | Packet::Noop, _) => {}
        }
        None
    }

    /// Handles the start of a poll. A second one at a time ends the session.
    pub(crate) fn on_poll(&mut self, now: Millis) -> PollStart {
        let Transport::Polling(polling) = &mut self.transport else {
            return PollStart::Refused;
        };
        let is_too_late = self.end.is_some() && now >= polling.last_poll_until;
        if is_too_late || polling.is_waiting {
            self.close(SessionEnd::PollOverlap, now);
            return PollStart::Refused;
        }
        polling.is_waiting = true;
        PollStart::Waits
    }

    /// Handles the end of a poll that was not answered.
    pub(crate) fn on_poll_aborted(&mut self, now: Millis) {
        if let Transport::Polling(polling) = &mut self.transport
            && std::mem::take(&mut polling.is_waiting)
        {
            self.close(SessionEnd::PollAborted, now);
        }
    }

    /// Returns the body for the waiting poll, if there is anything to say. The poll then no longer
    /// waits. Must be called after every other call.
    pub(crate) fn take_poll(&mut self, now: Millis) -> Option<PollBody> {
        let Transport::Polling(polling) = &mut self.transport else {
            return None;
        };
        if !polling.is_waiting {
            return None;
        }
        match self.end {
            Some(SessionEnd::Client) => {
                polling.last_poll_until = 0;
                self.queue = VecDeque::from([OutPacket::Text(NOOP.to_owned())]);
            }
            Some(_) => self.queue.push_back(OutPacket::Text(CLOSE.to_owned())),
            None if !self.queue.is_empty() => {}
            None => {
                let probe = polling.probe.as_mut()?;
                probe.next_noop().filter(|at| now >= *at)?;
                probe.noops += 1;
                self.queue.push_back(OutPacket::Text(NOOP.to_owned()));
            }
        }
        polling.is_waiting = false;
        let body = PollBody::encode(self.version, self.supports_binary, &self.queue);
        self.queue.clear();
        Some(body)
    }

    /// Handles the probe of a WebSocket. The session goes on by polling.
    pub(crate) fn on_probe(&mut self, now: Millis) {
        if let Transport::Polling(polling) = &mut self.transport {
            polling.probe = Some(Probe {
                since: now,
                noops: 0,
            });
        }
    }

    /// Handles the end of a WebSocket that was only tried out.
    pub(crate) fn on_probe_ended(&mut self) {
        if let Transport::Polling(polling) = &mut self.transport {
            polling.probe = None;
        }
    }

    /// Moves the session to the WebSocket. Returns `false` if the session has ended. A poll that
    /// still waits gets an error, like every later one.
    pub(crate) fn on_upgrade(&mut self) -> bool {
        if self.end.is_some() || matches!(self.transport, Transport::WebSocket) {
            return false;
        }
        self.transport = Transport::WebSocket;
        true
    }

    /// Returns the next packet for the WebSocket.
    pub(crate) fn next_frame(&mut self) -> Option<OutPacket> {
        match self.transport {
            Transport::WebSocket => {
                let packet = self.queue.pop_front();
                if packet.is_none() {
                    // An idle session keeps no memory for packets.
                    self.queue = VecDeque::new();
                }
                packet
            }
            Transport::Polling(_) => None,
        }
    }

    /// Ends the session, unless it has ended. Packets in the queue are still sent.
    pub(crate) fn close(&mut self, end: SessionEnd, now: Millis) {
        if self.end.is_some() {
            return;
        }
        self.end = Some(end);
        if let Transport::Polling(polling) = &mut self.transport
            && end == SessionEnd::Client
            && !polling.is_waiting
        {
            // The packet may have overtaken a poll on another connection.
            polling.last_poll_until = now + LAST_POLL_WAIT;
        }
    }

    /// Handles the timer of the heartbeat.
    pub(crate) fn on_timer(&mut self, timing: &Timing, now: Millis) {
        if self.end.is_some() {
            return;
        }
        match self.heartbeat.on_timer(timing, now) {
            Some(HeartbeatEvent::Ping) => self.push_text(PING.to_owned()),
            Some(HeartbeatEvent::Timeout) => self.close(SessionEnd::PingTimeout, now),
            None => {}
        }
    }

    /// Returns the time of the next [`EngineSession::on_timer`] or [`EngineSession::take_poll`]
    /// call, or of the end of an ended session.
    pub(crate) fn next_timer(&self) -> Option<Millis> {
        let noop = match &self.transport {
            Transport::Polling(polling) if self.end.is_some() => {
                return Some(polling.last_poll_until);
            }
            Transport::Polling(polling) if polling.is_waiting => {
                polling.probe.as_ref().and_then(Probe::next_noop)
            }
            _ => None,
        };
        let heartbeat = self.end.is_none().then(|| self.heartbeat.next_timer());
        heartbeat.into_iter().chain(noop).min()
    }
}
