//! RFC 6455 section by section, and the reader against a model under any split of the bytes.

use proptest::prelude::*;

use super::*;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const MAX: u32 = 16 * 1024;

/// Encodes a client's frame; `first` is its complete first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=65_535 => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().enumerate().map(|(i, b)| b ^ MASK[i % 4]));
    bytes
}

fn owned(message: WsMessage<'_>) -> WsMessage<'static> {
    match message {
        WsMessage::Text(text) => WsMessage::Text(text.into_owned().into()),
        WsMessage::Binary(bytes) => WsMessage::Binary(bytes.into_owned().into()),
        WsMessage::Ping(bytes) => WsMessage::Ping(bytes.into_owned().into()),
        WsMessage::Pong => WsMessage::Pong,
        WsMessage::Fragment => WsMessage::Fragment,
        WsMessage::Close { code, reason } => WsMessage::Close {
            code,
            reason: reason.into_owned().into(),
        },
    }
}

/// Feeds the bytes in pieces of the given sizes, each in its own buffer. The rest forms the last
/// piece. Fragments before the last one are left out.
fn read_split(
    reader: &mut FrameReader,
    bytes: &[u8],
    mut sizes: impl Iterator<Item = usize>,
) -> (Vec<WsMessage<'static>>, Option<ProtocolError>) {
    let mut messages = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(sizes.next().unwrap_or(usize::MAX).clamp(1, rest.len()));
        rest = after;
        let mut buffer = piece.to_vec();
        let mut chunk = Chunk::new(&mut buffer);
        loop {
            match reader.next(&mut chunk) {
                Ok(Some(WsMessage::Fragment)) => {}
                Ok(Some(message)) => messages.push(owned(message)),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
        assert!(chunk.is_empty());
    }
    (messages, None)
}

fn read(bytes: &[u8]) -> (Vec<WsMessage<'static>>, Option<ProtocolError>) {
    read_split(&mut FrameReader::new(MAX), bytes, std::iter::empty())
}

fn text(text: &str) -> WsMessage<'static> {
    WsMessage::Text(text.to_owned().into())
}

fn code_of(bytes: &[u8]) -> Option<u16> {
    let whole = read(bytes).1;
    let byte_by_byte = read_split(&mut FrameReader::new(MAX), bytes, std::iter::repeat(1)).1;
    assert_eq!(whole, byte_by_byte, "{bytes:02x?}");
    whole.map(ProtocolError::close_code)
}

#[test]
fn section_5_7_examples() {
    let hello = [
        0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
    ];
    assert_eq!(read(&hello), (vec![text("Hello")], None));
    let ping = [
        0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
    ];
    assert_eq!(read(&ping), (vec![WsMessage::Ping(b"Hello".into())], None));
    let fragments = [frame(0x01, b"Hel"), frame(0x80, b"lo")].concat();
    assert_eq!(read(&fragments), (vec![text("Hello")], None));
    for len in [125, 126, 256, 16 * 1024] {
        let payload = vec![b'x'; len];
        assert_eq!(
            read(&frame(0x82, &payload)),
            (vec![WsMessage::Binary(payload.into())], None)
        );
    }
}

#[test]
fn section_5_7_unmasked_example_is_rejected() {
    assert_eq!(
        code_of(&[0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]),
        Some(1002),
        "§5.1"
    );
}

#[test]
fn section_5_2_headers() {
    for first in [0xC1, 0xA1, 0x91, 0xF1, 0xB9] {
        assert_eq!(
            code_of(&frame(first, b"")),
            Some(1002),
            "reserved bits {first:02x}"
        );
    }
    for opcode in [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF] {
        assert_eq!(
            code_of(&frame(0x80 | opcode, b"")),
            Some(1002),
            "reserved opcode {opcode}"
        );
    }
    // The lengths are not in their shortest form, and the forbidden top bit is set.
    assert_eq!(code_of(&[0x82, 0xFE, 0, 125, 1, 2, 3, 4]), Some(1002));
    assert_eq!(
        code_of(&[0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 1, 2, 3, 4]),
        Some(1002)
    );
    assert_eq!(
        code_of(&[0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
        Some(1002)
    );
}

#[test]
fn errors_are_reported_at_the_first_invalid_byte() {
    assert_eq!(code_of(&[0xC1]), Some(1002));
    assert_eq!(code_of(&[0x83]), Some(1002));
    assert_eq!(code_of(&[0x09]), Some(1002), "a fragmented ping");
    assert_eq!(code_of(&[0x81, 0x00]), Some(1002), "no mask");
    assert_eq!(code_of(&[0x89, 0xFE]), Some(1002), "a long ping");
    // The text «Hello-µ@ßöä», then a byte that is invalid in UTF-8, with the rest of the frame
    // missing (Autobahn case 6.4).
    let bad = frame(0x81, b"Hello-\xc2\xb5\xff-and so on");
    assert_eq!(code_of(&bad[..bad.len() - 9]), Some(1007));
}

#[test]
fn each_fragment_is_reported() {
    let mut bytes = [
        frame(0x01, b""),
        frame(0x00, b""),
        frame(0x00, b"a"),
        frame(0x80, b"b"),
    ]
    .concat();
    let mut reader = FrameReader::new(MAX);
    let mut chunk = Chunk::new(&mut bytes);
    for _ in 0..3 {
        assert_eq!(reader.next(&mut chunk), Ok(Some(WsMessage::Fragment)));
    }
    assert_eq!(reader.next(&mut chunk), Ok(Some(text("ab"))));
    assert_eq!(reader.next(&mut chunk), Ok(None));
}

#[test]
fn section_5_4_fragmentation() {
    let interleaved = [
        frame(0x01, b"a"),
        frame(0x89, b"p"),
        frame(0x00, b"b"),
        frame(0x8A, b""),
        frame(0x80, b"c"),
    ]
    .concat();
    assert_eq!(
        read(&interleaved),
        (
            vec![WsMessage::Ping(b"p".into()), WsMessage::Pong, text("abc")],
            None
        )
    );
    let empty = [frame(0x01, b""), frame(0x00, b""), frame(0x80, b"")].concat();
    assert_eq!(read(&empty), (vec![text("")], None));
    assert_eq!(
        code_of(&frame(0x80, b"x")),
        Some(1002),
        "nothing to continue"
    );
    assert_eq!(
        code_of(&frame(0x00, b"x")),
        Some(1002),
        "nothing to continue"
    );
    assert_eq!(
        code_of(&[frame(0x01, b"a"), frame(0x81, b"b")].concat()),
        Some(1002),
        "a message within a message"
    );
    assert_eq!(
        code_of(&[frame(0x81, b"a"), frame(0x80, b"b")].concat()),
        Some(1002),
        "a continuation after the end"
    );
}

#[test]
fn section_5_5_control_frames() {
    assert_eq!(
        code_of(&frame(0x89, &[0; 126])),
        Some(1002),
        "at most 125 bytes"
    );
    assert_eq!(code_of(&frame(0x88, &[0; 126])), Some(1002));
    for first in [0x08, 0x09, 0x0A] {
        assert_eq!(code_of(&frame(first, b"")), Some(1002), "never fragmented");
    }
    assert_eq!(
        read(&frame(0x89, &[7; 125])).0,
        [WsMessage::Ping(vec![7; 125].into())]
    );
}

#[test]
fn section_5_5_1_close_frames() {
    let close = |payload: &[u8]| frame(0x88, payload);
    assert_eq!(
        read(&close(b"")).0,
        [WsMessage::Close {
            code: None,
            reason: "".into()
        }]
    );
    assert_eq!(code_of(&close(b"\x03")), Some(1002), "half a code");
    assert_eq!(
        code_of(&close(b"\x03\xe8\xff")),
        Some(1007),
        "a reason that is no text"
    );
    let reason = [&1000_u16.to_be_bytes()[..], "adiós".as_bytes()].concat();
    assert_eq!(
        read(&close(&reason)).0,
        [WsMessage::Close {
            code: Some(1000),
            reason: "adiós".into()
        }]
    );
}

#[test]
fn section_7_4_close_codes() {
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000,
        4401, 4999_u16,
    ] {
        let message = WsMessage::Close {
            code: Some(code),
            reason: "".into(),
        };
        assert_eq!(
            read(&frame(0x88, &code.to_be_bytes())),
            (vec![message], None),
            "{code}"
        );
    }
    for code in [
        0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535_u16,
    ] {
        assert_eq!(
            code_of(&frame(0x88, &code.to_be_bytes())),
            Some(1002),
            "{code}"
        );
    }
}

#[test]
fn input_after_a_close_or_an_error_is_ignored() {
    let bytes = [
        frame(0x88, &1000_u16.to_be_bytes()),
        frame(0x89, b"late"),
        frame(0xF1, b""),
    ]
    .concat();
    let (messages, error) = read(&bytes);
    assert_eq!((messages.len(), error), (1, None));
    let mut reader = FrameReader::new(MAX);
    assert!(
        read_split(&mut reader, &frame(0xF1, b""), std::iter::empty())
            .1
            .is_some()
    );
    assert_eq!(
        read_split(&mut reader, &frame(0x81, b"late"), std::iter::empty()),
        (vec![], None)
    );
}

#[test]
fn section_8_1_text_is_utf8() {
    for good in [
        "",
        "κόσμε",
        "\u{0}",
        "\u{7f}",
        "\u{80}",
        "\u{7ff}",
        "\u{800}",
        "\u{ffff}",
        "\u{10000}",
        "\u{10ffff}",
    ] {
        assert_eq!(
            read(&frame(0x81, good.as_bytes())),
            (vec![text(good)], None)
        );
    }
    let bad: [&[u8]; 10] = [
        b"\x80",
        b"\xbf",
        b"\xc3",                 // ends within a character
        b"\xc0\xaf",             // overlong
        b"\xe0\x80\xaf",         // overlong
        b"\xf8\x88\x80\x80\x80", // five bytes
        b"\xed\xa0\x80",         // a surrogate
        b"\xf4\x90\x80\x80",     // beyond U+10FFFF
        b"\xfe",
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    ];
    for bytes in bad {
        assert_eq!(code_of(&frame(0x81, bytes)), Some(1007), "{bytes:02x?}");
        let fragments: Vec<u8> = [frame(0x01, b"")]
            .into_iter()
            .chain(bytes.iter().map(|b| frame(0x00, &[*b])))
            .flatten()
            .collect();
        assert_eq!(
            code_of(&[fragments, frame(0x80, b"")].concat()),
            Some(1007),
            "{bytes:02x?}"
        );
    }
    // A fragment may end within a character.
    let split = [
        frame(0x01, b"\xce"),
        frame(0x00, b"\xba\xe1\xbd"),
        frame(0x80, b"\xb9"),
    ]
    .concat();
    assert_eq!(read(&split), (vec![text("κ\u{1f79}")], None));
}

#[test]
fn oversize_is_reported_from_the_header() {
    let head_of = |len: usize| frame(0x82, &vec![0; len])[..8].to_vec();
    assert_eq!(code_of(&head_of(MAX as usize)), None);
    assert_eq!(code_of(&head_of(MAX as usize + 1)), Some(1009));
    assert_eq!(
        code_of(&[
            0x81, 0xFF, 0x7F, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4
        ]),
        Some(1009)
    );
    let fragments = [
        frame(0x02, &[0; 10_000]),
        frame(0x00, &[0; 6_384]),
        frame(0x80, &[0; 1]),
    ]
    .concat();
    assert_eq!(code_of(&fragments), Some(1009), "all fragments together");
}

#[test]
fn an_idle_connection_keeps_no_heap_memory() {
    assert!(size_of::<FrameReader>() <= 24);
    let mut reader = FrameReader::new(MAX);
    let bytes = [
        frame(0x01, b"a"),
        frame(0x80, b"b"),
        frame(0x89, b"ping"),
        frame(0x81, &[b'x'; 5_000]),
    ]
    .concat();
    let (messages, _) = read_split(&mut reader, &bytes, std::iter::repeat(3));
    assert_eq!((messages.len(), reader.memory_bytes()), (3, 0));
    // Memory grows with the received bytes, not with the length in the header.
    read_split(
        &mut reader,
        &frame(0x82, &[0; 16_000])[..20],
        std::iter::empty(),
    );
    assert!(reader.memory_bytes() < 300, "{}", reader.memory_bytes());
}

#[test]
fn whole_frames_are_not_copied() {
    let mut bytes = [
        frame(0x81, b"text"),
        frame(0x82, b"bytes"),
        frame(0x89, b"ping"),
    ]
    .concat();
    let mut reader = FrameReader::new(MAX);
    let mut chunk = Chunk::new(&mut bytes);
    while let Some(message) = reader.next(&mut chunk).unwrap() {
        let borrowed = matches!(
            message,
            WsMessage::Text(std::borrow::Cow::Borrowed(_))
                | WsMessage::Binary(std::borrow::Cow::Borrowed(_))
                | WsMessage::Ping(std::borrow::Cow::Borrowed(_))
        );
        assert!(borrowed, "{message:?}");
    }
}

/// Generates the messages of a sequence, with the bytes they take on the wire.
fn sent() -> impl Strategy<Value = (Vec<WsMessage<'static>>, Vec<u8>)> {
    let control = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..=125)
            .prop_map(|p| (WsMessage::Ping(p.clone().into()), frame(0x89, &p))),
        prop::collection::vec(any::<u8>(), 0..=125)
            .prop_map(|p| (WsMessage::Pong, frame(0x8A, &p))),
    ];
    let payload = prop_oneof![
        "\\PC{0,200}".prop_map(|text| (0x1_u8, text.into_bytes())),
        prop::collection::vec(any::<u8>(), 0..400).prop_map(|bytes| (0x2_u8, bytes)),
    ];
    (
        payload,
        prop::collection::vec((any::<prop::sample::Index>(), control), 0..4),
    )
        .prop_map(|((opcode, payload), mut cuts)| {
            cuts.sort_by_key(|(at, _)| at.index(payload.len() + 1));
            let (mut messages, mut bytes, mut start, mut first) =
                (Vec::new(), Vec::new(), 0, opcode);
            for (at, (message, control)) in cuts {
                let end = at.index(payload.len() + 1);
                bytes.extend(frame(first, &payload[start..end]));
                bytes.extend(control);
                messages.push(message);
                (start, first) = (end, 0);
            }
            bytes.extend(frame(0x80 | first, &payload[start..]));
            messages.push(match opcode {
                0x1 => WsMessage::Text(String::from_utf8(payload).unwrap().into()),
                _ => WsMessage::Binary(payload.into()),
            });
            (messages, bytes)
        })
}

proptest! {
    #[test]
    fn any_split_yields_the_same_messages(
        sequence in prop::collection::vec(sent(), 1..6),
        sizes in prop::collection::vec(1_usize..40, 0..60),
    ) {
        let (messages, bytes): (Vec<_>, Vec<_>) = sequence.into_iter().unzip();
        let (messages, bytes) = (messages.concat(), bytes.concat());
        let mut reader = FrameReader::new(MAX);
        prop_assert_eq!(read_split(&mut reader, &bytes, sizes.into_iter()), (messages, None));
        prop_assert_eq!(reader.memory_bytes(), 0);
    }

    #[test]
    fn any_bytes_are_safe_and_bounded(bytes: Vec<u8>, max in 0_u32..600, size in 1_usize..50) {
        let mut reader = FrameReader::new(max);
        let mut whole = FrameReader::new(max);
        let split = read_split(&mut reader, &bytes, std::iter::repeat(size));
        prop_assert!(reader.memory_bytes() <= max as usize + 300);
        prop_assert_eq!(split, read_split(&mut whole, &bytes, std::iter::empty()));
    }

    #[test]
    fn plausible_frames_are_safe_and_bounded(
        frames in prop::collection::vec((0_u8..16, any::<bool>(), prop::collection::vec(any::<u8>(), 0..300)), 0..12),
        size in 1_usize..50,
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(|(op, fin, payload)| frame(op | u8::from(*fin) << 7, payload)).collect();
        let mut reader = FrameReader::new(500);
        let mut whole = FrameReader::new(500);
        let split = read_split(&mut reader, &bytes, std::iter::repeat(size));
        prop_assert!(reader.memory_bytes() <= 500 + 300);
        prop_assert_eq!(split, read_split(&mut whole, &bytes, std::iter::empty()));
    }
}
