//! One session: Engine.IO, the sockets in its namespaces, and the identity of its client.
//!
//! A session lives in a [`Host`]: on a shard's thread with its WebSocket, or in the task of its
//! polls. It never waits.

use std::sync::Arc;
use std::task::{Context, Poll};

use tracing::debug;

use crate::config::Config;
use crate::engine::{EngineSession, Message, Millis, SessionEnd};
use crate::host::Host;
use crate::message_service::handle_message;
use crate::mount_shared::{MountService, MountShared};
use crate::request_info::RequestInfo;
use crate::session_id::SessionId;
use crate::socket::Socket;
use crate::unidentified::UnidentifiedPermit;
use latido_admission::PermitSet;
use latido_event_bus::{BusEvent, DisconnectReason};
use latido_socketio_protocol::engineio::{OpenPacket, Packet, Version};
use latido_socketio_protocol::socketio::{Assembler, AssemblyLimits, BinaryPacket, SocketPacket};

/// The maximum number of attachments per event.
const MAX_ATTACHMENTS: usize = 64;

/// An event of the bus, or the end of the connection to it.
pub(crate) type BusOutcome = Result<Arc<BusEvent>, DisconnectReason>;

/// What a new session is made of.
pub(crate) struct NewSession {
    pub(crate) mount: Arc<MountShared>,
    pub(crate) sid: SessionId,
    pub(crate) version: Version,
    /// Whether the responses to polls may be binary (version 3).
    pub(crate) supports_binary: bool,
    pub(crate) request: RequestInfo,
    /// The permit of a client without identity. `None` if clients need none.
    pub(crate) unidentified: Option<UnidentifiedPermit>,
    pub(crate) permit: Option<Arc<PermitSet>>,
}

/// A session; see the module's documentation.
pub(crate) struct Session {
    pub(crate) mount: Arc<MountShared>,
    pub(crate) engine: EngineSession,
    pub(super) sockets: Vec<Socket>,
    pub(super) request: RequestInfo,
    pub(super) sid: SessionId,
    /// The number of the next socket.
    pub(super) next_number: u32,
    assembler: Assembler,
    /// Set when packets of the client were dropped, so that attachments may be without their event.
    has_lost_packets: bool,
    /// `None` if the client is identified, or needs no identity. Boxed, because nearly all clients
    /// are identified.
    pub(super) unidentified: Option<Box<Unidentified>>,
    _permit: Option<Arc<PermitSet>>,
}

/// The state of a client without identity.
pub(super) struct Unidentified {
    /// The start of the time in which the client must identify itself.
    since: Millis,
    /// The time by which the first socket must have connected.
    pub(super) connect_by: Option<Millis>,
    permit: UnidentifiedPermit,
}

impl Session {
    /// Opens a session by polling.
    pub(crate) fn polling(new: NewSession, now: Millis, host: &mut dyn Host) -> Self {
        let timing = new.mount.timing;
        let engine = EngineSession::polling(new.version, new.supports_binary, &timing, now);
        Self::open(new, engine, true, now, host)
    }

    /// Opens a session by WebSocket.
    pub(crate) fn websocket(new: NewSession, now: Millis, host: &mut dyn Host) -> Self {
        let timing = new.mount.timing;
        let engine = EngineSession::websocket(new.version, &timing, now);
        Self::open(new, engine, false, now, host)
    }

    fn open(
        new: NewSession,
        mut engine: EngineSession,
        offers_websocket: bool,
        now: Millis,
        host: &mut dyn Host,
    ) -> Self {
        let config = &new.mount.config;
        let mut open = String::with_capacity(128);
        OpenPacket {
            sid: new.sid.as_str(),
            offers_websocket,
            ping_interval: config.ping_interval,
            ping_timeout: config.ping_timeout,
            max_payload_bytes: config.max_payload_bytes,
        }
        .push_text(&mut open);
        engine.push_text(open);
        let needs_identity = new.unidentified.is_some();
        let connect_by = now + crate::config::millis(config.connect_timeout);
        let mut session = Self {
            engine,
            sockets: Vec::new(),
            request: new.request,
            sid: new.sid,
            next_number: 0,
            assembler: Assembler::default(),
            has_lost_packets: false,
            unidentified: new.unidentified.map(|permit| {
                Box::new(Unidentified {
                    since: now,
                    connect_by: Some(connect_by),
                    permit,
                })
            }),
            _permit: new.permit,
            mount: new.mount,
        };
        if session.engine.version() == Version::V3 {
            session.connect_default_namespace(now, host);
        }
        if !needs_identity {
            host.limit_message_bytes(session.mount.config.max_payload_bytes);
        }
        session
    }

    /// Returns whether the client is identified, or needs no identity.
    pub(crate) fn is_identified(&self) -> bool {
        self.unidentified.is_none()
    }

    /// Returns the largest message that the client may send.
    pub(crate) fn message_limit(&self) -> usize {
        if self.is_identified() {
            self.mount.config.max_payload_bytes
        } else {
            self.mount.limits.message_bytes as usize
        }
    }

    /// Counts bytes from the client. Too many before its identification end the session.
    pub(crate) fn count_bytes(&mut self, bytes: usize, now: Millis) {
        if let Some(unidentified) = &mut self.unidentified
            && let Err(error) = unidentified.permit.count(bytes)
        {
            debug!(%error, "a Socket.IO client exceeded a limit");
            self.engine.close(SessionEnd::Server, now);
        }
    }

    /// Ends the session because of something that is no packet.
    pub(crate) fn on_invalid_packet(&mut self, error: &dyn std::fmt::Display, now: Millis) {
        debug!(%error, "an Engine.IO client sent an invalid packet");
        self.engine.close(SessionEnd::Invalid, now);
    }

    /// Handles a packet from the client, on either transport.
    pub(crate) fn on_packet(&mut self, packet: Packet<'_>, now: Millis, host: &mut dyn Host) {
        let mount = Arc::clone(&self.mount);
        let Some(message) = self.engine.on_packet(packet, &mount.timing, now) else {
            return;
        };
        match &mount.service {
            MountService::Messages(service) => {
                handle_message(&**service, &message, &mut self.engine);
            }
            MountService::SocketIo(_) => self.on_message(&message, now, host),
        }
    }

    fn on_message(&mut self, message: &Message<'_>, now: Millis, host: &mut dyn Host) {
        let limits = AssemblyLimits {
            attachments: MAX_ATTACHMENTS,
            bytes: self.mount.config.max_payload_bytes,
        };
        let result = match message {
            Message::Text(text) => {
                self.has_lost_packets = false;
                self.assembler.on_text(text, &limits).map(|packet| {
                    if let Some(packet) = packet {
                        self.on_socket_packet(packet, &[], now, host);
                    }
                })
            }
            Message::Binary(_) if self.has_lost_packets => return,
            Message::Binary(bytes) => self.assembler.on_binary(bytes, &limits).and_then(|packet| {
                let Some(packet) = packet else { return Ok(()) };
                self.on_binary_packet(&packet, now, host)
            }),
        };
        if let Err(error) = result {
            debug!(%error, "a Socket.IO client sent an invalid packet");
            self.engine.close(SessionEnd::Invalid, now);
        }
    }

    fn on_binary_packet(
        &mut self,
        packet: &BinaryPacket,
        now: Millis,
        host: &mut dyn Host,
    ) -> Result<(), latido_socketio_protocol::socketio::DecodeError> {
        let content: SocketPacket<'_> = packet.packet()?;
        self.on_socket_packet(content, packet.attachments(), now, host);
        Ok(())
    }

    /// Drops the sockets of a session that has ended.
    pub(crate) fn drop_sockets(&mut self) {
        self.sockets.clear();
    }

    /// Reports that packets of the client were dropped, because it exceeded its rate.
    pub(crate) fn on_rate_limited(&mut self) {
        self.assembler = Assembler::default();
        self.has_lost_packets = true;
        for index in 0..self.sockets.len() {
            self.reject(index, "too many messages; slow down");
        }
    }

    /// Polls for the next event of a socket whose connection has a mailbox. Returns the socket's
    /// number with it.
    pub(crate) fn poll_bus(&mut self, context: &mut Context<'_>) -> Poll<(u32, BusOutcome)> {
        for socket in &mut self.sockets {
            if let Some(link) = &mut socket.core.link
                && let Poll::Ready(outcome) = link.poll_event(context)
            {
                return Poll::Ready((socket.core.number, outcome));
            }
        }
        Poll::Pending
    }

    /// Handles the timers of the session and of its sockets.
    pub(crate) fn on_timer(&mut self, now: Millis, host: &mut dyn Host) {
        let mount = Arc::clone(&self.mount);
        self.engine.on_timer(&mount.timing, now);
        if self.engine.end().is_some() {
            return;
        }
        if self.identify_by().is_some_and(|by| now >= by) {
            debug!("a Socket.IO client did not identify itself in time");
            return self.engine.close(SessionEnd::Server, now);
        }
        if self.connect_by().is_some_and(|by| now >= by) {
            return self.engine.close(SessionEnd::Server, now);
        }
        self.run_socket_timers(now, host);
    }

    /// Returns the time of the next [`Session::on_timer`] call.
    pub(crate) fn next_timer(&self) -> Option<Millis> {
        let own = [
            self.engine.next_timer(),
            self.identify_by(),
            self.connect_by(),
        ];
        own.into_iter().flatten().chain(self.socket_timers()).min()
    }

    fn connect_by(&self) -> Option<Millis> {
        self.unidentified.as_ref()?.connect_by
    }

    fn identify_by(&self) -> Option<Millis> {
        let config: &Config = &self.mount.config;
        let since = self.unidentified.as_ref()?.since;
        Some(since + crate::config::millis(config.identify_timeout))
    }

    /// Takes over the identity of the sockets after one of them has changed.
    pub(super) fn update_identity(&mut self, now: Millis, host: &mut dyn Host) {
        let is_identified = self.sockets.iter().any(|socket| socket.core.is_identified);
        if is_identified == self.is_identified()
            || matches!(self.mount.service, MountService::Messages(_))
        {
            return;
        }
        self.unidentified = None;
        if !is_identified {
            let address = self.request.peer().map(|peer| peer.ip());
            match self.mount.unidentified.admit(address) {
                Ok(permit) => {
                    self.unidentified = Some(Box::new(Unidentified {
                        since: now,
                        connect_by: None,
                        permit,
                    }));
                }
                Err(error) => {
                    debug!(%error, "a Socket.IO session without identity was ended");
                    return self.engine.close(SessionEnd::Server, now);
                }
            }
        }
        host.limit_message_bytes(self.message_limit());
    }
}
