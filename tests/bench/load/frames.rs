//! The client side of RFC 6455, and the two numbers of a payload that the benchmark needs.

/// The key of RFC 6455 §1.3, which makes the expected response a constant.
pub(super) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A frame that a server sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServerFrame<'a> {
    Data(&'a [u8]),
    Ping(&'a [u8]),
    Close(u16),
    /// Pongs, and all but the last part of a fragmented message.
    Other,
}

/// An iterator over the complete frames at the start of a buffer.
#[derive(Debug)]
pub(super) struct ServerFrames<'a> {
    bytes: &'a [u8],
    /// The offset of the next frame, in bytes.
    pub(super) used: usize,
}

impl<'a> ServerFrames<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, used: 0 }
    }
}

impl<'a> Iterator for ServerFrames<'a> {
    type Item = ServerFrame<'a>;

    fn next(&mut self) -> Option<ServerFrame<'a>> {
        let rest = &self.bytes[self.used..];
        let (first, second) = (*rest.first()?, *rest.get(1)?);
        let (head, length): (usize, usize) = match second & 0x7f {
            126 => (
                4,
                usize::from(u16::from_be_bytes(rest.get(2..4)?.try_into().ok()?)),
            ),
            127 => (
                10,
                usize::try_from(u64::from_be_bytes(rest.get(2..10)?.try_into().ok()?)).ok()?,
            ),
            short => (2, usize::from(short)),
        };
        let payload = rest.get(head..head.checked_add(length)?)?;
        self.used += head + length;
        Some(match (first & 0xf, first & 0x80 != 0) {
            (0..=2, true) => ServerFrame::Data(payload),
            (8, _) => ServerFrame::Close(
                payload
                    .get(..2)
                    .map_or(1005, |code| u16::from_be_bytes([code[0], code[1]])),
            ),
            (9, _) => ServerFrame::Ping(payload),
            _ => ServerFrame::Other,
        })
    }
}

/// Builds a client's frame. Its mask is zero, which is legal and costs nothing.
pub(crate) fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match u8::try_from(payload.len()) {
        Ok(short) if short < 126 => frame.push(0x80 | short),
        _ => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(
                &u16::try_from(payload.len())
                    .unwrap_or(u16::MAX)
                    .to_be_bytes(),
            );
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// Returns the end of the head of an HTTP response.
pub(super) fn head_end(bytes: &[u8]) -> Option<usize> {
    find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// Checks that the server accepted the upgrade.
pub(super) fn check_101(head: &[u8]) -> Result<(), String> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or(head);
    if !line.starts_with(b"HTTP/1.1 101") {
        return Err(String::from_utf8_lossy(line).into_owned());
    }
    find(head, ACCEPT)
        .map(drop)
        .ok_or_else(|| "wrong Sec-WebSocket-Accept".into())
}

/// Returns the publisher's stamp: the value of `"t":`, in nanoseconds of the monotonic clock.
pub(super) fn stamp(payload: &[u8]) -> Option<u64> {
    number(&payload[find(payload, b"\"t\":")? + 4..])
}

/// Returns the version of a snapshot, which follows its data.
pub(super) fn version(payload: &[u8]) -> Option<u64> {
    // Search from the end, because the version comes last.
    let at = payload.windows(4).rposition(|window| window == b"\"v\":")?;
    number(&payload[at + 4..])
}

/// Returns whether a payload contains a text.
pub(super) fn contains(payload: &[u8], text: &str) -> bool {
    find(payload, text.as_bytes()).is_some()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(None, |sum: Option<u64>, digit| {
        Some(
            sum.unwrap_or(0)
                .wrapping_mul(10)
                .wrapping_add(u64::from(digit - b'0')),
        )
    })
}
