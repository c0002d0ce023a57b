//! The sockets of a session: their packets, their apps and their ends.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use tracing::debug;

use crate::app::{ConnectRequest, SocketHandler};
use crate::args::Args;
use crate::client_event::{Ack, ClientEvent};
use crate::config::millis;
use crate::connect_auth::ConnectAuth;
use crate::engine::{Millis, SessionEnd};
use crate::host::{Host, SocketOutput};
use crate::mount_shared::{MountService, MountShared};
use crate::namespaces::Namespaces;
use crate::session::Session;
use crate::session_id::SessionId;
use crate::socket::{Socket, SocketState, UnassignedSocket};
use crate::socket_actions::SocketActions;
use crate::socket_core::SocketCore;
use latido_event_bus::{BusEvent, DisconnectReason, EncodingId};
use latido_socketio_protocol::engineio::{Version, begin_message};
use latido_socketio_protocol::socketio::{
    Event, PacketContent, SocketPacket, push_connect, push_disconnect, push_invalid_namespace,
    split_namespace,
};

/// The namespace that clients of version 3 are connected to without a request.
const DEFAULT_NAMESPACE: &str = "/";

impl MountShared {
    fn namespaces(&self) -> Option<&Namespaces> {
        match &self.service {
            MountService::SocketIo(namespaces) => Some(namespaces),
            MountService::Messages(_) => None,
        }
    }
}

impl Session {
    /// Handles a complete packet of a namespace.
    pub(super) fn on_socket_packet(
        &mut self,
        packet: SocketPacket<'_>,
        attachments: &[Box<[u8]>],
        now: Millis,
        host: &mut dyn Host,
    ) {
        let is_v3 = self.engine.version() == Version::V3;
        let (namespace, namespace_query) = match packet.content {
            PacketContent::Connect { .. } if is_v3 => split_namespace(packet.namespace),
            _ => (packet.namespace, None),
        };
        let socket = self
            .sockets
            .iter()
            .position(|socket| socket.core.namespace == namespace);
        match (packet.content, socket) {
            (PacketContent::Connect { payload }, None) => {
                let auth = ConnectAuth::new(payload, namespace_query);
                self.connect(namespace, auth, now, host);
            }
            (PacketContent::Connect { .. }, Some(_)) if is_v3 => {}
            (PacketContent::Connect { .. }, Some(_)) | (PacketContent::ConnectError { .. }, _) => {
                self.engine.close(SessionEnd::Invalid, now);
            }
            (PacketContent::Disconnect, Some(index)) => {
                drop(self.sockets.remove(index));
                self.update_identity(now, host);
            }
            (PacketContent::Event(event), Some(index)) => {
                self.on_event(index, &event, attachments, now, host);
            }
            // The server sends no events that need an acknowledgement. A packet for a namespace that
            // the client is not in may have crossed the server's disconnect packet.
            (
                PacketContent::Ack { .. } | PacketContent::Event(_) | PacketContent::Disconnect,
                _,
            ) => {}
        }
    }

    /// Connects a client of version 3, which does not ask for it.
    pub(super) fn connect_default_namespace(&mut self, now: Millis, host: &mut dyn Host) {
        if matches!(self.mount.service, MountService::SocketIo(_)) {
            self.connect(DEFAULT_NAMESPACE, ConnectAuth::None, now, host);
        }
    }

    fn connect(&mut self, namespace: &str, auth: ConnectAuth, now: Millis, host: &mut dyn Host) {
        let mount = Arc::clone(&self.mount);
        let version = self.engine.version();
        let mut packet = String::new();
        begin_message(&mut packet);
        let found = mount
            .namespaces()
            .and_then(|namespaces| Some((namespaces, namespaces.find(namespace, version)?)));
        let (Some((namespaces, (namespace, apps))), Some(id)) =
            (found, self.socket_id(namespace, version))
        else {
            push_invalid_namespace(&mut packet, namespace);
            return self.engine.push_text(packet);
        };
        push_connect(&mut packet, version, namespace, &id);
        self.engine.push_text(packet);
        if let Some(unidentified) = &mut self.unidentified {
            unidentified.connect_by = None;
        }
        let core = SocketCore {
            number: self.next_number,
            namespace,
            encoding: EncodingId(0),
            awaited: 0,
            is_identified: false,
            is_leaving: false,
            link: None,
        };
        self.next_number += 1;
        let only = (apps.len() == 1).then(|| apps[0]);
        let claims = |index: &&usize| namespaces.app(**index).claims_socket(&self.request);
        let app = only.or_else(|| apps.iter().find(claims).copied());
        let deadline = now + millis(mount.config.connect_timeout);
        // Nearly every client has one socket.
        self.sockets.reserve_exact(1);
        self.sockets.push(Socket::new(
            core,
            SocketState::Unassigned(Box::new(UnassignedSocket { id, auth, deadline })),
        ));
        if let Some(app) = app {
            self.assign(self.sockets.len() - 1, app, now, host);
        }
    }

    /// Returns the id of a new socket. Returns `None` if the system has no randomness.
    fn socket_id(&self, namespace: &str, version: Version) -> Option<Box<str>> {
        match version {
            Version::V4 => Some(SessionId::random()?.as_str().into()),
            Version::V3 if namespace == DEFAULT_NAMESPACE => Some(self.sid.as_str().into()),
            Version::V3 => Some(format!("{namespace}#{}", self.sid.as_str()).into()),
        }
    }

    /// Gives a socket to an app. Returns `false` if the socket is gone afterwards.
    fn assign(&mut self, index: usize, app: usize, now: Millis, host: &mut dyn Host) -> bool {
        let mount = Arc::clone(&self.mount);
        let Some(namespaces) = mount.namespaces() else {
            return false;
        };
        let socket = &mut self.sockets[index];
        let SocketState::Unassigned(unassigned) =
            std::mem::replace(&mut socket.state, SocketState::InCall)
        else {
            return true;
        };
        socket.core.encoding = namespaces.encoding(app, socket.core.namespace);
        let request = ConnectRequest {
            namespace: socket.core.namespace,
            socket_id: &unassigned.id,
            auth: &unassigned.auth.to_value(),
            request: &self.request,
        };
        let mut actions = SocketActions {
            core: &mut socket.core,
            engine: &mut self.engine,
            host,
        };
        match namespaces.app(app).on_connect(&request, &mut actions) {
            Some(handler) => socket.state = SocketState::Assigned { app, handler },
            None => socket.core.is_leaving = true,
        }
        self.settle(index, now, host)
    }

    fn on_event(
        &mut self,
        index: usize,
        event: &Event<'_>,
        attachments: &[Box<[u8]>],
        now: Millis,
        host: &mut dyn Host,
    ) {
        let mount = Arc::clone(&self.mount);
        let Some(apps) = mount.namespaces().map(Namespaces::apps) else {
            return;
        };
        // A string with a lone surrogate is valid JSON, but no text. A client makes one when it cuts
        // a text in the middle of a character.
        let Ok(values) = event.args.to_values() else {
            return self.reject(index, "a text is not valid Unicode");
        };
        let owner = apps.iter().position(|app| app.handles_event(&event.name));
        let assigned = match &self.sockets[index].state {
            SocketState::Assigned { app, .. } => Some(*app),
            SocketState::Unassigned(_) | SocketState::InCall => None,
        };
        match (assigned, owner) {
            (None, None) => return self.reject(index, "unknown event"),
            (None, Some(app)) if !self.assign(index, app, now, host) => return,
            (Some(app), Some(_)) if !apps[app].handles_event(&event.name) => {
                return self.reject(index, "this event is another application's");
            }
            _ => {}
        }
        let event = ClientEvent {
            name: event.name.to_string(),
            args: Args {
                values,
                attachments: attachments
                    .iter()
                    .map(|bytes| Bytes::copy_from_slice(bytes))
                    .collect(),
            },
            ack: event.id.map(|id| Ack { id }),
        };
        let held_bytes = if self.is_identified() {
            mount.config.max_payload_bytes.saturating_mul(2)
        } else {
            mount.config.unidentified_session_bytes
        };
        let socket = &mut self.sockets[index];
        if !socket.is_waiting() {
            self.call(index, now, host, |handler, actions| {
                handler.on_event(event, actions)
            });
        } else if !socket.hold(event, mount.config.message_burst, held_bytes) {
            debug!("a Socket.IO client sent faster than its events are handled");
            socket.core.is_leaving = true;
            self.settle(index, now, host);
        }
    }

    /// Calls the handler of a socket. Returns `false` if the socket is gone afterwards.
    fn call(
        &mut self,
        index: usize,
        now: Millis,
        host: &mut dyn Host,
        call: impl FnOnce(&mut dyn SocketHandler, &mut SocketActions<'_>),
    ) -> bool {
        let Some(socket) = self.sockets.get_mut(index) else {
            return false;
        };
        if let SocketState::Assigned { handler, .. } = &mut socket.state {
            let mut actions = SocketActions {
                core: &mut socket.core,
                engine: &mut self.engine,
                host,
            };
            call(handler.as_mut(), &mut actions);
        }
        self.settle(index, now, host)
    }

    /// Carries out what a socket's handler asked for. Returns `false` if the socket is gone
    /// afterwards.
    fn settle(&mut self, index: usize, now: Millis, host: &mut dyn Host) -> bool {
        let core = &self.sockets[index].core;
        let is_leaving = core.is_leaving;
        if is_leaving {
            let mut packet = String::new();
            begin_message(&mut packet);
            push_disconnect(&mut packet, core.namespace);
            self.engine.push_text(packet);
            drop(self.sockets.remove(index));
        }
        self.update_identity(now, host);
        !is_leaving
    }

    /// Handles the output of a socket's future. If the socket waited for it, its next events follow.
    pub(crate) fn on_output(&mut self, output: SocketOutput, now: Millis, host: &mut dyn Host) {
        let number = output.socket;
        let find = |session: &Self| {
            let mut sockets = session.sockets.iter();
            sockets.position(|socket| socket.core.number == number)
        };
        let Some(index) = find(self) else { return };
        if output.is_awaited {
            let core = &mut self.sockets[index].core;
            core.awaited = core.awaited.saturating_sub(1);
        }
        let mut is_connected = self.call(index, now, host, |handler, actions| {
            handler.on_async_result(output.output, actions)
        });
        while is_connected
            && let Some(index) = find(self)
            && let Some(event) = self.sockets[index].take_held()
        {
            is_connected = self.call(index, now, host, |handler, actions| {
                handler.on_event(event, actions)
            });
        }
    }

    /// Handles an event of the bus for a socket without a shard.
    pub(crate) fn on_bus_event(&mut self, number: u32, event: &BusEvent) {
        let socket = self
            .sockets
            .iter()
            .find(|socket| socket.core.number == number);
        if let Some(socket) = socket
            && let Some(namespaces) = self.mount.namespaces()
        {
            for packet in namespaces.packets(event, socket.core.encoding) {
                self.engine.push_text(packet);
            }
        }
    }

    /// Handles the end of a socket's connection to its event bus.
    pub(crate) fn on_bus_end(
        &mut self,
        number: u32,
        reason: DisconnectReason,
        now: Millis,
        host: &mut dyn Host,
    ) {
        let mut sockets = self.sockets.iter_mut();
        if let Some(index) = sockets.position(|socket| socket.core.number == number) {
            let core = &mut self.sockets[index].core;
            let peer = self.request.peer().map(tracing::field::display);
            debug!(namespace = core.namespace, peer, %reason, "a Socket.IO client was disconnected");
            core.is_leaving = true;
            self.settle(index, now, host);
        }
    }

    /// Disconnects the sockets that their event bus has disconnected.
    pub(crate) fn on_kicked(&mut self, reason: &'static str, now: Millis, host: &mut dyn Host) {
        let is_gone = |socket: &&Socket| {
            let link = socket.core.link.as_ref();
            link.is_some_and(|link| !link.is_connected())
        };
        let gone: Vec<_> = self.sockets.iter().filter(is_gone).collect();
        let numbers: Vec<_> = gone.iter().map(|socket| socket.core.number).collect();
        for number in numbers {
            self.on_bus_end(number, DisconnectReason::Kicked(reason), now, host);
        }
    }

    pub(super) fn run_socket_timers(&mut self, now: Millis, host: &mut dyn Host) {
        let mut index = 0;
        while let Some(socket) = self.sockets.get_mut(index) {
            let is_connected = match &socket.state {
                SocketState::Unassigned(unassigned) if now >= unassigned.deadline => {
                    socket.core.is_leaving = true;
                    self.settle(index, now, host)
                }
                SocketState::Assigned { handler, .. }
                    if handler
                        .next_timer()
                        .is_some_and(|at| now >= self.mount.millis_at(at.into_std())) =>
                {
                    self.call(index, now, host, |handler, actions| {
                        handler.on_timer(actions)
                    })
                }
                _ => true,
            };
            index += usize::from(is_connected);
        }
    }

    /// Returns the times of the sockets' timers.
    pub(super) fn socket_timers(&self) -> impl Iterator<Item = Millis> {
        self.sockets
            .iter()
            .filter_map(|socket| match &socket.state {
                SocketState::Unassigned(unassigned) => Some(unassigned.deadline),
                SocketState::Assigned { handler, .. } => handler
                    .next_timer()
                    .map(|at| self.mount.millis_at(at.into_std())),
                SocketState::InCall => None,
            })
    }

    /// Tells a client why its event is dropped.
    pub(super) fn reject(&mut self, index: usize, message: &str) {
        // No app is asked, so the actions need no host.
        let mut packet = String::new();
        begin_message(&mut packet);
        let header = latido_socketio_protocol::socketio::PacketHeader {
            namespace: self.sockets[index].core.namespace,
            id: None,
            attachments: 0,
        };
        let payload = json!({"message": message}).to_string();
        latido_socketio_protocol::socketio::push_event(&mut packet, &header, "error", &payload);
        self.engine.push_text(packet);
    }
}
