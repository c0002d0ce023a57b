//! The response to a poll: the packets that were waiting.

use std::fmt::Write as _;

use super::packet::{BINARY_MESSAGE, push_base64};
use super::payload::{BINARY_RECORD, LENGTH_END, SEPARATOR, TEXT_RECORD};
use super::version::Version;

/// A packet that waits for a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadRecord<'a> {
    /// An encoded packet with its type, as it is in a text frame.
    Text(&'a str),
    /// The bytes of a message, without a type.
    Binary(&'a [u8]),
}

/// The form of an encoded payload, which determines its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadForm {
    /// A text; bytes are base64.
    Text,
    /// The binary form of version 3.
    Binary,
}

impl PayloadForm {
    /// Returns the content type of the response.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=UTF-8",
            Self::Binary => "application/octet-stream",
        }
    }
}

/// Appends a payload of these packets, and returns its form.
///
/// `supports_binary` is false for a client of version 3 that sent `b64=1`. It has no effect in
/// version 4, in which bytes are always base64.
pub fn encode_payload(
    version: Version,
    supports_binary: bool,
    records: &[PayloadRecord<'_>],
    out: &mut Vec<u8>,
) -> PayloadForm {
    let has_bytes = records
        .iter()
        .any(|record| matches!(record, PayloadRecord::Binary(_)));
    if version == Version::V3 && supports_binary && has_bytes {
        for record in records {
            push_binary_record(record, out);
        }
        return PayloadForm::Binary;
    }
    let mut text = String::new();
    for (index, record) in records.iter().enumerate() {
        if version == Version::V4 && index > 0 {
            text.push(SEPARATOR);
        }
        push_text_record(version, record, &mut text);
    }
    if version == Version::V3 && records.is_empty() {
        text.push_str("0:");
    }
    out.extend_from_slice(text.as_bytes());
    PayloadForm::Text
}

fn push_text_record(version: Version, record: &PayloadRecord<'_>, out: &mut String) {
    let mut base64 = String::new();
    let packet = match *record {
        PayloadRecord::Text(text) => text,
        PayloadRecord::Binary(bytes) => {
            push_base64(version, bytes, &mut base64);
            &base64
        }
    };
    if version == Version::V3 {
        let length = if packet.is_ascii() {
            packet.len()
        } else {
            packet.encode_utf16().count()
        };
        // Writing to a String cannot fail.
        let _ = write!(out, "{length}:");
    }
    out.push_str(packet);
}

fn push_binary_record(record: &PayloadRecord<'_>, out: &mut Vec<u8>) {
    let (kind, message_type, bytes) = match *record {
        PayloadRecord::Text(text) => (TEXT_RECORD, None, text.as_bytes()),
        PayloadRecord::Binary(bytes) => (BINARY_RECORD, Some(BINARY_MESSAGE), bytes),
    };
    let length = bytes.len() + usize::from(message_type.is_some());
    out.push(kind);
    out.extend(length.to_string().bytes().map(|digit| digit - b'0'));
    out.push(LENGTH_END);
    out.extend(message_type);
    out.extend_from_slice(bytes);
}
