//! Sections 5.5.1 and 7: the end of a connection (class 7).

use super::cases::{check_case, check_failure};
use super::client::{ReceivedFrame, close, connect, frame, server};

#[tokio::test(flavor = "multi_thread")]
async fn section_5_5_1_close_frame_is_answered_once_and_nothing_follows() {
    let server = server().await;
    check_case(
        server,
        "7.1.1",
        &frame(0x81, b"a"),
        &[ReceivedFrame::Text(b"a".into())],
    )
    .await;
    let late: [&[u8]; 4] = [
        &close(1000, b""),
        &frame(0x81, b"late"),
        &frame(0x89, b"late"),
        &frame(0x00, b"late"),
    ];
    for late in late {
        check_case(
            server,
            "7.1.2 to 7.1.5: after it",
            &[&close(1000, b"bye"), late].concat(),
            &[ReceivedFrame::Close(Some(1000))],
        )
        .await;
    }
    let within = [frame(0x01, b"half"), close(1001, b"")].concat();
    check_case(
        server,
        "7.1.5: within a message",
        &within,
        &[ReceivedFrame::Close(Some(1001))],
    )
    .await;
    let big = vec![b'x'; 256 * 1024];
    let behind = [frame(0x81, &big), close(1000, b"")].concat();
    check_case(
        server,
        "7.1.6: behind a large message",
        &behind,
        &[ReceivedFrame::Text(big), ReceivedFrame::Close(Some(1000))],
    )
    .await;
    // A frame that arrives after the server has closed its socket makes the kernel discard what it
    // has not sent yet. So with a late frame, the message must fit into the client's window.
    let long = vec![b'x'; 32 * 1024];
    let behind = [frame(0x81, &long), close(1000, b""), frame(0x89, b"")].concat();
    check_case(
        server,
        "7.1.6: behind a long message, and a frame after it",
        &behind,
        &[ReceivedFrame::Text(long), ReceivedFrame::Close(Some(1000))],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_5_5_1_close_frame_content_is_checked() {
    let server = server().await;
    check_case(
        server,
        "7.3.1: nothing",
        &frame(0x88, b""),
        &[ReceivedFrame::Close(None)],
    )
    .await;
    check_failure(server, "7.3.2: half a code", &frame(0x88, &[3]), 1002).await;
    check_case(
        server,
        "7.3.3: a code",
        &close(1000, b""),
        &[ReceivedFrame::Close(Some(1000))],
    )
    .await;
    check_case(
        server,
        "7.3.4: a reason",
        &close(1000, "Adiós".as_bytes()),
        &[ReceivedFrame::Close(Some(1000))],
    )
    .await;
    check_case(
        server,
        "7.3.5: 123 bytes of it",
        &close(1000, &[b'*'; 123]),
        &[ReceivedFrame::Close(Some(1000))],
    )
    .await;
    check_failure(server, "7.3.6: 124", &close(1000, &[b'*'; 124]), 1002).await;
    check_failure(
        server,
        "7.5.1: a reason that is not UTF-8",
        &close(1000, b"\xce\xba\xed\xa0\x80"),
        1007,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn section_7_4_only_allowed_close_codes_are_accepted() {
    let server = server().await;
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ] {
        check_case(
            server,
            "7.7.*",
            &close(code, b""),
            &[ReceivedFrame::Close(Some(code))],
        )
        .await;
    }
    for code in [
        0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        check_failure(server, "7.9.*, 7.13.*", &close(code, b""), 1002).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn section_7_1_1_client_that_disconnects_is_cleaned_up() {
    let server = server().await;
    for bytes in [
        &b""[..],
        b"\x81",
        &frame(0x01, b"half"),
        &frame(0x81, &[b'x'; 70_000])[..60_000],
    ] {
        let (mut reader, mut writer) = connect(server).await;
        writer.send(bytes, usize::MAX).await;
        drop(writer);
        assert_eq!(reader.receive().await, ReceivedFrame::End);
    }
}
