//! The part of a socket that its handler's actions change.

use crate::host::BusLink;
use latido_event_bus::EncodingId;

/// The part of a socket that its handler's actions change.
pub(crate) struct SocketCore {
    /// The number of the socket in its session. It is never used again.
    pub(crate) number: u32,
    pub(crate) namespace: &'static str,
    /// The encoding of the app's events in this namespace.
    pub(crate) encoding: EncodingId,
    /// The number of awaited futures. Meanwhile the client's events are held back.
    pub(crate) awaited: u32,
    pub(crate) is_identified: bool,
    /// Set when the handler disconnects the socket.
    pub(crate) is_leaving: bool,
    pub(crate) link: Option<BusLink>,
}
