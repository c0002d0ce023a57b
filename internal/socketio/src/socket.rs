//! One socket: a client in one namespace.

use std::collections::VecDeque;

use serde_json::Value;

use crate::app::SocketHandler;
use crate::client_event::ClientEvent;
use crate::config::Config;
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
    Unassigned { auth: Value, deadline: Millis },
    /// The handler is being called.
    InCall,
    /// The socket belongs to an app.
    Assigned {
        /// The index of the app.
        app: usize,
        handler: Box<dyn SocketHandler>,
    },
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

    /// Holds an event back. Returns `false` if a limit is exceeded: the client sends faster than
    /// its events are handled.
    pub(crate) fn hold(&mut self, event: ClientEvent, config: &Config) -> bool {
        let held = self.held.get_or_insert_default();
        let bytes = event.name.len() + event.args.size_bytes();
        held.bytes = held.bytes.saturating_add(bytes);
        held.events.push_back((event, bytes));
        held.events.len() <= config.message_burst.max(1) as usize
            && held.bytes <= config.max_payload_bytes.saturating_mul(2)
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
