//! The counting of WebSocket frames, as the shards do it.

use latido_protocol::websocket::{Chunk, FrameReader, WsMessage};
use latido_session::{MessageRateLimit, RateDecision, SessionLimits, message_cost};

const MESSAGE_BYTES: u32 = 512;
/// The messages that a client may send at once.
const BURST: u32 = 20;

/// Reads frames within one second, and counts them against the limit of messages. Every complete
/// frame must count, whatever it contains, so that no client sends more than twice the burst.
pub fn frame_rate(bytes: &[u8]) {
    let limits = SessionLimits {
        messages_per_second: BURST,
        message_burst: BURST,
        ..SessionLimits::default()
    };
    let mut limit = MessageRateLimit::new(&limits, 0);
    let mut reader = FrameReader::new(MESSAGE_BYTES);
    let mut input = bytes.to_vec();
    let mut chunk = Chunk::new(&mut input);
    let mut counted = 0;
    loop {
        match reader.next(&mut chunk) {
            Ok(None) => break assert_eq!(counted, complete_frames(bytes), "each frame counts"),
            Ok(Some(WsMessage::Close { .. })) | Err(_) => return,
            Ok(Some(message)) => {
                counted += 1;
                let cost = message_cost(message.data_bytes());
                if limit.check(&limits, cost, 0) == RateDecision::Disconnect {
                    break;
                }
            }
        }
    }
    assert!(counted <= 2 * BURST as usize + 1, "{counted}");
}

/// Counts the complete frames by their headers alone (RFC 6455, section 5.2).
fn complete_frames(mut bytes: &[u8]) -> usize {
    let mut frames = 0;
    while let Some(rest) = after_frame(bytes) {
        (bytes, frames) = (rest, frames + 1);
    }
    frames
}

fn after_frame(bytes: &[u8]) -> Option<&[u8]> {
    const MASK_BYTES: usize = 4;
    let (second, rest) = (bytes.get(1)? & 0x7f, bytes.get(2..)?);
    let (length, rest) = match second {
        126 => {
            let (length, rest) = rest.split_first_chunk()?;
            (u64::from(u16::from_be_bytes(*length)), rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk()?;
            (u64::from_be_bytes(*length), rest)
        }
        short => (short.into(), rest),
    };
    let frame = usize::try_from(length).ok()?.checked_add(MASK_BYTES)?;
    rest.get(frame..)
}
