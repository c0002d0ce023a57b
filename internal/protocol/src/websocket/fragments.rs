//! The buffer of a data message that arrives in several pieces.

use crate::websocket::ProtocolError;

/// The payload so far. Text is validated on arrival, so that an invalid byte ends the connection at
/// once and not after the last fragment.
#[derive(Debug)]
pub(super) struct FragmentBuffer {
    is_text: bool,
    bytes: Vec<u8>,
    /// The bytes of a text that are known to be valid UTF-8; at most an incomplete character
    /// follows.
    valid_len: usize,
}

impl FragmentBuffer {
    pub(super) fn new(is_text: bool) -> Self {
        Self {
            is_text,
            bytes: Vec::new(),
            valid_len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends unmasked payload.
    ///
    /// Memory grows with the received bytes, not with the length in a header, and stays within
    /// `max_bytes`: the header check has already bounded the message.
    ///
    /// # Errors
    ///
    /// Fails if a text contains an invalid byte.
    pub(super) fn push(&mut self, piece: &[u8], max_bytes: usize) -> Result<(), ProtocolError> {
        let needed = self.bytes.len() + piece.len();
        if needed > self.bytes.capacity() {
            let target = needed
                .max(self.bytes.capacity() * 2)
                .min(max_bytes.max(needed));
            self.bytes.reserve_exact(target - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        if self.is_text {
            self.validate()
        } else {
            Ok(())
        }
    }

    fn validate(&mut self) -> Result<(), ProtocolError> {
        let tail = self.bytes.get(self.valid_len..).unwrap_or_default();
        match std::str::from_utf8(tail) {
            Ok(_) => self.valid_len = self.bytes.len(),
            Err(error) if error.error_len().is_none() => self.valid_len += error.valid_up_to(),
            Err(_) => return Err(ProtocolError::InvalidUtf8),
        }
        Ok(())
    }

    /// Returns the complete message as text or bytes.
    ///
    /// # Errors
    ///
    /// Fails if a text ends within a character.
    pub(super) fn finish(self) -> Result<CompleteMessage, ProtocolError> {
        if !self.is_text {
            return Ok(CompleteMessage::Binary(self.bytes));
        }
        String::from_utf8(self.bytes)
            .map(CompleteMessage::Text)
            .map_err(|_| ProtocolError::InvalidUtf8)
    }
}

pub(super) enum CompleteMessage {
    Text(String),
    Binary(Vec<u8>),
}
