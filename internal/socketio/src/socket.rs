//! One socket: a client in one namespace.

use std::collections::VecDeque;

use crate::app::SocketHandler;
use crate::client_event::ClientEvent;
use crate::connect_auth::ConnectAuth;
use crate::engine::Millis;
use crate::socket_core::SocketCore;

/// A socket.
pub(crate) struct Socket {
    /// The state of its app. Dropped before the connection to the event bus.
    pub(crate) state: SocketState,
    pub(crate) core: SocketCore,
    /// The events that wait for a future. Boxed, because nearly always there are none.
    held: Option<Box<HeldEvents>>,
}

/// The app of a socket.
pub(crate) enum SocketState {
    /// Several apps share the namespace, and the socket has sent none of their events yet.
    Unassigned(Box<UnassignedSocket>),
    /// The handler is being called.
    InCall,
    /// The socket belongs to an app.
    Assigned {
        /// The index of the app.
        app: usize,
        handler: Box<dyn SocketHandler>,
    },
}

/// What a socket without an app keeps for it.
pub(crate) struct UnassignedSocket {
    /// The id that the client knows.
    pub(crate) id: Box<str>,
    pub(crate) auth: ConnectAuth,
    /// The time by which the client must have sent an event.
    pub(crate) deadline: Millis,
}

#[derive(Default)]
struct HeldEvents {
    events: VecDeque<(ClientEvent, usize)>,
    bytes: usize,
}

impl Socket {
    pub(crate) fn new(core: SocketCore, state: SocketState) -> Self {
        Self {
            state,
            core,
            held: None,
        }
    }

    /// Holds an event back. Returns `false` if there are too many events, or if they take too much
    /// memory: the client sends faster than its events are handled.
    pub(crate) fn hold(&mut self, event: ClientEvent, max_events: u32, max_bytes: usize) -> bool {
        let held = self.held.get_or_insert_default();
        let bytes = event.name.len() + event.args.size_bytes();
        held.bytes = held.bytes.saturating_add(bytes);
        held.events.push_back((event, bytes));
        held.events.len() <= max_events.max(1) as usize && held.bytes <= max_bytes
    }

    /// Returns the next event that was held back, unless the socket still waits.
    pub(crate) fn take_held(&mut self) -> Option<ClientEvent> {
        if self.core.awaited > 0 {
            return None;
        }
        let held = self.held.as_mut()?;
        let Some((event, bytes)) = held.events.pop_front() else {
            self.held = None;
            return None;
        };
        held.bytes = held.bytes.saturating_sub(bytes);
        Some(event)
    }

    /// Returns whether events must be held back.
    pub(crate) fn is_waiting(&self) -> bool {
        self.core.awaited > 0 || self.held.is_some()
    }
}
