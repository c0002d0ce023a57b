//! Packets with attachments, which arrive in several messages.

use serde_json::Value;

use super::attachments::{check_placeholders, placeholder_index};
use super::decode::{DecodeError, decode};
use super::packet::{PacketContent, SocketPacket};

/// The limits of one packet with attachments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssemblyLimits {
    /// The maximum number of attachments. The reference server allows 10.
    pub attachments: usize,
    /// The maximum length of the text and the attachments together, in bytes.
    pub bytes: usize,
}

/// Gathers the attachments of one connection's packets. Without an incomplete packet, it has no
/// heap memory.
#[derive(Debug, Default)]
pub struct Assembler(Option<Box<IncompletePacket>>);

#[derive(Debug)]
struct IncompletePacket {
    packet: BinaryPacket,
    /// The number of attachments that are still missing; at least 1.
    missing: usize,
    bytes: usize,
}

/// A packet with all its attachments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinaryPacket {
    text: Box<str>,
    attachments: Vec<Box<[u8]>>,
}

impl Assembler {
    /// Reads a text message. Returns `None` if attachments must follow.
    ///
    /// # Errors
    /// Returns an error if the text is no packet, exceeds a limit, or arrives before all
    /// attachments of another packet. The connection must then be closed.
    pub fn on_text<'a>(
        &mut self,
        text: &'a str,
        limits: &AssemblyLimits,
    ) -> Result<Option<SocketPacket<'a>>, DecodeError> {
        if self.0.take().is_some() {
            return Err(DecodeError::UnexpectedText);
        }
        let packet = decode(text)?;
        let missing = packet.content.attachments();
        if missing == 0 {
            return Ok(Some(packet));
        }
        if missing > limits.attachments {
            return Err(DecodeError::TooManyAttachments);
        }
        if text.len() > limits.bytes {
            return Err(DecodeError::TooManyBytes);
        }
        self.0 = Some(Box::new(IncompletePacket {
            packet: BinaryPacket {
                text: text.into(),
                attachments: Vec::new(),
            },
            missing,
            bytes: text.len(),
        }));
        Ok(None)
    }

    /// Reads a message of bytes. Returns the packet when its last attachment has arrived.
    ///
    /// # Errors
    /// Returns an error if no attachment is expected, if the packet exceeds a limit, or if a
    /// placeholder of the complete packet is invalid. The connection must then be closed.
    pub fn on_binary(
        &mut self,
        bytes: &[u8],
        limits: &AssemblyLimits,
    ) -> Result<Option<BinaryPacket>, DecodeError> {
        let mut incomplete = self.0.take().ok_or(DecodeError::UnexpectedBinary)?;
        incomplete.bytes = incomplete.bytes.saturating_add(bytes.len());
        if incomplete.bytes > limits.bytes {
            return Err(DecodeError::TooManyBytes);
        }
        incomplete.packet.attachments.push(bytes.into());
        incomplete.missing -= 1;
        if incomplete.missing > 0 {
            self.0 = Some(incomplete);
            return Ok(None);
        }
        incomplete.packet.check()?;
        Ok(Some(incomplete.packet))
    }

    /// Returns whether attachments of a packet are missing.
    pub fn is_incomplete(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the number of bytes that are kept for an incomplete packet.
    pub fn kept_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |incomplete| incomplete.bytes)
    }
}

impl BinaryPacket {
    /// Reads the packet. Its arguments contain placeholders, for [`BinaryPacket::attachment`].
    ///
    /// # Errors
    /// Returns no error for a packet of an [`Assembler`], which has checked the text.
    pub fn packet(&self) -> Result<SocketPacket<'_>, DecodeError> {
        decode(&self.text)
    }

    /// Returns the attachments in the order of their numbers.
    pub fn attachments(&self) -> &[Box<[u8]>] {
        &self.attachments
    }

    /// Returns the attachment for a placeholder. Returns `None` for any other value.
    pub fn attachment(&self, value: &Value) -> Option<&[u8]> {
        let index = placeholder_index(value, self.attachments.len()).ok()??;
        self.attachments.get(index).map(|bytes| &**bytes)
    }

    /// Separates the attachments from the text, to keep them without a copy.
    pub fn into_parts(self) -> (Box<str>, Vec<Box<[u8]>>) {
        (self.text, self.attachments)
    }

    fn check(&self) -> Result<(), DecodeError> {
        let args = match self.packet()?.content {
            PacketContent::Event(event) => event.args,
            PacketContent::Ack { args, .. } => args,
            _ => return Ok(()),
        };
        let values = args.to_values().map_err(|_| DecodeError::Payload)?;
        values
            .iter()
            .try_for_each(|value| check_placeholders(value, self.attachments.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: AssemblyLimits = AssemblyLimits {
        attachments: 10,
        bytes: 100,
    };
    const ONE: &str = r#"51-["a",{"_placeholder":true,"num":0}]"#;

    #[test]
    fn attachments_are_gathered_in_order() {
        let mut assembler = Assembler::default();
        let text =
            r#"52-/b,7["a",{"x":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":0}]"#;
        assert_eq!(assembler.on_text(text, &LIMITS), Ok(None));
        assert_eq!(assembler.on_binary(&[1], &LIMITS), Ok(None));
        assert!(assembler.is_incomplete());
        assert_eq!(assembler.kept_bytes(), text.len() + 1);
        let packet = assembler.on_binary(&[2], &LIMITS).unwrap().unwrap();
        assert_eq!(assembler.kept_bytes(), 0);
        let read = packet.packet().unwrap();
        let PacketContent::Event(event) = read.content else {
            panic!("{read:?}");
        };
        assert_eq!(
            (read.namespace, event.id, &*event.name),
            ("/b", Some(7), "a")
        );
        let values = event.args.to_values().unwrap();
        assert_eq!(packet.attachment(&values[0]), None);
        assert_eq!(packet.attachment(&values[0]["x"]), Some(&[2][..]));
        assert_eq!(packet.attachment(&values[1]), Some(&[1][..]));
        let plain = assembler.on_text(r#"2["a",{"_placeholder":true,"num":9}]"#, &LIMITS);
        assert!(matches!(plain, Ok(Some(_))), "{plain:?}");
    }

    #[test]
    fn messages_out_of_turn_are_refused() {
        let mut assembler = Assembler::default();
        let bytes = assembler.on_binary(&[1], &LIMITS);
        assert_eq!(bytes, Err(DecodeError::UnexpectedBinary));
        assert_eq!(assembler.on_text(ONE, &LIMITS), Ok(None));
        let text = assembler.on_text(r#"2["a"]"#, &LIMITS);
        assert_eq!(text, Err(DecodeError::UnexpectedText));
        assert!(!assembler.is_incomplete(), "an error ends the packet");
    }

    #[test]
    fn placeholders_without_an_attachment_are_refused() {
        for json in [
            r#"{"_placeholder":true,"num":1}"#,
            r#"{"_placeholder":true,"num":-1}"#,
            r#"{"_placeholder":true,"num":0.5}"#,
            r#"{"_placeholder":true,"num":"0"}"#,
            r#"{"_placeholder":true}"#,
            r#"[{"a":{"_placeholder":true,"num":1}}]"#,
        ] {
            let mut assembler = Assembler::default();
            let text = format!(r#"51-["a",{json}]"#);
            assert_eq!(assembler.on_text(&text, &LIMITS), Ok(None));
            let packet = assembler.on_binary(&[1], &LIMITS);
            assert_eq!(packet, Err(DecodeError::Placeholder), "{json}");
        }
        for json in [r#"{"_placeholder":1,"num":9}"#, "{}", "[]"] {
            let mut assembler = Assembler::default();
            let text = format!(r#"61-1[{json}]"#);
            assert_eq!(assembler.on_text(&text, &LIMITS), Ok(None));
            assert!(matches!(assembler.on_binary(&[1], &LIMITS), Ok(Some(_))));
        }
    }

    #[test]
    fn attachments_have_limits() {
        let mut assembler = Assembler::default();
        let eleven = assembler.on_text(r#"511-["a"]"#, &LIMITS);
        assert_eq!(eleven, Err(DecodeError::TooManyAttachments));
        let text = format!(r#"51-["{}"]"#, "a".repeat(100));
        let long = assembler.on_text(&text, &LIMITS);
        assert_eq!(long, Err(DecodeError::TooManyBytes));
        assert_eq!(assembler.on_text(ONE, &LIMITS), Ok(None));
        let long = assembler.on_binary(&[0; 100], &LIMITS);
        assert_eq!(long, Err(DecodeError::TooManyBytes));
        assert!(!assembler.is_incomplete());
    }
}
