//! The control frames that the server sends to one client: close, ping and pong.

use crate::put_frame_header;

/// The longest payload of a control frame in bytes (RFC 6455 section 5.5).
const MAX_CONTROL_BYTES: usize = 125;

/// Encodes a close frame with a status code and a reason. The reason is cut to the 123 bytes that
/// fit (section 5.5.1).
pub fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(MAX_CONTROL_BYTES - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = Vec::with_capacity(2 + end);
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    control_frame(0x8, &payload)
}

/// Encodes the reply to a client's close frame, with the same code if there was one (section
/// 5.5.1).
pub fn echo_close_frame(code: Option<u16>) -> Vec<u8> {
    code.map_or_else(|| control_frame(0x8, &[]), |code| close_frame(code, ""))
}

/// Encodes the reply to a ping, with the same payload (section 5.5.3).
pub fn pong_frame(payload: &[u8]) -> Vec<u8> {
    control_frame(0xA, payload)
}

/// Encodes a ping without a payload (section 5.5.2).
pub fn ping_frame() -> Vec<u8> {
    control_frame(0x9, &[])
}

/// Encodes a control frame. Payloads over 125 bytes do not occur: the reader rejects them, and the
/// functions above keep the limit.
fn control_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let payload = &payload[..payload.len().min(MAX_CONTROL_BYTES)];
    let mut frame = Vec::with_capacity(2 + payload.len());
    put_frame_header(&mut frame, opcode, payload.len());
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_section_5_7() {
        assert_eq!(pong_frame(b"Hello"), b"\x8a\x05Hello");
        assert_eq!(ping_frame(), b"\x89\x00");
    }

    #[test]
    fn close_reasons_are_cut_at_a_character() {
        assert_eq!(
            close_frame(1012, "restarting"),
            b"\x88\x0c\x03\xf4restarting"
        );
        assert_eq!(echo_close_frame(None), b"\x88\x00");
        assert_eq!(echo_close_frame(Some(1000)), b"\x88\x02\x03\xe8");
        let long = close_frame(4401, &"ñ".repeat(100));
        assert_eq!(long.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&long[4..]).is_ok());
    }
}
