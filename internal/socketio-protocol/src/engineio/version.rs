//! The revision of the protocol that a client uses.

/// The revision of Engine.IO, which also determines the revision of Socket.IO above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// Engine.IO 3 with Socket.IO 4: clients of versions 1 and 2. The client pings.
    V3,
    /// Engine.IO 4 with Socket.IO 5: clients of versions 3 and 4. The server pings.
    V4,
}

impl Version {
    /// Returns the version for a request's `EIO` value. Everything except `4` is version 3, as in
    /// the reference server.
    pub fn from_query(eio: Option<&str>) -> Self {
        match eio {
            Some("4") => Self::V4,
            _ => Self::V3,
        }
    }
}
