//! Runs one case: the bytes to send and the expected response, for every fragmentation on the way.

use std::net::SocketAddr;

use super::client::{Said, close, connect};

/// The numbers of bytes per write: all at once, one by one, and an odd number.
const CUTS: [usize; 3] = [usize::MAX, 1, 7];
/// The length in bytes from which a message is not sent byte by byte.
const LONG: usize = 5_000;

/// Sends `bytes` and expects `responses`, for every cut. Unless that ends in a close frame, the
/// connection must still work: it is closed with 1000, the server answers (§5.5.1), and then the
/// server ends the stream (§7.1.1).
pub(super) async fn case(server: SocketAddr, what: &str, bytes: &[u8], responses: &[Said]) {
    for cut in CUTS
        .into_iter()
        .filter(|cut| *cut > 1_000 || bytes.len() < LONG)
    {
        let (mut reader, mut writer) = connect(server).await;
        let is_over = matches!(responses.last(), Some(Said::Close(_)));
        let all = if is_over {
            bytes.to_vec()
        } else {
            [bytes, &close(1000, b"")].concat()
        };
        let sending = async { writer.say(&all, cut).await };
        let receiving = async {
            for expected in responses {
                let received = reader.hear().await;
                assert!(
                    received == *expected,
                    "{what}, cut {cut}: {} instead of {}",
                    short(&received),
                    short(expected)
                );
            }
            if !is_over {
                assert_eq!(
                    reader.hear().await,
                    Said::Close(Some(1000)),
                    "{what}, cut {cut}"
                );
            }
            assert_eq!(reader.hear().await, Said::End, "{what}, cut {cut}");
        };
        tokio::join!(sending, receiving);
    }
}

/// Asserts that the connection ends with this code, whatever the server sent before.
pub(super) async fn fails(server: SocketAddr, what: &str, bytes: &[u8], code: u16) {
    case(server, what, bytes, &[Said::Close(Some(code))]).await;
}

fn short(message: &Said) -> String {
    format!("{message:?}").chars().take(120).collect()
}
