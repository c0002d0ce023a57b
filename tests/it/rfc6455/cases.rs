//! A case: what is sent, and what must come back, however it is cut on its way.

use std::net::SocketAddr;

use super::client::{Said, close, connect};

/// Bytes at a time: all, one by one, and an odd number.
const CUTS: [usize; 3] = [usize::MAX, 1, 7];
/// Longer ones are not sent byte by byte.
const LONG: usize = 5_000;

/// Sends `bytes` and expects `said`, under every cut. Unless that ends in a close frame, the connection must still be good: it is
/// closed with 1000, which is answered (§5.5.1), and then the server ends the stream (§7.1.1).
pub(super) async fn case(server: SocketAddr, what: &str, bytes: &[u8], said: &[Said]) {
    for cut in CUTS
        .into_iter()
        .filter(|cut| *cut > 1_000 || bytes.len() < LONG)
    {
        let (mut ears, mut mouth) = connect(server).await;
        let is_over = matches!(said.last(), Some(Said::Close(_)));
        let all = if is_over {
            bytes.to_vec()
        } else {
            [bytes, &close(1000, b"")].concat()
        };
        let speaking = async { mouth.say(&all, cut).await };
        let hearing = async {
            for expected in said {
                let heard = ears.hear().await;
                assert!(
                    heard == *expected,
                    "{what}, cut {cut}: {} instead of {}",
                    short(&heard),
                    short(expected)
                );
            }
            if !is_over {
                assert_eq!(
                    ears.hear().await,
                    Said::Close(Some(1000)),
                    "{what}, cut {cut}"
                );
            }
            assert_eq!(ears.hear().await, Said::End, "{what}, cut {cut}");
        };
        tokio::join!(speaking, hearing);
    }
}

/// The connection must end with this code, after what stands before it.
pub(super) async fn fails(server: SocketAddr, what: &str, bytes: &[u8], code: u16) {
    case(server, what, bytes, &[Said::Close(Some(code))]).await;
}

fn short(said: &Said) -> String {
    format!("{said:?}").chars().take(120).collect()
}
