//! The header of one frame (RFC 6455 section 5.2), rejected at the first invalid byte.

use crate::websocket::ProtocolError;

/// The longest header of a client's frame: two bytes, a 64-bit length, and the mask.
pub(super) const MAX_HEADER_BYTES: usize = 14;
/// The longest payload of a control frame in bytes (section 5.5).
const MAX_CONTROL_BYTES: u64 = 125;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    /// The length of the payload in bytes.
    pub(super) len: u64,
    pub(super) mask: [u8; 4],
}

/// Parses a header at the front of `bytes`. Returns it with the number of bytes it took, or `None`
/// if more bytes are needed.
///
/// # Errors
///
/// Fails at the first byte that violates section 5.2 or 5.5.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(FrameHeader, usize)>, ProtocolError> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    let (fin, opcode) = parse_first(first)?;
    let Some(&second) = bytes.get(1) else {
        return Ok(None);
    };
    if second & 0x80 == 0 {
        return Err(ProtocolError::Violation("a client's frames must be masked"));
    }
    let Some((len, at)) = parse_len(second & 0x7F, bytes, opcode)? else {
        return Ok(None);
    };
    let Some(mask) = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>) else {
        return Ok(None);
    };
    Ok(Some((
        FrameHeader {
            fin,
            opcode,
            len,
            mask: *mask,
        },
        at + 4,
    )))
}

fn parse_first(byte: u8) -> Result<(bool, Opcode), ProtocolError> {
    if byte & 0x70 != 0 {
        return Err(ProtocolError::Violation(
            "reserved bits are set, but no extension was agreed on",
        ));
    }
    let opcode =
        Opcode::from_bits(byte & 0x0F).ok_or(ProtocolError::Violation("reserved opcode"))?;
    let fin = byte & 0x80 != 0;
    if opcode.is_control() && !fin {
        return Err(ProtocolError::Violation(
            "control frames can't be fragmented",
        ));
    }
    Ok((fin, opcode))
}

/// Parses the length of the payload. Returns it with the index of the mask, or `None` if more bytes
/// are needed.
fn parse_len(
    short: u8,
    bytes: &[u8],
    opcode: Opcode,
) -> Result<Option<(u64, usize)>, ProtocolError> {
    if opcode.is_control() && u64::from(short) > MAX_CONTROL_BYTES {
        return Err(ProtocolError::Violation(
            "control frames carry at most 125 bytes",
        ));
    }
    let extended = bytes.get(2..).unwrap_or_default();
    let (len, at, least) = match short {
        126 => {
            let Some(len) = extended.first_chunk() else {
                return Ok(None);
            };
            (u64::from(u16::from_be_bytes(*len)), 4, 126)
        }
        127 => {
            let Some(len) = extended.first_chunk() else {
                return Ok(None);
            };
            (u64::from_be_bytes(*len), 10, 1 << 16)
        }
        _ => (u64::from(short), 2, 0),
    };
    if len >> 63 != 0 {
        return Err(ProtocolError::Violation(
            "the top bit of a 64-bit length must be zero",
        ));
    }
    if len < least {
        return Err(ProtocolError::Violation(
            "the length is not in its shortest form",
        ));
    }
    Ok(Some((len, at)))
}
