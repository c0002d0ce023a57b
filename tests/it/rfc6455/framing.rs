//! Section 5: frames, control frames, fragments and sizes (classes 1 to 5, 9 and 10).

use super::cases::{check_case, check_failure};
use super::client::{ReceivedFrame, connect, frame, server, server_with};
use super::conformance::LIMITS;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const MIB: usize = 1024 * 1024;

fn echo(first: u8, payload: &[u8]) -> ReceivedFrame {
    if first & 0x0F == 1 {
        ReceivedFrame::Text(payload.to_vec())
    } else {
        ReceivedFrame::Binary(payload.to_vec())
    }
}

/// Splits a message into fragments of this size.
fn fragments(opcode: u8, payload: &[u8], size: usize) -> Vec<u8> {
    let count = payload.len().div_ceil(size);
    let pieces = payload.chunks(size).enumerate();
    let first = |index| if index == 0 { opcode & 0x0F } else { 0 } | if index + 1 == count { 0x80 } else { 0 };
    pieces
        .flat_map(|(index, piece)| frame(first(index), piece))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn section_5_6_messages_of_every_length_encoding() {
    let server = server().await;
    for first in [TEXT, BINARY] {
        for len in [0, 1, 125, 126, 127, 128, 65_535, 65_536] {
            let payload = vec![if first == BINARY { 0xFE } else { b'*' }; len];
            check_case(
                server,
                &format!("1.*: {len} bytes"),
                &frame(first, &payload),
                &[echo(first, &payload)],
            )
            .await;
        }
    }
    let many: Vec<u8> = (0..500)
        .flat_map(|n: u32| frame(TEXT, n.to_string().as_bytes()))
        .collect();
    let expected: Vec<_> = (0..500)
        .map(|n: u32| ReceivedFrame::Text(n.to_string().into_bytes()))
        .collect();
    check_case(server, "9.7: many small ones", &many, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_5_5_2_pings_are_answered_and_pongs_are_not() {
    let server = server().await;
    for payload in [&b""[..], b"Hello", &[0, 255, 254, 0xF0], &[b'x'; 125]] {
        check_case(
            server,
            "2.1 to 2.4",
            &frame(0x89, payload),
            &[ReceivedFrame::Pong(payload.to_vec())],
        )
        .await;
        check_case(server, "2.7, 2.8: unasked", &frame(0x8A, payload), &[]).await;
    }
    check_failure(server, "2.5: 126 bytes", &frame(0x89, &[0xFE; 126]), 1002).await;
    let ten: Vec<u8> = (0..10).flat_map(|n| frame(0x89, &[n])).collect();
    check_case(
        server,
        "2.10, 2.11: ten in a row",
        &ten,
        &(0..10)
            .map(|n| ReceivedFrame::Pong(vec![n]))
            .collect::<Vec<_>>(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_5_2_reserved_bits_and_opcodes_fail_the_connection() {
    let server = server().await;
    for bits in 1..8 {
        for opcode in [0x1, 0x2, 0x8, 0x9, 0xA] {
            check_failure(server, "3.*", &frame(0x80 | bits << 4 | opcode, b"x"), 1002).await;
        }
        let behind = [
            frame(TEXT, b"good"),
            frame(0x89, b""),
            frame(TEXT | bits << 4, b"bad"),
        ]
        .concat();
        check_case(
            server,
            "3.2",
            &behind,
            &[
                echo(TEXT, b"good"),
                ReceivedFrame::Pong(vec![]),
                ReceivedFrame::Close(Some(1002)),
            ],
        )
        .await;
    }
    for opcode in (0x3..0x8).chain(0xB..0x10) {
        for payload in [&b""[..], b"x"] {
            check_failure(server, "4.*", &frame(0x80 | opcode, payload), 1002).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn section_5_1_client_frames_must_be_masked() {
    let server = server().await;
    check_failure(server, "an unmasked text", b"\x81\x05Hello", 1002).await;
    check_failure(server, "an unmasked ping", b"\x89\x00", 1002).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_5_2_lengths_must_be_in_their_shortest_form() {
    let server = server().await;
    check_failure(server, "125 in 16 bits", b"\x82\xfe\x00\x7d\0\0\0\0", 1002).await;
    check_failure(
        server,
        "65535 in 64 bits",
        b"\x82\xff\0\0\0\0\0\0\xff\xff\0\0\0\0",
        1002,
    )
    .await;
    check_failure(
        server,
        "the top bit",
        b"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0",
        1002,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_5_4_fragments_form_one_message_with_control_frames_between() {
    let server = server().await;
    for first in [0x89, 0x8A] {
        check_failure(
            server,
            "5.1, 5.2: a fragmented control frame",
            &[frame(first & 0x0F, b"a"), frame(0x80, b"b")].concat(),
            1002,
        )
        .await;
    }
    let parts = [
        frame(0x01, b"one "),
        frame(0x00, b""),
        frame(0x00, b"two "),
        frame(0x80, b"three"),
    ]
    .concat();
    check_case(
        server,
        "5.3 to 5.5",
        &parts,
        &[echo(TEXT, b"one two three")],
    )
    .await;
    let between = [
        frame(0x01, b"one "),
        frame(0x89, b"p"),
        frame(0x8A, b""),
        frame(0x80, b"two"),
        frame(0x89, b"q"),
    ]
    .concat();
    let expected = [
        ReceivedFrame::Pong(b"p".into()),
        echo(TEXT, b"one two"),
        ReceivedFrame::Pong(b"q".into()),
    ];
    check_case(server, "5.6 to 5.8, 5.19, 5.20", &between, &expected).await;
    for continuation in [0x00, 0x80] {
        check_failure(
            server,
            "5.9 to 5.14: nothing to continue",
            &frame(continuation, b"x"),
            1002,
        )
        .await;
        let after = [frame(TEXT, b"whole"), frame(continuation, b"x")].concat();
        check_case(
            server,
            "5.15",
            &after,
            &[echo(TEXT, b"whole"), ReceivedFrame::Close(Some(1002))],
        )
        .await;
    }
    for second in [TEXT, 0x01, BINARY] {
        check_failure(
            server,
            "5.16 to 5.18: a message within one",
            &[frame(0x01, b"a"), frame(second, b"b")].concat(),
            1002,
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn section_5_4_large_messages_work_in_one_or_many_frames() {
    let server = server().await;
    for first in [TEXT, BINARY] {
        for (len, size) in [
            (MIB, MIB),
            (16 * MIB, 16 * MIB),
            (20 * MIB, 20 * MIB),
            (4 * MIB, 64),
            (4 * MIB, 4096),
            (4 * MIB, MIB),
        ] {
            let payload = vec![b'*'; len];
            check_case(
                server,
                &format!("9.*: {len} by {size}"),
                &fragments(first, &payload, size),
                &[echo(first, &payload)],
            )
            .await;
        }
        let payload = vec![b'*'; 65_536];
        check_case(
            server,
            "10.1.1",
            &fragments(first, &payload, 1_300),
            &[echo(first, &payload)],
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn section_7_4_1_oversize_message_closes_with_1009_at_its_header() {
    let server = server_with(latido_session::SessionLimits {
        message_bytes: 1_000,
        ..LIMITS
    })
    .await;
    check_case(
        server,
        "the limit itself",
        &frame(BINARY, &[7; 1_000]),
        &[ReceivedFrame::Binary(vec![7; 1_000])],
    )
    .await;
    check_failure(server, "announced", &frame(BINARY, &[7; 1_001])[..8], 1009).await;
    check_failure(
        server,
        "in fragments",
        &fragments(BINARY, &[7; 1_001], 100),
        1009,
    )
    .await;
    check_failure(
        server,
        "for ever",
        b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
        1009,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_5_5_3_client_that_never_answers_pings_is_closed() {
    let server = server_with(latido_session::SessionLimits {
        heartbeat_s: 1,
        idle_timeout_s: 2,
        ..LIMITS
    })
    .await;
    let (mut reader, _writer) = connect(server).await;
    // First the ping, then the end. The close code 4408 is a private one (§7.4.2).
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).await;
    assert_eq!(bytes[..2], [0x89, 0x00]);
    assert_eq!(bytes[4..6], 4408_u16.to_be_bytes());
}
