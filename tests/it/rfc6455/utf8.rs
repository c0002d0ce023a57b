//! Section 8.1: text must be UTF-8; invalid text fails the connection with 1007 at once (class 6).

use super::cases::{check_case, check_failure};
use super::client::{ReceivedFrame, frame, server};

fn text(bytes: &[u8]) -> ReceivedFrame {
    ReceivedFrame::Text(bytes.to_vec())
}

/// Returns a message with one byte per fragment.
fn byte_fragments(bytes: &[u8]) -> Vec<u8> {
    let pieces = bytes.iter().flat_map(|byte| frame(0x00, &[*byte]));
    frame(0x01, b"")
        .into_iter()
        .chain(pieces)
        .chain(frame(0x80, b""))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn section_8_1_valid_text_is_echoed_for_every_fragmentation() {
    let server = server().await;
    let edges = [
        "\0",
        "\u{7f}",
        "\u{80}",
        "\u{7ff}",
        "\u{800}",
        "\u{d7ff}",
        "\u{e000}",
        "\u{fffd}",
        "\u{ffff}",
        "\u{10000}",
        "\u{10ffff}",
    ];
    let planes: Vec<String> = (0..=16)
        .flat_map(|plane| {
            [0xFFFE, 0xFFFF].map(|last| char::from_u32(plane << 16 | last).unwrap().into())
        })
        .collect();
    let words = ["", "Hello-µ@ßöäüàá-UTF-8!!", "κόσμε"];
    for valid in edges
        .into_iter()
        .chain(words)
        .chain(planes.iter().map(String::as_str))
    {
        check_case(
            server,
            valid,
            &frame(0x81, valid.as_bytes()),
            &[text(valid.as_bytes())],
        )
        .await;
        check_case(
            server,
            valid,
            &byte_fragments(valid.as_bytes()),
            &[text(valid.as_bytes())],
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn section_8_1_invalid_utf8_closes_with_1007() {
    let server = server().await;
    // Lone continuations and start bytes, impossible and overlong bytes, surrogates, and code
    // points above U+10FFFF.
    let mut invalid: Vec<Vec<u8>> = (0x80..0xC0).step_by(7).map(|byte| vec![byte]).collect();
    invalid.extend((0xC0..=0xFF).map(|byte| vec![byte, b' ']));
    let more: [&[u8]; 14] = [
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
        b"\xc3",
        b"\xe0\xa0",
        b"\xf0\x90\x80", // truncated sequences
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xc1\xbf",
        b"\xe0\x9f\xbf",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xed\xa0\x80\xed\xb0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
    ];
    invalid.extend(more.map(<[u8]>::to_vec));
    for bytes in invalid {
        check_failure(server, &format!("{bytes:02x?}"), &frame(0x81, &bytes), 1007).await;
        check_failure(
            server,
            &format!("{bytes:02x?} by fragments"),
            &byte_fragments(&bytes),
            1007,
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn section_8_1_first_invalid_byte_closes_the_connection() {
    let server = server().await;
    let good = "κόσμε".as_bytes();
    // 6.4.1: in a fragment, before the end of the message. 6.4.3: in the middle of a frame whose
    // rest never arrives.
    let fragment = [frame(0x01, good), frame(0x00, b"\xf4\x90\x80\x80")].concat();
    check_failure(server, "in a fragment", &fragment, 1007).await;
    let whole = frame(0x81, &[good, b"\xf4\x90\x80\x80", good].concat());
    check_failure(
        server,
        "in the middle of a frame",
        &whole[..whole.len() - good.len() - 2],
        1007,
    )
    .await;
    // A ping between two halves of a character is valid.
    let between = [
        frame(0x01, b"\xce"),
        frame(0x89, b"p"),
        frame(0x80, b"\xba"),
    ]
    .concat();
    check_case(
        server,
        "a character in two",
        &between,
        &[ReceivedFrame::Pong(b"p".into()), text("κ".as_bytes())],
    )
    .await;
}
