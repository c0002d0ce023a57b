//! One socket: a client in one namespace.

use std::collections::VecDeque;

use serde_json::Value;

use crate::app::{ClientEvent, SocketHandler};
use crate::config::Config;
use crate::engine::Millis;
use crate::host::BusLink;
use latido_event_bus::EncodingId;

/// The part of a socket that its handler's actions change.
pub(crate) struct SocketCore {
    /// The number of the socket in its session. It is never used again.
    pub(crate) number: u32,
    pub(crate) namespace: &'static str,
    /// The id that the client knows.
    pub(crate) id: Box<str>,
    /// The encoding of the app's events in this namespace.
    pub(crate) encoding: EncodingId,
    /// The number of awaited futures. Meanwhile the client's events are held back.
    pub(crate) awaited: u32,
    pub(crate) is_identified: bool,
    /// Set when the handler disconnects the socket.
    pub(crate) is_leaving: bool,
    pub(crate) link: Option<BusLink>,
}

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
