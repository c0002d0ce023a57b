//! The fuzz target of the channel session.

use uuid::Uuid;

use crate::api_version::ClientApiVersion;
use crate::channels::effect::{ChannelEffect, OperationError};
use crate::channels::session::{ChannelSession, MAX_CHANNELS, MAX_QUEUED};
use latido_protocol::phoenix::SerializerVersion;

/// Feeds one frame per line to a socket, text and binary, and checks its limits (fuzzing).
pub fn fuzz_channel_session(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else {
        return;
    };
    let (user, vsn) = (
        Uuid::from_u128(1),
        if *first == b'2' {
            SerializerVersion::V2
        } else {
            SerializerVersion::V1
        },
    );
    let (mut socket, mut effects) = (
        ChannelSession::new(user, vsn, ClientApiVersion::Current),
        Vec::new(),
    );
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        match std::str::from_utf8(line) {
            Ok(text) => socket.on_text(text, 0, &mut effects),
            Err(_) => socket.on_binary(line, 0, &mut effects),
        }
        if number % 3 == 0 {
            socket.on_result(Err(OperationError::Unavailable), 0, &mut effects);
        }
        let executed = effects
            .iter()
            .filter(|effect| matches!(effect, ChannelEffect::Execute(_)))
            .count();
        assert!(executed <= 2 && usize::from(socket.in_flight.is_some()) <= executed + 1);
        assert!(socket.queued.len() <= MAX_QUEUED && socket.channels.len() <= MAX_CHANNELS);
        effects.clear();
    }
}
