//! The packets of Engine.IO and Socket.IO.

use latido_socketio_protocol::engineio::{
    Packet, PayloadBody, PayloadForm, PayloadLimits, PayloadRecord, Version, decode_payload,
    encode_payload,
};
use latido_socketio_protocol::socketio::{
    Arguments, Assembler, AssemblyLimits, PacketContent, PacketHeader, decode, push_ack, push_event,
};

const MAX_PACKETS: usize = 8;
const MAX_ATTACHMENTS: usize = 2;
const MAX_ASSEMBLY_BYTES: usize = 300;

/// Reads a payload of polling as text and as bytes, in both versions. The packets that were read
/// must be read again when they are encoded, and the iterator must end after one error.
pub fn engineio(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let limits = PayloadLimits {
        packets: MAX_PACKETS,
        bytes: 4096,
    };
    for version in [Version::V3, Version::V4] {
        for body in [PayloadBody::Text(&text), PayloadBody::Binary(bytes)] {
            let Ok(packets) = decode_payload(version, body, &limits) else {
                continue;
            };
            let results: Vec<_> = packets.collect();
            assert!(results.len() <= MAX_PACKETS + 1);
            let read: Vec<_> = results
                .iter()
                .map_while(|result| result.clone().ok())
                .collect();
            assert!(results.len() - read.len() <= 1, "packets after an error");
            check_encoding(version, &read);
        }
        // A packet without a payload is a WebSocket frame.
        let _ = Packet::from_text(version, &text);
        let _ = Packet::from_binary(version, bytes);
    }
}

fn check_encoding(version: Version, packets: &[Packet<'_>]) {
    // A text of version 3 may contain the separator of version 4, but none was read in version 4.
    let texts: Vec<_> = packets
        .iter()
        .map(|packet| {
            let mut text = String::new();
            packet.push_text(version, &mut text);
            text
        })
        .collect();
    let records: Vec<_> = packets
        .iter()
        .zip(&texts)
        .map(|(packet, text)| match packet {
            Packet::Binary(bytes) => PayloadRecord::Binary(bytes),
            _ => PayloadRecord::Text(text),
        })
        .collect();
    if records.is_empty() {
        return;
    }
    let limits = PayloadLimits {
        packets: MAX_PACKETS,
        bytes: usize::MAX,
    };
    for supports_binary in [false, true] {
        let mut body = Vec::new();
        let again = match encode_payload(version, supports_binary, &records, &mut body) {
            PayloadForm::Text => PayloadBody::Text(std::str::from_utf8(&body).unwrap_or_default()),
            PayloadForm::Binary => PayloadBody::Binary(&body),
        };
        let again: Result<Vec<_>, _> =
            decode_payload(version, again, &limits).and_then(Iterator::collect);
        assert_eq!(again.as_deref(), Ok(packets));
    }
}

/// Reads a connection's messages, one per line. A line that is not UTF-8 or starts with a `b` is a
/// message of bytes. Memory stays bounded, and a packet must be read again when it is encoded.
pub fn socketio(bytes: &[u8]) {
    let limits = AssemblyLimits {
        attachments: MAX_ATTACHMENTS,
        bytes: MAX_ASSEMBLY_BYTES,
    };
    let mut assembler = Assembler::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        match std::str::from_utf8(line) {
            Ok(text) if !text.starts_with('b') => {
                if let Ok(Some(packet)) = assembler.on_text(text, &limits) {
                    check_packet(packet.namespace, &packet.content);
                }
            }
            _ => {
                if let Ok(Some(binary)) = assembler.on_binary(line, &limits) {
                    assert!((1..=MAX_ATTACHMENTS).contains(&binary.attachments().len()));
                    let packet = binary.packet();
                    assert!(packet.is_ok(), "a packet that was checked: {packet:?}");
                    if let Ok(packet) = packet {
                        check_packet(packet.namespace, &packet.content);
                    }
                }
            }
        }
        assert!(assembler.kept_bytes() <= MAX_ASSEMBLY_BYTES);
    }
}

fn check_packet(namespace: &str, content: &PacketContent<'_>) {
    assert!(namespace.starts_with('/') && !namespace.contains(','));
    let mut text = String::new();
    let header = |id, attachments| PacketHeader {
        namespace,
        id,
        attachments,
    };
    match content {
        PacketContent::Event(event) => {
            check_arguments(event.args);
            let header = header(event.id, event.attachments);
            push_event(&mut text, &header, &event.name, event.args.json());
        }
        PacketContent::Ack {
            id,
            args,
            attachments,
        } => {
            check_arguments(*args);
            push_ack(&mut text, &header(*id, *attachments), args.json());
        }
        PacketContent::Connect { payload } | PacketContent::ConnectError { payload } => {
            let is_json = |text: &str| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
            assert!(payload.is_none_or(is_json));
            return;
        }
        PacketContent::Disconnect => return,
    }
    let again = decode(&text).map(|packet| packet.content);
    assert_eq!(again.as_ref(), Ok(content), "{text}");
}

fn check_arguments(args: Arguments<'_>) {
    let array = format!("[{}]", args.json());
    let count = serde_json::from_str::<Vec<serde::de::IgnoredAny>>(&array).map(|all| all.len());
    assert_eq!(count.ok(), Some(args.values().count()), "{array}");
}
