//! The packets to a client that wait for its transport.

use std::collections::VecDeque;

use latido_protocol::Frame;
use latido_socketio_protocol::engineio::{
    PayloadForm, PayloadRecord, Version, encode_payload, push_binary_frame,
};

/// A packet that waits for the transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OutPacket {
    /// An encoded packet with its type.
    Text(String),
    /// The bytes of a message, without a type.
    Binary(Box<[u8]>),
}

impl OutPacket {
    /// Returns the bytes of its content.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Encodes the packet as a WebSocket frame.
    pub(crate) fn into_frame(self, version: Version) -> Frame {
        match self {
            Self::Text(text) => Frame::text(&text),
            Self::Binary(bytes) => {
                let mut content = Vec::with_capacity(bytes.len() + 1);
                push_binary_frame(version, &bytes, &mut content);
                Frame::binary(&content)
            }
        }
    }
}

/// The body of the response to a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PollBody {
    /// The form, which determines the content type.
    pub(crate) form: PayloadForm,
    /// The encoded packets.
    pub(crate) bytes: Vec<u8>,
}

impl PollBody {
    /// Encodes packets, at least one.
    pub(super) fn encode(
        version: Version,
        supports_binary: bool,
        packets: &VecDeque<OutPacket>,
    ) -> Self {
        let records: Vec<_> = packets
            .iter()
            .map(|packet| match packet {
                OutPacket::Text(text) => PayloadRecord::Text(text),
                OutPacket::Binary(bytes) => PayloadRecord::Binary(bytes),
            })
            .collect();
        let mut bytes = Vec::new();
        let form = encode_payload(version, supports_binary, &records, &mut bytes);
        Self { form, bytes }
    }
}
