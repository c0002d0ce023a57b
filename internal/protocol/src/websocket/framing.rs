//! The frame reader: it turns the bytes of a socket into messages.
//!
//! An idle connection costs the 24 bytes of [`FrameReader`] and nothing else. The owner has one
//! read buffer for all its connections and lends slices of it. A frame that lies completely in a
//! slice is unmasked and returned in place. Only a part that is cut off at the end of a slice (the
//! start of a header, of a payload, or of a fragmented message) is kept, behind one pointer.

use std::borrow::Cow;

use crate::websocket::fragments::{CompleteMessage, FragmentBuffer};
use crate::websocket::header::{self, FrameHeader, MAX_HEADER_BYTES, Opcode};
use crate::websocket::mask;
use crate::websocket::protocol_error::ProtocolError;

/// A message from a client, borrowed from the chunk if possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WsMessage<'a> {
    /// A text message, reassembled if it came in fragments.
    Text(Cow<'a, str>),
    /// A binary message, reassembled if it came in fragments.
    Binary(Cow<'a, [u8]>),
    /// A ping. The server must reply with [`crate::websocket::pong_frame`] and the same payload.
    Ping(Cow<'a, [u8]>),
    /// A pong, solicited or not. It proves that the client is alive.
    Pong,
    /// A fragment of a message that more fragments follow, possibly an empty one. It says nothing
    /// yet, but it is work, so the owner counts it against the client's rate.
    Fragment,
    /// A close frame. The server must reply with [`crate::websocket::echo_close_frame`] and end the
    /// connection; the reader ignores later bytes.
    Close {
        /// A valid close code, or `None` if the frame was empty.
        code: Option<u16>,
        /// The client's reason, possibly empty, at most 123 bytes. It is untrusted input.
        reason: Cow<'a, str>,
    },
}

impl WsMessage<'_> {
    /// Returns the payload bytes of a data message, over all its fragments, or 0 for any other.
    pub fn data_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
            Self::Ping(_) | Self::Pong | Self::Fragment | Self::Close { .. } => 0,
        }
    }
}

/// The bytes of one read that are not parsed yet. It borrows the shared buffer.
#[derive(Debug)]
pub struct Chunk<'a>(&'a mut [u8]);

impl<'a> Chunk<'a> {
    /// Wraps the bytes of one read, which are unmasked in place.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self(bytes)
    }

    /// Returns whether all bytes are parsed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes at most `count` bytes from the front.
    fn take(&mut self, count: usize) -> &'a mut [u8] {
        let bytes = std::mem::take(&mut self.0);
        let (front, rest) = bytes.split_at_mut(count.min(bytes.len()));
        self.0 = rest;
        front
    }
}

/// The parser state of one connection; see the module's documentation.
#[derive(Debug)]
pub struct FrameReader {
    partial: Option<Box<PartialInput>>,
    max_message_bytes: u32,
    /// Set after a close frame or an error: later bytes are ignored (sections 5.5.1 and 7.1.7).
    is_ended: bool,
}

/// The state that must be kept between two chunks.
#[derive(Debug, Default)]
struct PartialInput {
    header: [u8; MAX_HEADER_BYTES],
    /// The number of bytes of an incomplete header.
    header_len: u8,
    /// The frame whose payload is arriving, and the number of payload bytes so far.
    frame: Option<(FrameHeader, usize)>,
    /// The payload of an incomplete control frame, at most 125 bytes.
    control: Vec<u8>,
    /// The data message in progress; control frames may come between its fragments.
    fragments: Option<FragmentBuffer>,
}

impl PartialInput {
    fn is_empty(&self) -> bool {
        self.header_len == 0 && self.frame.is_none() && self.fragments.is_none()
    }
}

impl FrameReader {
    /// Creates a reader that rejects messages of more than `max_message_bytes`, over all fragments.
    pub fn new(max_message_bytes: u32) -> Self {
        Self {
            partial: None,
            max_message_bytes,
            is_ended: false,
        }
    }

    /// Changes the largest message. A message in progress is checked at its next frame.
    pub fn set_max_message_bytes(&mut self, max_message_bytes: u32) {
        self.max_message_bytes = max_message_bytes;
    }

    /// Returns the next message or fragment in `chunk`, or `None` once the chunk is used up.
    ///
    /// After a close frame or an error, all further bytes are discarded.
    ///
    /// # Errors
    ///
    /// Fails at the first byte that violates the protocol or exceeds the size limit.
    pub fn next<'a>(
        &mut self,
        chunk: &mut Chunk<'a>,
    ) -> Result<Option<WsMessage<'a>>, ProtocolError> {
        if self.is_ended {
            chunk.take(usize::MAX);
            return Ok(None);
        }
        let result = self.advance(chunk);
        if matches!(result, Err(_) | Ok(Some(WsMessage::Close { .. }))) {
            self.is_ended = true;
            self.partial = None;
        }
        if self
            .partial
            .as_ref()
            .is_some_and(|partial| partial.is_empty())
        {
            self.partial = None;
        }
        result
    }

    /// Returns the heap memory of this connection in bytes, which is zero when it is idle.
    pub fn memory_bytes(&self) -> usize {
        let Some(partial) = &self.partial else {
            return 0;
        };
        let message = partial
            .fragments
            .as_ref()
            .map_or(0, FragmentBuffer::capacity);
        size_of::<PartialInput>() + partial.control.capacity() + message
    }

    fn advance<'a>(
        &mut self,
        chunk: &mut Chunk<'a>,
    ) -> Result<Option<WsMessage<'a>>, ProtocolError> {
        let Some((header, got)) = self.next_frame(chunk)? else {
            return Ok(None);
        };
        let left = usize::try_from(header.len).unwrap_or(usize::MAX) - got;
        let piece = chunk.take(left);
        mask::apply(piece, header.mask, got);
        let complete = piece.len() == left;
        if complete && got == 0 && self.is_complete_message(header) {
            return complete_message(header.opcode, Cow::Borrowed(piece)).map(Some);
        }
        // If the header ends exactly at the end of the chunk, there is nothing to keep, and the
        // payload may still arrive in one piece.
        if complete || !piece.is_empty() {
            self.buffer(header, piece)?;
        }
        if !complete {
            self.partial().frame = Some((header, got + piece.len()));
            return Ok(None);
        }
        self.finish_frame(header).map(Some)
    }

    /// Returns the current frame, either in progress or starting in `chunk`, with the number of
    /// payload bytes seen so far.
    fn next_frame(
        &mut self,
        chunk: &mut Chunk<'_>,
    ) -> Result<Option<(FrameHeader, usize)>, ProtocolError> {
        if let Some(frame) = self
            .partial
            .as_mut()
            .and_then(|partial| partial.frame.take())
        {
            return Ok(Some(frame));
        }
        let Some(header) = self.next_header(chunk)? else {
            return Ok(None);
        };
        self.check_header(header)?;
        Ok(Some((header, 0)))
    }

    fn next_header(&mut self, chunk: &mut Chunk<'_>) -> Result<Option<FrameHeader>, ProtocolError> {
        let kept = self
            .partial
            .as_ref()
            .map_or(0, |partial| usize::from(partial.header_len));
        if kept == 0 {
            if let Some((header, used)) = header::parse(chunk.0)? {
                chunk.take(used);
                return Ok(Some(header));
            }
            if chunk.is_empty() {
                return Ok(None);
            }
        }
        // The header is cut off: it is read byte by byte, which happens at most once per chunk.
        let partial = self.partial();
        while let [byte] = chunk.take(1) {
            let at = usize::from(partial.header_len);
            partial.header[at] = *byte;
            partial.header_len += 1;
            if let Some((header, _)) = header::parse(&partial.header[..=at])? {
                partial.header_len = 0;
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Checks the header against the state of the message (section 5.4) and against the size limit.
    fn check_header(&self, header: FrameHeader) -> Result<(), ProtocolError> {
        if header.opcode.is_control() {
            return Ok(());
        }
        let message = self
            .partial
            .as_ref()
            .and_then(|partial| partial.fragments.as_ref());
        match (header.opcode, message) {
            (Opcode::Continuation, None) => {
                return Err(ProtocolError::Violation("a continuation of nothing"));
            }
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(ProtocolError::Violation(
                    "a new message before the last fragment of the one before",
                ));
            }
            _ => {}
        }
        let so_far = message.map_or(0, FragmentBuffer::len) as u64;
        if so_far.saturating_add(header.len) > u64::from(self.max_message_bytes) {
            return Err(ProtocolError::TooBig);
        }
        Ok(())
    }

    /// Returns whether a frame that lies completely in the chunk is a message on its own.
    fn is_complete_message(&self, header: FrameHeader) -> bool {
        header.opcode.is_control() || (header.fin && header.opcode != Opcode::Continuation)
    }

    fn buffer(&mut self, header: FrameHeader, piece: &[u8]) -> Result<(), ProtocolError> {
        let max_bytes = self.max_message_bytes as usize;
        let partial = self.partial();
        if header.opcode.is_control() {
            partial.control.extend_from_slice(piece);
            return Ok(());
        }
        let message = partial
            .fragments
            .get_or_insert_with(|| FragmentBuffer::new(header.opcode == Opcode::Text));
        message.push(piece, max_bytes)
    }

    /// Completes a frame that arrived in several pieces, or a fragment.
    fn finish_frame(&mut self, header: FrameHeader) -> Result<WsMessage<'static>, ProtocolError> {
        let partial = self.partial();
        if header.opcode.is_control() {
            let payload = std::mem::take(&mut partial.control);
            return complete_message(header.opcode, Cow::Owned(payload));
        }
        let message = header.fin.then(|| partial.fragments.take()).flatten();
        let complete = message.map(FragmentBuffer::finish).transpose()?;
        Ok(match complete {
            Some(CompleteMessage::Text(text)) => WsMessage::Text(Cow::Owned(text)),
            Some(CompleteMessage::Binary(bytes)) => WsMessage::Binary(Cow::Owned(bytes)),
            None => WsMessage::Fragment,
        })
    }

    fn partial(&mut self) -> &mut PartialInput {
        self.partial.get_or_insert_default()
    }
}

fn complete_message(
    opcode: Opcode,
    payload: Cow<'_, [u8]>,
) -> Result<WsMessage<'_>, ProtocolError> {
    Ok(match opcode {
        Opcode::Text => WsMessage::Text(utf8(payload)?),
        Opcode::Binary | Opcode::Continuation => WsMessage::Binary(payload),
        Opcode::Ping => WsMessage::Ping(payload),
        Opcode::Pong => WsMessage::Pong,
        Opcode::Close => return parse_close(payload),
    })
}

fn utf8(payload: Cow<'_, [u8]>) -> Result<Cow<'_, str>, ProtocolError> {
    match payload {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes)
            .map(Cow::Borrowed)
            .map_err(|_| ProtocolError::InvalidUtf8),
        Cow::Owned(bytes) => String::from_utf8(bytes)
            .map(Cow::Owned)
            .map_err(|_| ProtocolError::InvalidUtf8),
    }
}

fn parse_close(payload: Cow<'_, [u8]>) -> Result<WsMessage<'_>, ProtocolError> {
    let Some(code) = payload.first_chunk() else {
        return match payload.len() {
            0 => Ok(WsMessage::Close {
                code: None,
                reason: Cow::Borrowed(""),
            }),
            _ => Err(ProtocolError::Violation("a close frame with half a code")),
        };
    };
    let code = u16::from_be_bytes(*code);
    if !is_valid_close_code(code) {
        return Err(ProtocolError::Violation(
            "a close code that must not be sent",
        ));
    }
    let reason = match payload {
        Cow::Borrowed(bytes) => Cow::Borrowed(bytes.get(2..).unwrap_or_default()),
        Cow::Owned(bytes) => Cow::Owned(bytes.get(2..).unwrap_or_default().to_vec()),
    };
    Ok(WsMessage::Close {
        code: Some(code),
        reason: utf8(reason)?,
    })
}

/// Returns whether a code is allowed in a close frame: those of section 7.4.1, later ones of the
/// IANA registry, and the ranges of section 7.4.2.
fn is_valid_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
