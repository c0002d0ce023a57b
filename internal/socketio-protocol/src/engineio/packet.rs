//! One packet, as it is in a WebSocket frame or in a record of a payload.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::version::Version;

/// The type byte of a message in the binary frames of version 3.
pub(super) const BINARY_MESSAGE: u8 = 4;

/// Base64 with or without padding: the reference parser also accepts both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A packet of Engine.IO. Texts borrow from the frame or payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The parameters of a new session as JSON, from the server.
    Open(&'a str),
    /// The end of the session.
    Close,
    /// A heartbeat or a probe (`probe`). The answer repeats the text.
    Ping(&'a str),
    /// The answer to a ping, with its text.
    Pong(&'a str),
    /// A message of text.
    Text(&'a str),
    /// A message of bytes. They are borrowed unless they were base64.
    Binary(Cow<'a, [u8]>),
    /// The end of polling, after a successful probe.
    Upgrade,
    /// No content: it releases a waiting poll.
    Noop,
}

/// The reason why a packet is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// The packet has no type.
    #[error("an empty packet")]
    Empty,
    /// The type is not between 0 and 6.
    #[error("an unknown packet type")]
    UnknownType,
    /// The packet has bytes and is not a message.
    #[error("a binary packet that is not a message")]
    BinaryType,
    /// The bytes of a message are not valid base64.
    #[error("invalid base64")]
    Base64,
}

impl<'a> Packet<'a> {
    /// Reads a packet from a text frame. Text after a type without content is ignored, as in the
    /// reference parser.
    ///
    /// # Errors
    /// Returns an error if the type is missing or unknown, or if the base64 of bytes is invalid.
    pub fn from_text(version: Version, text: &'a str) -> Result<Self, PacketError> {
        let kind = *text.as_bytes().first().ok_or(PacketError::Empty)?;
        let content = text.get(1..).ok_or(PacketError::UnknownType)?;
        Ok(match kind {
            b'0' => Self::Open(content),
            b'1' => Self::Close,
            b'2' => Self::Ping(content),
            b'3' => Self::Pong(content),
            b'4' => Self::Text(content),
            b'5' => Self::Upgrade,
            b'6' => Self::Noop,
            b'b' => Self::from_base64(version, content)?,
            _ => return Err(PacketError::UnknownType),
        })
    }

    /// Reads a packet from a binary frame: the bytes of a message, which version 3 puts after the
    /// type.
    ///
    /// # Errors
    /// Returns an error if a packet of version 3 is empty or not a message.
    pub fn from_binary(version: Version, bytes: &'a [u8]) -> Result<Self, PacketError> {
        match (version, bytes) {
            (Version::V4, bytes) | (Version::V3, [BINARY_MESSAGE, bytes @ ..]) => {
                Ok(Self::Binary(Cow::Borrowed(bytes)))
            }
            (Version::V3, []) => Err(PacketError::Empty),
            (Version::V3, [0..=6, ..]) => Err(PacketError::BinaryType),
            (Version::V3, _) => Err(PacketError::UnknownType),
        }
    }

    fn from_base64(version: Version, content: &'a str) -> Result<Self, PacketError> {
        let encoded = match version {
            Version::V4 => content,
            Version::V3 => content.strip_prefix('4').ok_or(PacketError::BinaryType)?,
        };
        let bytes = BASE64.decode(encoded).map_err(|_| PacketError::Base64)?;
        Ok(Self::Binary(Cow::Owned(bytes)))
    }

    /// Appends the packet as text. Bytes become base64; [`push_binary_frame`] keeps them.
    pub fn push_text(&self, version: Version, out: &mut String) {
        let (kind, content) = match self {
            Self::Open(parameters) => ('0', *parameters),
            Self::Close => ('1', ""),
            Self::Ping(content) => ('2', *content),
            Self::Pong(content) => ('3', *content),
            Self::Text(text) => ('4', *text),
            Self::Upgrade => ('5', ""),
            Self::Noop => ('6', ""),
            Self::Binary(bytes) => return push_base64(version, bytes, out),
        };
        out.push(kind);
        out.push_str(content);
    }
}

/// Appends the type of a text message. The text follows in the same buffer.
pub fn begin_message(out: &mut String) {
    out.push('4');
}

/// Appends the content of the binary frame for a message of bytes.
pub fn push_binary_frame(version: Version, bytes: &[u8], out: &mut Vec<u8>) {
    if version == Version::V3 {
        out.push(BINARY_MESSAGE);
    }
    out.extend_from_slice(bytes);
}

/// Appends a message of bytes as text.
pub(super) fn push_base64(version: Version, bytes: &[u8], out: &mut String) {
    out.push_str(match version {
        Version::V3 => "b4",
        Version::V4 => "b",
    });
    BASE64.encode_string(bytes, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use Version::{V3, V4};

    const BYTES: &[u8] = &[1, 2, 3, 4];

    #[test]
    fn texts_of_both_versions_are_those_of_the_reference_parser() {
        let common = [
            ("4hello", Packet::Text("hello")),
            ("4€", Packet::Text("€")),
            ("4😀a", Packet::Text("😀a")),
            ("4", Packet::Text("")),
            ("2", Packet::Ping("")),
            ("2probe", Packet::Ping("probe")),
            ("3probe", Packet::Pong("probe")),
            ("0{}", Packet::Open("{}")),
            ("6", Packet::Noop),
            ("1", Packet::Close),
            ("5", Packet::Upgrade),
        ];
        for (text, packet) in common {
            for version in [V3, V4] {
                assert_eq!(Packet::from_text(version, text), Ok(packet.clone()));
                let mut encoded = String::new();
                packet.push_text(version, &mut encoded);
                assert_eq!(encoded, text);
            }
        }
    }

    #[test]
    fn bytes_are_frames_or_base64() {
        let packet = Packet::Binary(BYTES.into());
        for (version, frame, base64, unpadded) in [
            (V3, &[4, 1, 2, 3, 4][..], "b4AQIDBA==", "b4AQIDBA"),
            (V4, BYTES, "bAQIDBA==", "bAQIDBA"),
        ] {
            assert_eq!(Packet::from_binary(version, frame), Ok(packet.clone()));
            assert_eq!(Packet::from_text(version, base64), Ok(packet.clone()));
            assert_eq!(Packet::from_text(version, unpadded), Ok(packet.clone()));
            let (mut bytes, mut text) = (Vec::new(), String::new());
            push_binary_frame(version, BYTES, &mut bytes);
            packet.push_text(version, &mut text);
            assert_eq!((&*bytes, &*text), (frame, base64));
        }
    }

    #[test]
    fn invalid_packets_are_refused() {
        for (version, text, error) in [
            (V4, "", PacketError::Empty),
            (V3, "", PacketError::Empty),
            (V4, "7", PacketError::UnknownType),
            (V4, "a", PacketError::UnknownType),
            (V4, "€", PacketError::UnknownType),
            (V4, "\u{1e}", PacketError::UnknownType),
            (V4, "b!!", PacketError::Base64),
            (V3, "b", PacketError::BinaryType),
            (V3, "b2AQ==", PacketError::BinaryType),
            (V3, "b4A", PacketError::Base64),
        ] {
            assert_eq!(Packet::from_text(version, text), Err(error), "{text}");
        }
        for (bytes, error) in [
            (&b""[..], PacketError::Empty),
            (&[2], PacketError::BinaryType),
            (b"4a", PacketError::UnknownType),
        ] {
            assert_eq!(Packet::from_binary(V3, bytes), Err(error), "{bytes:?}");
        }
        assert!(Packet::from_binary(V4, b"").is_ok());
    }
}
