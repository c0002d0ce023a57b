//! The violations of RFC 6455.

/// A protocol violation by the client. The connection must be closed with
/// [`ProtocolError::close_code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A frame that RFC 6455 forbids.
    #[error("{0}")]
    Violation(&'static str),
    /// A text message or a close reason that is not valid UTF-8.
    #[error("invalid UTF-8")]
    InvalidUtf8,
    /// A message over the reader's limit, reported as soon as a header announces it.
    #[error("message too big")]
    TooBig,
}

impl ProtocolError {
    /// Returns the code for the close frame (RFC 6455 section 7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Self::Violation(_) => 1002,
            Self::InvalidUtf8 => 1007,
            Self::TooBig => 1009,
        }
    }
}
