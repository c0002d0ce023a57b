//! Properties of packets and payloads: each is read as it was written.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A message or control packet as a client may send it.
#[derive(Debug, Clone)]
enum Sent {
    Text(String),
    Ping(String),
    Pong(String),
    Binary(Vec<u8>),
    Close,
    Upgrade,
    Noop,
}

impl Sent {
    fn packet(&self) -> Packet<'_> {
        match self {
            Self::Text(text) => Packet::Text(text),
            Self::Ping(text) => Packet::Ping(text),
            Self::Pong(text) => Packet::Pong(text),
            Self::Binary(bytes) => Packet::Binary(bytes.into()),
            Self::Close => Packet::Close,
            Self::Upgrade => Packet::Upgrade,
            Self::Noop => Packet::Noop,
        }
    }
}

/// Any text without the separator of version 4.
fn text() -> impl Strategy<Value = String> {
    "[^\u{1e}]{0,20}"
}

fn sent() -> impl Strategy<Value = Sent> {
    prop_oneof![
        text().prop_map(Sent::Text),
        text().prop_map(Sent::Ping),
        text().prop_map(Sent::Pong),
        vec(any::<u8>(), 0..20).prop_map(Sent::Binary),
        Just(Sent::Close),
        Just(Sent::Upgrade),
        Just(Sent::Noop),
    ]
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V3), Just(Version::V4)]
}

proptest! {
    #[test]
    fn engineio_packets_are_read_as_written(sent in sent(), version in version()) {
        let packet = sent.packet();
        let mut encoded = String::new();
        packet.push_text(version, &mut encoded);
        prop_assert_eq!(Packet::from_text(version, &encoded), Ok(packet.clone()));
        if let Packet::Binary(bytes) = &packet {
            let mut frame = Vec::new();
            push_binary_frame(version, bytes, &mut frame);
            prop_assert_eq!(Packet::from_binary(version, &frame), Ok(packet.clone()));
        }
    }

    #[test]
    fn payloads_are_read_as_written(
        sent in vec(sent(), 1..8),
        version in version(),
        supports_binary: bool,
    ) {
        let texts: Vec<_> = sent
            .iter()
            .map(|sent| {
                let mut text = String::new();
                sent.packet().push_text(version, &mut text);
                text
            })
            .collect();
        let records: Vec<_> = sent
            .iter()
            .zip(&texts)
            .map(|(sent, text)| match sent {
                Sent::Binary(bytes) => PayloadRecord::Binary(bytes),
                _ => PayloadRecord::Text(text),
            })
            .collect();
        let mut body = Vec::new();
        let body = match encode_payload(version, supports_binary, &records, &mut body) {
            PayloadForm::Text => PayloadBody::Text(std::str::from_utf8(&body).unwrap()),
            PayloadForm::Binary => PayloadBody::Binary(&body),
        };
        let limits = PayloadLimits { packets: sent.len(), bytes: 10_000 };
        let read: Result<Vec<_>, _> = decode_payload(version, body, &limits).unwrap().collect();
        prop_assert_eq!(read, Ok(sent.iter().map(Sent::packet).collect()));
    }

    #[test]
    fn any_payload_ends(body in vec(any::<u8>(), 0..60), version in version()) {
        let limits = PayloadLimits { packets: 5, bytes: 50 };
        let text = String::from_utf8_lossy(&body);
        for body in [PayloadBody::Text(&text), PayloadBody::Binary(&body)] {
            if let Ok(packets) = decode_payload(version, body, &limits) {
                let read: Vec<_> = packets.collect();
                prop_assert!(read.len() <= 6);
                let errors = read.iter().filter(|packet| packet.is_err()).count();
                prop_assert!(errors == 0 || (errors == 1 && read.last().unwrap().is_err()));
            }
        }
    }
}
