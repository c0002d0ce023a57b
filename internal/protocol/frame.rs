//! Bytes encoded once and shared by every client that gets them.

use std::sync::Arc;

/// A complete unfragmented WebSocket frame, nearly always a text, server to client (so unmasked: RFC 6455 §5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    bytes: Arc<[u8]>,
    /// Length of the WebSocket header before the payload.
    header: u8,
}

impl Frame {
    /// Wraps a text.
    pub fn text(payload: &str) -> Self {
        let mut bytes = Vec::with_capacity(payload.len() + 10);
        put_header(&mut bytes, 0x1, payload.len());
        let header = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        bytes.extend_from_slice(payload.as_bytes());
        Self {
            bytes: bytes.into(),
            header,
        }
    }

    /// Wraps bytes that are no text: for WebSockets alone.
    pub fn binary(payload: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(payload.len() + 10);
        put_header(&mut bytes, 0x2, payload.len());
        let header = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        bytes.extend_from_slice(payload);
        Self {
            bytes: bytes.into(),
            header,
        }
    }

    /// Header and payload, ready for the socket.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The payload alone, if it is a text, for clients that are no WebSockets.
    pub fn payload(&self) -> &str {
        let payload = self
            .bytes
            .get(usize::from(self.header)..)
            .unwrap_or_default();
        std::str::from_utf8(payload).unwrap_or_default()
    }
}

/// Appends the header of a final, unmasked frame (RFC 6455 §5.2): the shortest length encoding that fits.
pub fn put_header(out: &mut Vec<u8>, opcode: u8, payload_len: usize) {
    out.push(0x80 | opcode);
    match (u8::try_from(payload_len), u16::try_from(payload_len)) {
        (Ok(len @ 0..=125), _) => out.push(len),
        (_, Ok(len)) => {
            out.push(126);
            out.extend_from_slice(&len.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload_len as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_lengths_follow_the_rfc() {
        for (len, header) in [
            (0, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 255, 255]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let payload = "x".repeat(len);
            let frame = Frame::text(&payload);
            assert_eq!(&frame.as_bytes()[..header.len()], header);
            assert_eq!(frame.payload(), payload);
        }
    }
}
