//! The random ids of sessions and sockets.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The random bytes of an id, as many as in the reference server.
const RANDOM_BYTES: usize = 15;
/// The length of an id as text.
const ID_BYTES: usize = 20;

/// The id of a session, which its later requests prove themselves with.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionId([u8; ID_BYTES]);

impl SessionId {
    /// Draws a random id. Returns `None` if the system has no randomness.
    pub(crate) fn random() -> Option<Self> {
        let mut bytes = [0; RANDOM_BYTES];
        getrandom::fill(&mut bytes).ok()?;
        let mut id = [0; ID_BYTES];
        URL_SAFE_NO_PAD.encode_slice(bytes, &mut id).ok()?;
        Some(Self(id))
    }

    /// Reads the id of a request. Returns `None` if it has another length.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.as_bytes().try_into().ok().map(Self)
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Omits the id, which is a secret.
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId")
    }
}
