//! The body of a polling request: several packets.
//!
//! Version 4 separates the packets by a control character. Version 3 puts the length of each packet
//! before it: in UTF-16 code units in a text, and in bytes in a binary body.

use super::packet::{Packet, PacketError};
use super::version::Version;

/// The separator of packets in version 4.
pub(super) const SEPARATOR: char = '\u{1e}';
/// The end of a length in a binary payload of version 3.
pub(super) const LENGTH_END: u8 = 255;
/// The first byte of a text record in a binary payload of version 3.
pub(super) const TEXT_RECORD: u8 = 0;
/// The first byte of a binary record in a binary payload of version 3.
pub(super) const BINARY_RECORD: u8 = 1;
/// The longest length of a packet, in decimal digits.
const MAX_LENGTH_DIGITS: usize = 10;

/// The body of a request, by its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadBody<'a> {
    /// A text of any content type except `application/octet-stream`.
    Text(&'a str),
    /// A body of type `application/octet-stream`. Only version 3 has it.
    Binary(&'a [u8]),
}

/// The limits of one payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadLimits {
    /// The maximum number of packets.
    pub packets: usize,
    /// The maximum length of the body, in bytes.
    pub bytes: usize,
}

/// The reason why a payload is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The body is longer than the limit.
    #[error("a payload that is too long")]
    TooLong,
    /// The body has more packets than the limit.
    #[error("a payload of too many packets")]
    TooManyPackets,
    /// The body is binary, which version 4 does not allow.
    #[error("a binary payload in version 4")]
    BinaryBody,
    /// The length of a packet is missing or is not a number.
    #[error("an invalid packet length")]
    Length,
    /// The body ends before a packet does, or a length ends inside a character.
    #[error("a packet that is cut off")]
    Truncated,
    /// A text in a binary payload is not UTF-8.
    #[error("a text that is not UTF-8")]
    NotUtf8,
    /// A packet is invalid.
    #[error(transparent)]
    Packet(#[from] PacketError),
}

/// Reads the packets of a payload one by one.
///
/// # Errors
/// Returns an error if the body is longer than the limit or has the wrong form for the version.
pub fn decode_payload<'a>(
    version: Version,
    body: PayloadBody<'a>,
    limits: &PayloadLimits,
) -> Result<PayloadPackets<'a>, PayloadError> {
    let (bytes, rest) = match (version, body) {
        (Version::V4, PayloadBody::Text(text)) => (text.len(), Rest::Separated(text)),
        (Version::V4, PayloadBody::Binary(_)) => return Err(PayloadError::BinaryBody),
        (Version::V3, PayloadBody::Text("")) => return Err(PayloadError::Length),
        (Version::V3, PayloadBody::Text(text)) => (text.len(), Rest::Counted(text)),
        (Version::V3, PayloadBody::Binary(bytes)) => (bytes.len(), Rest::Binary(bytes)),
    };
    if bytes > limits.bytes {
        return Err(PayloadError::TooLong);
    }
    Ok(PayloadPackets {
        version,
        rest,
        packets_left: limits.packets,
    })
}

/// The packets of a payload. The iterator ends after the first error.
#[derive(Debug, Clone)]
pub struct PayloadPackets<'a> {
    version: Version,
    rest: Rest<'a>,
    packets_left: usize,
}

/// The part of a body that was not read yet.
#[derive(Debug, Clone, Copy)]
enum Rest<'a> {
    /// A record of version 4, and perhaps more behind separators.
    Separated(&'a str),
    /// Lengths and packets of version 3.
    Counted(&'a str),
    /// Binary lengths and packets of version 3.
    Binary(&'a [u8]),
    /// Nothing: the body was read, or an error was found.
    Done,
}

/// One record of a payload, before its packet is read.
enum Record<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

impl<'a> Iterator for PayloadPackets<'a> {
    type Item = Result<Packet<'a>, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.read();
        if matches!(result, Some(Err(_))) {
            self.rest = Rest::Done;
        }
        result
    }
}

impl<'a> PayloadPackets<'a> {
    fn read(&mut self) -> Option<Result<Packet<'a>, PayloadError>> {
        let record = match self.take_record() {
            Ok(record) => record?,
            Err(error) => return Some(Err(error)),
        };
        let Some(left) = self.packets_left.checked_sub(1) else {
            return Some(Err(PayloadError::TooManyPackets));
        };
        self.packets_left = left;
        let packet = match record {
            Record::Text(text) => Packet::from_text(self.version, text),
            Record::Binary(bytes) => Packet::from_binary(self.version, bytes),
        };
        Some(packet.map_err(PayloadError::Packet))
    }

    fn take_record(&mut self) -> Result<Option<Record<'a>>, PayloadError> {
        match self.rest {
            Rest::Separated(text) => {
                let (record, rest) = match text.split_once(SEPARATOR) {
                    Some((record, rest)) => (record, Rest::Separated(rest)),
                    None => (text, Rest::Done),
                };
                self.rest = rest;
                Ok(Some(Record::Text(record)))
            }
            Rest::Counted("" | "0:") | Rest::Binary([]) | Rest::Done => {
                self.rest = Rest::Done;
                Ok(None)
            }
            Rest::Counted(text) => {
                let (record, rest) = split_counted(text)?;
                self.rest = Rest::Counted(rest);
                Ok(Some(Record::Text(record)))
            }
            Rest::Binary(bytes) => {
                let (record, rest) = split_binary(bytes)?;
                self.rest = Rest::Binary(rest);
                Ok(Some(record))
            }
        }
    }
}

/// Splits `<length in UTF-16 code units>:<packet>` from the start of a text.
fn split_counted(text: &str) -> Result<(&str, &str), PayloadError> {
    let (digits, rest) = text.split_once(':').ok_or(PayloadError::Length)?;
    let is_number = (1..=MAX_LENGTH_DIGITS).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    let length = match digits.parse::<usize>() {
        Ok(length) if is_number => length,
        _ => return Err(PayloadError::Length),
    };
    let end = utf16_end(rest, length).ok_or(PayloadError::Truncated)?;
    Ok(rest.split_at(end))
}

/// Returns the byte position after `length` UTF-16 code units. Returns `None` if the text is
/// shorter, or if the position is inside a character.
fn utf16_end(text: &str, length: usize) -> Option<usize> {
    // In ASCII, which is the usual case, a code unit is a byte.
    if text.get(..length).is_some_and(str::is_ascii) {
        return Some(length);
    }
    let mut left = length;
    for (at, character) in text.char_indices() {
        if left == 0 {
            return Some(at);
        }
        left = left.checked_sub(character.len_utf16())?;
    }
    (left == 0).then_some(text.len())
}

/// Splits a record from the start of a binary payload: its kind, the digits of its length in bytes,
/// 255, and the packet.
fn split_binary(bytes: &[u8]) -> Result<(Record<'_>, &[u8]), PayloadError> {
    let (kind, rest) = bytes.split_first().ok_or(PayloadError::Length)?;
    let digits = rest
        .iter()
        .take(MAX_LENGTH_DIGITS + 1)
        .position(|byte| *byte == LENGTH_END)
        .filter(|digits| *digits > 0)
        .ok_or(PayloadError::Length)?;
    let (digits, rest) = rest.split_at(digits);
    let length = digits.iter().try_fold(0_usize, |length, digit| {
        let digit = Some(*digit).filter(|digit| *digit <= 9)?;
        length.checked_mul(10)?.checked_add(usize::from(digit))
    });
    let length = length.ok_or(PayloadError::Length)?;
    let (record, rest) = rest
        .get(1..)
        .and_then(|rest| rest.split_at_checked(length))
        .ok_or(PayloadError::Truncated)?;
    let record = match *kind {
        TEXT_RECORD => {
            Record::Text(std::str::from_utf8(record).map_err(|_| PayloadError::NotUtf8)?)
        }
        BINARY_RECORD => Record::Binary(record),
        _ => return Err(PayloadError::Length),
    };
    Ok((record, rest))
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
