//! Follows the request heads on a connection, so that a line that ends without CR is rejected.
//!
//! RFC 9112 §2.2 lets a server accept a bare LF as the end of a line. A proxy in front of it may
//! not do so, and then the two see different requests in the same bytes (request smuggling). The
//! HTTP library accepts them and has no option against it. Therefore a bare LF in a head is
//! replaced by a byte that the library rejects with `400`. So is the end of a `Content-Length` that
//! is no plain number, or too long to be kept.
//!
//! This module is pure. It knows where bodies end, since a body may contain anything.

/// The bytes of a header line that are looked at: enough for the two headers that frame a body.
const LINE_BYTES: usize = 64;
/// A byte that is invalid everywhere in a head.
const INVALID: u8 = 0;

/// The position in the bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// Before the first byte of a head, or in one.
    Head,
    /// In a body, with this many bytes to go.
    Body(u64),
    /// In the line with the size of a chunk, as far as it was read.
    ChunkSize { size: u64, ends: bool },
    /// In a chunk, with this many bytes to go, the line end included.
    Chunk(u64),
    /// In the lines behind the last chunk.
    Trailer,
    /// Behind a request for an upgrade, of which the answer is not known yet.
    Upgrade,
}

/// The scanner of one connection; see the module's documentation.
#[derive(Debug)]
pub(super) struct HeadScanner {
    position: Position,
    /// The start of the current line, in lower case.
    line: [u8; LINE_BYTES],
    /// The length of the current line, which may exceed the kept part.
    line_bytes: usize,
    last: u8,
    /// Set from the request line to the end of the head.
    in_head: bool,
    heads: usize,
    content_length: u64,
    is_chunked: bool,
    wants_upgrade: bool,
}

impl Default for HeadScanner {
    fn default() -> Self {
        Self {
            position: Position::Head,
            line: [0; LINE_BYTES],
            line_bytes: 0,
            last: 0,
            in_head: false,
            heads: 0,
            content_length: 0,
            is_chunked: false,
            wants_upgrade: false,
        }
    }
}

impl HeadScanner {
    /// Returns whether a head has begun and is not complete.
    pub(super) fn is_in_head(&self) -> bool {
        self.position == Position::Head && (self.in_head || self.line_bytes > 0)
    }

    /// Returns the number of complete heads.
    pub(super) fn heads(&self) -> usize {
        self.heads
    }

    /// Returns whether the last request asks for an upgrade. The bytes behind it are not scanned
    /// before [`HeadScanner::resume`].
    pub(super) fn is_at_upgrade(&self) -> bool {
        self.position == Position::Upgrade
    }

    /// Continues with the next request, because the upgrade was refused.
    pub(super) fn resume(&mut self) {
        self.position = Position::Head;
    }

    /// Scans the next bytes of the connection, and makes a bare LF in a head invalid.
    pub(super) fn scan(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let left = bytes.len() - at;
            match self.position {
                Position::Upgrade => return,
                Position::Body(to_go) | Position::Chunk(to_go) => {
                    let skipped = usize::try_from(to_go).map_or(left, |to_go| to_go.min(left));
                    at += skipped;
                    self.skip(skipped as u64);
                }
                Position::Head => {
                    self.on_head_byte(&mut bytes[at]);
                    at += 1;
                }
                Position::ChunkSize { size, ends } => {
                    self.on_chunk_size(bytes[at], size, ends);
                    at += 1;
                }
                Position::Trailer => {
                    self.on_trailer_byte(bytes[at]);
                    at += 1;
                }
            }
        }
    }

    fn skip(&mut self, count: u64) {
        self.position = match self.position {
            Position::Body(to_go) if to_go > count => Position::Body(to_go - count),
            Position::Chunk(to_go) if to_go > count => Position::Chunk(to_go - count),
            Position::Chunk(_) => Position::ChunkSize {
                size: 0,
                ends: false,
            },
            _ => Position::Head,
        };
    }

    fn on_head_byte(&mut self, byte: &mut u8) {
        let last = std::mem::replace(&mut self.last, *byte);
        match *byte {
            b'\n' if last != b'\r' => *byte = INVALID,
            b'\n' if !self.on_head_line() => *byte = INVALID,
            b'\n' | b'\r' => {}
            _ => {
                if let Some(kept) = self.line.get_mut(self.line_bytes) {
                    *kept = byte.to_ascii_lowercase();
                }
                self.line_bytes += 1;
            }
        }
    }

    /// Handles the end of a line. Returns `false` if the line frames the body in a way that the
    /// scanner may read otherwise than the library does.
    fn on_head_line(&mut self) -> bool {
        let mut is_clear = true;
        let kept = self.line_bytes.min(LINE_BYTES);
        let line = &self.line[..kept];
        match (self.line_bytes, self.in_head) {
            // Empty lines before the request line are ignored (RFC 9112 §2.2).
            (0, false) => {}
            (0, true) => self.end_head(),
            (_, false) => self.in_head = true,
            (_, true) => {
                if let Some(value) = line.strip_prefix(b"content-length:") {
                    let length = content_length(value).filter(|_| self.line_bytes == kept);
                    is_clear = length.is_some();
                    self.content_length = length.unwrap_or(0);
                } else if line.starts_with(b"transfer-encoding:") {
                    self.is_chunked = true;
                } else if line.starts_with(b"upgrade:") {
                    self.wants_upgrade = true;
                }
            }
        }
        self.line_bytes = 0;
        is_clear
    }

    fn end_head(&mut self) {
        self.heads += 1;
        self.position = match *self {
            Self {
                wants_upgrade: true,
                ..
            } => Position::Upgrade,
            Self {
                is_chunked: true, ..
            } => Position::ChunkSize {
                size: 0,
                ends: false,
            },
            Self { content_length, .. } if content_length > 0 => Position::Body(content_length),
            _ => Position::Head,
        };
        (self.in_head, self.is_chunked, self.wants_upgrade) = (false, false, false);
        self.content_length = 0;
    }

    fn on_chunk_size(&mut self, byte: u8, size: u64, ends: bool) {
        self.position = match byte {
            b'\n' if size == 0 => {
                self.line_bytes = 0;
                Position::Trailer
            }
            b'\n' => Position::Chunk(size.saturating_add(2)),
            _ => match char::from(byte).to_digit(16) {
                Some(digit) if !ends => Position::ChunkSize {
                    size: size.saturating_mul(16).saturating_add(digit.into()),
                    ends,
                },
                _ => Position::ChunkSize { size, ends: true },
            },
        };
    }

    fn on_trailer_byte(&mut self, byte: u8) {
        match byte {
            b'\n' if self.line_bytes == 0 => self.position = Position::Head,
            b'\n' => self.line_bytes = 0,
            b'\r' => {}
            _ => self.line_bytes += 1,
        }
    }
}

/// Parses the value of `Content-Length`, which is one number (RFC 9110 §8.6).
fn content_length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BODIES: &str = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n\n\n\nPOST /b HTTP/1.1\r\n\
        Transfer-Encoding: chunked\r\n\r\n2;x=y\r\n\n\n\r\n0\r\nT: 1\r\n\r\nGET /c HTTP/1.1\r\nHost: x\r\n\r\n";

    fn scan(text: &str, cut: usize) -> (String, HeadScanner) {
        let mut bytes = text.as_bytes().to_vec();
        let mut scanner = HeadScanner::default();
        let (front, back) = bytes.split_at_mut(cut.min(text.len()));
        scanner.scan(front);
        scanner.scan(back);
        (String::from_utf8(bytes).unwrap(), scanner)
    }

    #[test]
    fn bare_line_feed_becomes_invalid() {
        for head in [
            "GET / HTTP/1.1\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n\n",
            "\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            for cut in 0..head.len() {
                let (scanned, _) = scan(head, cut);
                assert_eq!(scanned.matches('\0').count(), 1, "{head:?}");
            }
        }
    }

    #[test]
    fn unclear_length_becomes_invalid() {
        let zeros = "0".repeat(LINE_BYTES);
        for length in [
            "2, 2",
            "+2",
            "",
            "0x2",
            "2 2",
            "99999999999999999999",
            &zeros,
        ] {
            let head = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n");
            let (scanned, _) = scan(&head, 0);
            assert!(scanned.ends_with("\r\0"), "{scanned:?}");
        }
        let head = "POST / HTTP/1.1\r\nContent-Length: \t002 \r\n\r\n\n\n";
        let (scanned, scanner) = scan(head, 0);
        assert_eq!(scanned, head);
        assert_eq!((scanner.heads(), scanner.is_in_head()), (1, false));
    }

    #[test]
    fn bodies_may_contain_anything() {
        for cut in 0..BODIES.len() {
            let (scanned, scanner) = scan(BODIES, cut);
            assert_eq!((scanned.as_str(), scanner.heads()), (BODIES, 3), "{cut}");
            assert!(!scanner.is_in_head());
        }
        let (scanned, _) = scan(&format!("{BODIES}GET / HTTP/1.1\n"), 0);
        assert!(scanned.ends_with('\0'));
    }

    #[test]
    fn bytes_behind_an_upgrade_are_left_alone_until_it_is_refused() {
        let head = "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n\n\n";
        let (scanned, mut scanner) = scan(head, 0);
        assert_eq!(scanned, head);
        assert!(scanner.is_at_upgrade());
        scanner.resume();
        let mut bytes = *b"GET / HTTP/1.1\n";
        scanner.scan(&mut bytes);
        assert_eq!(bytes.last(), Some(&INVALID));
        assert!(scanner.is_in_head());
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_result(
            text in "(GET|\r|\n|\r\n| |:|a|0|3|content-length|transfer-encoding|upgrade|\r\n\r\n){0,40}",
            cut in 0_usize..60,
        ) {
            prop_assume!(text.is_char_boundary(cut.min(text.len())));
            let (whole, a) = scan(&text, 0);
            let (split, b) = scan(&text, cut);
            prop_assert_eq!(whole, split);
            prop_assert_eq!((a.heads(), a.position), (b.heads(), b.position));
        }
    }
}
