//! Runs one case: the bytes to send and the expected response, for every fragmentation on the way.

use std::net::SocketAddr;

use super::client::{ReceivedFrame, close, connect};

/// The numbers of bytes per write: all at once, one by one, and an odd number.
const WRITE_SIZES: [usize; 3] = [usize::MAX, 1, 7];
/// The length in bytes from which a message is not sent byte by byte.
const LONG_MESSAGE_BYTES: usize = 5_000;

/// Sends `bytes` and expects `responses`, for every cut. Unless that ends in a close frame, the
/// connection must still work: it is closed with 1000, the server answers (§5.5.1), and then the
/// server ends the stream (§7.1.1).
pub(super) async fn check_case(
    server: SocketAddr,
    what: &str,
    bytes: &[u8],
    responses: &[ReceivedFrame],
) {
    for cut in WRITE_SIZES
        .into_iter()
        .filter(|cut| *cut > 1_000 || bytes.len() < LONG_MESSAGE_BYTES)
    {
        let (mut reader, mut writer) = connect(server).await;
        let is_over = matches!(responses.last(), Some(ReceivedFrame::Close(_)));
        let all = if is_over {
            bytes.to_vec()
        } else {
            [bytes, &close(1000, b"")].concat()
        };
        let sending = async { writer.send(&all, cut).await };
        let receiving = async {
            for expected in responses {
                let received = reader.receive().await;
                assert!(
                    received == *expected,
                    "{what}, cut {cut}: {} instead of {}",
                    shorten(&received),
                    shorten(expected)
                );
            }
            if !is_over {
                assert_eq!(
                    reader.receive().await,
                    ReceivedFrame::Close(Some(1000)),
                    "{what}, cut {cut}"
                );
            }
            assert_eq!(
                reader.receive().await,
                ReceivedFrame::End,
                "{what}, cut {cut}"
            );
        };
        tokio::join!(sending, receiving);
    }
}

/// Asserts that the connection ends with this code, whatever the server sent before.
pub(super) async fn check_failure(server: SocketAddr, what: &str, bytes: &[u8], code: u16) {
    check_case(server, what, bytes, &[ReceivedFrame::Close(Some(code))]).await;
}

fn shorten(message: &ReceivedFrame) -> String {
    format!("{message:?}").chars().take(120).collect()
}
