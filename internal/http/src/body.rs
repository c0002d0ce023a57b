//! Reading a request's body within limits.

use bytes::Buf;
use futures_util::{Stream, StreamExt as _};

/// The part of an oversize body that is read and thrown away, in bytes. Closing while the client
/// still sends would reset the connection, and the client would see an error instead of the
/// response.
const MAX_DISCARDED_BYTES: usize = 1024 * 1024;

/// The reason a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyReadError {
    #[error("too large")]
    TooLarge,
    /// The client disconnected, or its chunks were malformed.
    #[error("incomplete")]
    Incomplete,
}

/// Collects a body of at most `limit` bytes.
pub(super) async fn collect_body<B: Buf, E>(
    body: impl Stream<Item = Result<B, E>>,
    limit: usize,
) -> Result<Vec<u8>, BodyReadError> {
    let mut body = std::pin::pin!(body);
    let (mut collected, mut received) = (Vec::new(), 0_usize);
    while let Some(piece) = body.next().await {
        let mut piece = piece.map_err(|_| BodyReadError::Incomplete)?;
        received = received.saturating_add(piece.remaining());
        if received > limit.saturating_add(MAX_DISCARDED_BYTES) {
            return Err(BodyReadError::TooLarge);
        }
        if received <= limit {
            collected.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
        }
    }
    if received > limit {
        Err(BodyReadError::TooLarge)
    } else {
        Ok(collected)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;

    use super::*;

    fn pieces(count: usize, len: usize) -> impl Stream<Item = Result<Bytes, std::fmt::Error>> {
        stream::iter((0..count).map(move |_| Ok(Bytes::from(vec![b'x'; len]))))
    }

    #[tokio::test]
    async fn limit_counts_all_pieces() {
        assert_eq!(
            collect_body(pieces(4, 4), 16).await.map(|b| b.len()),
            Ok(16)
        );
        assert_eq!(
            collect_body(pieces(4, 4), 15).await,
            Err(BodyReadError::TooLarge)
        );
        assert_eq!(collect_body(pieces(0, 0), 0).await, Ok(vec![]));
        let broken = pieces(1, 1).chain(stream::iter([Err(std::fmt::Error)]));
        assert_eq!(
            collect_body(broken, 15).await,
            Err(BodyReadError::Incomplete)
        );
    }

    #[tokio::test]
    async fn endless_body_is_not_read_to_its_end() {
        assert_eq!(
            collect_body(pieces(usize::MAX, 64 * 1024), 16).await,
            Err(BodyReadError::TooLarge)
        );
    }
}
