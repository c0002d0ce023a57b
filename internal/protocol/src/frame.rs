//! Frames that are encoded once and shared by every client that gets them.

use std::sync::Arc;

/// A complete, unfragmented WebSocket frame from server to client, nearly always a text. It is
/// therefore unmasked (RFC 6455 §5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    bytes: Arc<[u8]>,
    /// The length of the WebSocket header before the payload, in bytes.
    header_len: u8,
}

impl Frame {
    /// Wraps a text in a WebSocket text frame.
    pub fn text(payload: &str) -> Self {
        let mut bytes = Vec::with_capacity(payload.len() + 10);
        put_frame_header(&mut bytes, 0x1, payload.len());
        let header_len = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        bytes.extend_from_slice(payload.as_bytes());
        Self {
            bytes: bytes.into(),
            header_len,
        }
    }

    /// Wraps bytes in a WebSocket binary frame. Only WebSocket clients can get it.
    pub fn binary(payload: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(payload.len() + 10);
        put_frame_header(&mut bytes, 0x2, payload.len());
        let header_len = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        bytes.extend_from_slice(payload);
        Self {
            bytes: bytes.into(),
            header_len,
        }
    }

    /// Wraps each text in a frame of its own, to be sent together. Only WebSocket clients can get
    /// them.
    pub fn joined<'a>(payloads: impl IntoIterator<Item = &'a str>) -> Self {
        let mut bytes = Vec::new();
        for payload in payloads {
            put_frame_header(&mut bytes, 0x1, payload.len());
            bytes.extend_from_slice(payload.as_bytes());
        }
        Self {
            bytes: bytes.into(),
            header_len: 0,
        }
    }

    /// Returns header and payload, ready for the socket.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the payload of a text frame, for clients without WebSocket. Returns an empty text
    /// for a payload that is not UTF-8.
    pub fn payload(&self) -> &str {
        let payload = self
            .bytes
            .get(usize::from(self.header_len)..)
            .unwrap_or_default();
        std::str::from_utf8(payload).unwrap_or_default()
    }
}

/// Appends the header of a final, unmasked frame with the shortest length encoding that fits (RFC
/// 6455 §5.2).
pub fn put_frame_header(out: &mut Vec<u8>, opcode: u8, payload_len: usize) {
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
    fn joined_texts_are_frames_of_their_own() {
        let both = [Frame::text("a").as_bytes(), Frame::text("ñ").as_bytes()].concat();
        assert_eq!(Frame::joined(["a", "ñ"]).as_bytes(), both);
        assert!(Frame::joined([]).as_bytes().is_empty());
    }

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
