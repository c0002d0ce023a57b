//! What the handler of a socket may do.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt as _;
use serde::Serialize;

use crate::args::Args;
use crate::client_event::Ack;
use crate::engine::EngineSession;
use crate::host::{Host, SocketOutput};
use crate::socket_core::SocketCore;
use latido_event_bus::{ConnectionId, EventBus, Identity, JoinRequest};
use latido_socketio_protocol::engineio::begin_message;
use latido_socketio_protocol::socketio::{PacketHeader, push_ack, push_event};

/// The actions of one socket, during a call of its handler. They take effect in order.
pub struct SocketActions<'a> {
    pub(crate) core: &'a mut SocketCore,
    pub(crate) engine: &'a mut EngineSession,
    pub(crate) host: &'a mut dyn Host,
}

impl SocketActions<'_> {
    /// Connects the socket to an event bus and joins these topics. Returns `None` if the bus
    /// refuses the connection. A socket has at most one connection.
    pub fn connect(
        &mut self,
        bus: &Arc<EventBus>,
        identity: Identity,
        joins: &[JoinRequest],
    ) -> Option<ConnectionId> {
        let link = self
            .host
            .connect(bus, self.core.encoding, identity, joins)
            .ok()?;
        let id = link.id();
        self.core.link = Some(link);
        Some(id)
    }

    /// Sends an event with one argument. An argument that cannot be encoded is not sent.
    pub fn emit(&mut self, name: &str, argument: &impl Serialize) {
        if let Ok(json) = serde_json::to_string(argument) {
            self.push_event(name, &json, 0);
        }
    }

    /// Sends an event with any number of arguments, including attachments.
    pub fn emit_args(&mut self, name: &str, args: &Args) {
        self.push_event(name, &args.to_json(), args.attachments.len());
        self.push_attachments(args);
    }

    /// Sends the acknowledgement of an event.
    pub fn acknowledge(&mut self, ack: &Ack, args: &Args) {
        let mut packet = String::new();
        begin_message(&mut packet);
        let header = self.header(Some(ack.id), args.attachments.len());
        push_ack(&mut packet, &header, &args.to_json());
        self.engine.push_text(packet);
        self.push_attachments(args);
    }

    /// Notes that the client has proved who it is. A client that does not do so in time loses its
    /// whole connection, and until then it may send few bytes.
    pub fn mark_identified(&mut self) {
        self.core.is_identified = true;
    }

    /// Disconnects this socket and notifies the client, which may connect again.
    pub fn disconnect(&mut self) {
        self.core.is_leaving = true;
    }

    /// Runs a future on the runtime. Its output comes back through
    /// [`SocketHandler::on_async_result`](crate::SocketHandler::on_async_result), unless the socket
    /// is gone by then. The future sets its own deadline.
    ///
    /// Returns `false` if too many are pending; report that to the client.
    #[must_use]
    pub fn spawn<T: Any + Send>(
        &mut self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> bool {
        self.start(future, false)
    }

    /// Runs a future like [`SocketActions::spawn`]. The socket's next event is handled after its
    /// output; events of the bus do not wait.
    ///
    /// Returns `false` if too many are pending; report that to the client.
    #[must_use]
    pub fn wait_for<T: Any + Send>(
        &mut self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> bool {
        let is_started = self.start(future, true);
        self.core.awaited += u32::from(is_started);
        is_started
    }

    fn start<T: Any + Send>(
        &mut self,
        future: impl Future<Output = T> + Send + 'static,
        is_awaited: bool,
    ) -> bool {
        let socket = self.core.number;
        let output = future.map(move |output| SocketOutput {
            socket,
            is_awaited,
            output: Box::new(output),
        });
        self.host.spawn(Box::pin(output))
    }

    fn header(&self, id: Option<u64>, attachments: usize) -> PacketHeader<'static> {
        PacketHeader {
            namespace: self.core.namespace,
            id,
            attachments,
        }
    }

    fn push_event(&mut self, name: &str, args: &str, attachments: usize) {
        let mut packet = String::with_capacity(name.len() + args.len() + 16);
        begin_message(&mut packet);
        push_event(&mut packet, &self.header(None, attachments), name, args);
        self.engine.push_text(packet);
    }

    fn push_attachments(&mut self, args: &Args) {
        for attachment in &args.attachments {
            self.engine.push_binary(attachment);
        }
    }
}

impl fmt::Debug for SocketActions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketActions")
            .field("namespace", &self.core.namespace)
            .field("socket", &self.core.number)
            .finish_non_exhaustive()
    }
}
