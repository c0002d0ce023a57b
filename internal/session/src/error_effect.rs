//! The effects by which a session reports an error to its client.

use crate::SessionEffect;
use latido_protocol::{ErrorCode, ServerReply, native};
use latido_stream::ChannelError;

pub(crate) fn error(code: ErrorCode, message: String, channel: Option<String>) -> SessionEffect {
    SessionEffect::Reply(ServerReply::Error {
        code,
        message,
        channel,
    })
}

pub(crate) fn forbidden(name: String) -> SessionEffect {
    error(
        ErrorCode::Forbidden,
        native::FORBIDDEN_MESSAGE.into(),
        Some(name),
    )
}

pub(crate) fn error_code(reason: &ChannelError) -> ErrorCode {
    match reason {
        ChannelError::Unknown { .. } => ErrorCode::UnknownChannel,
        ChannelError::InvalidKey(_) => ErrorCode::InvalidKey,
        ChannelError::NotReady | ChannelError::Broken => ErrorCode::Unavailable,
    }
}
