//! Tests of payloads against what the reference parsers write and refuse.

use super::super::payload_encoding::{PayloadForm, PayloadRecord, encode_payload};
use super::*;
use Version::{V3, V4};

const LIMITS: PayloadLimits = PayloadLimits {
    packets: 16,
    bytes: 1_000,
};

const TEXTS: [&str; 8] = ["4hello", "4€", "4😀a", "2", "3probe", "6", "1", "5"];

fn records(has_bytes: bool) -> Vec<PayloadRecord<'static>> {
    let bytes = has_bytes.then_some(PayloadRecord::Binary(&[1, 2, 3, 4]));
    TEXTS
        .iter()
        .map(|text| PayloadRecord::Text(text))
        .chain(bytes)
        .collect()
}

fn packets(has_bytes: bool) -> Vec<Result<Packet<'static>, PayloadError>> {
    let bytes = has_bytes.then(|| Ok(Packet::Binary(vec![1, 2, 3, 4].into())));
    [
        Packet::Text("hello"),
        Packet::Text("€"),
        Packet::Text("😀a"),
        Packet::Ping(""),
        Packet::Pong("probe"),
        Packet::Noop,
        Packet::Close,
        Packet::Upgrade,
    ]
    .into_iter()
    .map(Ok)
    .chain(bytes)
    .collect()
}

fn decode<'a>(version: Version, body: PayloadBody<'a>) -> Vec<Result<Packet<'a>, PayloadError>> {
    match decode_payload(version, body, &LIMITS) {
        Ok(packets) => packets.collect(),
        Err(error) => vec![Err(error)],
    }
}

/// What `engine.io-parser` 5.2 and 2.2 wrote for the same packets.
const PAYLOAD_V4: &str =
    "4hello\u{1e}4€\u{1e}4😀a\u{1e}2\u{1e}3probe\u{1e}6\u{1e}1\u{1e}5\u{1e}bAQIDBA==";
const PAYLOAD_V3_TEXT: &str = "6:4hello2:4€4:4😀a1:26:3probe1:61:11:5";
const PAYLOAD_V3_BASE64: &str = "6:4hello2:4€4:4😀a1:26:3probe1:61:11:510:b4AQIDBA==";
const PAYLOAD_V3_BINARY: &[u8] = b"\0\x06\xff4hello\0\x04\xff4\xe2\x82\xac\0\x06\xff4\xf0\x9f\x98\x80a\0\x01\xff2\0\x06\xff3probe\
\0\x01\xff6\0\x01\xff1\0\x01\xff5\x01\x05\xff\x04\x01\x02\x03\x04";

#[test]
fn payloads_are_those_of_the_reference_parsers() {
    for (version, supports_binary, has_bytes, form, expected) in [
        (V4, true, true, PayloadForm::Text, PAYLOAD_V4.as_bytes()),
        (V4, false, true, PayloadForm::Text, PAYLOAD_V4.as_bytes()),
        (
            V3,
            true,
            false,
            PayloadForm::Text,
            PAYLOAD_V3_TEXT.as_bytes(),
        ),
        (
            V3,
            false,
            true,
            PayloadForm::Text,
            PAYLOAD_V3_BASE64.as_bytes(),
        ),
        (V3, true, true, PayloadForm::Binary, PAYLOAD_V3_BINARY),
    ] {
        let mut body = Vec::new();
        let encoded = encode_payload(version, supports_binary, &records(has_bytes), &mut body);
        assert_eq!((encoded, &*body), (form, expected));
        let body = match form {
            PayloadForm::Text => PayloadBody::Text(std::str::from_utf8(&body).unwrap()),
            PayloadForm::Binary => PayloadBody::Binary(&body),
        };
        assert_eq!(decode(version, body), packets(has_bytes));
    }
}

#[test]
fn payload_without_packets_has_the_form_of_the_version() {
    for (version, expected) in [(V3, "0:"), (V4, "")] {
        let mut body = Vec::new();
        encode_payload(version, true, &[], &mut body);
        assert_eq!(body, expected.as_bytes());
    }
    assert_eq!(decode(V3, PayloadBody::Text("0:")), []);
    assert_eq!(decode(V3, PayloadBody::Binary(b"")), []);
}

#[test]
fn malformed_texts_of_version_3_are_refused() {
    let length = || Err(PayloadError::Length);
    let truncated = || Err(PayloadError::Truncated);
    for (body, expected) in [
        ("", vec![length()]),
        (":", vec![length()]),
        ("4a", vec![length()]),
        ("a:4a", vec![length()]),
        ("+2:4a", vec![length()]),
        ("-1:4", vec![length()]),
        ("99999999999:4", vec![length()]),
        ("3:4a", vec![truncated()]),
        ("2:4😀", vec![truncated()]),
        ("1:4a", vec![Ok(Packet::Text("")), length()]),
        ("2:4a3", vec![Ok(Packet::Text("a")), length()]),
        ("2:9a", vec![Err(PacketError::UnknownType.into())]),
        ("0:2:4a", vec![Err(PacketError::Empty.into())]),
    ] {
        assert_eq!(decode(V3, PayloadBody::Text(body)), expected, "{body}");
    }
}

#[test]
fn malformed_binary_payloads_are_refused() {
    for (body, error) in [
        (&b"\0"[..], PayloadError::Length),
        (b"\0\xff", PayloadError::Length),
        (b"\0\x01", PayloadError::Length),
        (b"\0\x0a\xff4", PayloadError::Length),
        (
            b"\0\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\xff4",
            PayloadError::Length,
        ),
        (b"\x02\x01\xff4", PayloadError::Length),
        (b"\0\x02\xff4", PayloadError::Truncated),
        (b"\0\x02\xff4\xff", PayloadError::NotUtf8),
        (b"\0\0\xff", PayloadError::Packet(PacketError::Empty)),
        (
            b"\x01\x01\xff4",
            PayloadError::Packet(PacketError::UnknownType),
        ),
    ] {
        assert_eq!(
            decode(V3, PayloadBody::Binary(body)),
            [Err(error)],
            "{body:?}"
        );
    }
}

#[test]
fn malformed_payloads_of_version_4_are_refused() {
    let empty = || Err(PacketError::Empty.into());
    for (body, expected) in [
        ("", vec![empty()]),
        ("\u{1e}", vec![empty()]),
        ("4a\u{1e}", vec![Ok(Packet::Text("a")), empty()]),
        (
            "4a\u{1e}abc\u{1e}4b",
            vec![Ok(Packet::Text("a")), Err(PacketError::UnknownType.into())],
        ),
    ] {
        assert_eq!(decode(V4, PayloadBody::Text(body)), expected, "{body}");
    }
    assert_eq!(
        decode(V4, PayloadBody::Binary(b"4a")),
        [Err(PayloadError::BinaryBody)]
    );
}

#[test]
fn payloads_have_limits() {
    let limits = PayloadLimits {
        packets: 2,
        bytes: 9,
    };
    for (version, body) in [(V4, "4\u{1e}4\u{1e}4"), (V3, "1:41:41:4")] {
        let packets = decode_payload(version, PayloadBody::Text(body), &limits).unwrap();
        assert_eq!(packets.clone().count(), 3, "{body}");
        assert_eq!(
            packets.last(),
            Some(Err(PayloadError::TooManyPackets)),
            "{body}"
        );
    }
    for body in [
        PayloadBody::Text("8:4aaaaaaa"),
        PayloadBody::Binary(&[0; 10]),
    ] {
        let result = decode_payload(V3, body, &limits).err();
        assert_eq!(result, Some(PayloadError::TooLong));
    }
}
