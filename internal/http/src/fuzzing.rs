//! The fuzz target of the head scanner.

use crate::head_scanner::HeadScanner;

/// The headers that a request may have here.
const MAX_HEADERS: usize = 32;

/// Scans the bytes of a connection, whose first byte determines how they are split (fuzzing). The
/// split must make no difference, only bare line feeds may change, and no head that the HTTP library
/// then accepts may contain one.
pub fn fuzz_head_scanner(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else {
        return;
    };
    let scanned = scan(bytes, usize::MAX);
    assert_eq!(scan(bytes, usize::from(*size).max(1)), scanned);
    for (before, after) in bytes.iter().zip(&scanned) {
        assert!(before == after || (*before == b'\n' && *after == 0));
    }
    check_heads(&scanned);
}

fn scan(bytes: &[u8], size: usize) -> Vec<u8> {
    let (mut bytes, mut scanner) = (bytes.to_vec(), HeadScanner::default());
    for piece in bytes.chunks_mut(size) {
        scanner.scan(piece);
        assert!(!(scanner.is_in_head() && scanner.is_at_upgrade()));
    }
    assert!(scanner.heads() <= bytes.len() / 4);
    bytes
}

/// Reads the requests as the HTTP library does, which accepts bare line feeds.
fn check_heads(mut rest: &[u8]) {
    while let Some((head, body)) = next_request(rest) {
        let is_bare = |at: &usize| head[*at] == b'\n' && (*at == 0 || head[at - 1] != b'\r');
        let found = (0..head.len()).find(is_bare);
        assert_eq!(found, None, "{:?}", String::from_utf8_lossy(head));
        match body {
            Some(after) => rest = after,
            None => return,
        }
    }
}

/// Returns the next head, and the bytes behind its body. They are `None` if the body is not
/// complete, or another protocol follows.
fn next_request(bytes: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head_bytes) = request.parse(bytes).ok()? else {
        return None;
    };
    let (head, rest) = bytes.split_at(head_bytes);
    let values = |name: &'static str| {
        let named = request
            .headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value)
    };
    if values("upgrade").next().is_some() || request.method == Some("CONNECT") {
        return Some((head, None));
    }
    let mut encodings = values("transfer-encoding");
    if let Some(encoding) = encodings.next() {
        let is_chunked = encoding == b"chunked" && encodings.next().is_none();
        let is_clear = is_chunked && request.version == Some(1);
        return Some((head, is_clear.then(|| after_chunks(rest)).flatten()));
    }
    let mut lengths = values("content-length");
    let Some(length) = lengths.next() else {
        return Some((head, Some(rest)));
    };
    // The library refuses anything but digits, and several values.
    let is_clear = lengths.next().is_none() && length.iter().all(u8::is_ascii_digit);
    let length = std::str::from_utf8(length).ok().filter(|_| is_clear);
    let length = length.and_then(|text| text.parse().ok());
    Some((head, length.and_then(|length: usize| rest.get(length..))))
}

/// Returns the bytes behind a chunked body. Trailers are not read.
fn after_chunks(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
        let (line, rest) = (&bytes[..end], &bytes[end + 2..]);
        let size = std::str::from_utf8(line).ok()?;
        if size.is_empty() || !size.chars().all(|c| c.is_ascii_hexdigit()) {
            return None;
        }
        let size = usize::from_str_radix(size, 16).ok()?;
        let rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
        if size == 0 {
            return Some(rest);
        }
        bytes = rest;
    }
}
