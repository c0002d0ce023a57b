//! Tests of the decoder against what the reference parser (`socket.io-parser` 4.2) reads and
//! refuses.

use super::*;
use PacketContent::{Connect, ConnectError, Disconnect};

fn packet<'a>(namespace: &'a str, content: PacketContent<'a>) -> SocketPacket<'a> {
    SocketPacket { namespace, content }
}

fn event_of<'a>(id: Option<u64>, name: &'a str, args: &'a str) -> PacketContent<'a> {
    PacketContent::Event(Event {
        id,
        name: name.into(),
        args: Arguments::new(args),
        attachments: 0,
    })
}

fn ack_of(id: Option<u64>, args: &str) -> PacketContent<'_> {
    PacketContent::Ack {
        id,
        args: Arguments::new(args),
        attachments: 0,
    }
}

#[test]
fn packets_are_read_as_by_the_reference_parser() {
    let connect = |payload| Connect { payload };
    let error = |payload| ConnectError { payload };
    for (text, expected) in [
        ("0", packet("/", connect(None))),
        ("0/admin", packet("/admin", connect(None))),
        ("0/admin,", packet("/admin", connect(None))),
        ("0/admin,{}", packet("/admin", connect(Some("{}")))),
        (r#"0{"a":1}"#, packet("/", connect(Some(r#"{"a":1}"#)))),
        ("0/a?b=c,", packet("/a?b=c", connect(None))),
        ("1", packet("/", Disconnect)),
        ("11", packet("/", Disconnect)),
        ("1/admin,", packet("/admin", Disconnect)),
        (r#"2["a"]"#, packet("/", event_of(None, "a", ""))),
        (r#"2[ "a" ]"#, packet("/", event_of(None, "a", ""))),
        ("2[1]", packet("/", event_of(None, "1", ""))),
        (r#"2["",[]]"#, packet("/", event_of(None, "", "[]"))),
        (r#"212["a"]"#, packet("/", event_of(Some(12), "a", ""))),
        (r#"20["a"]"#, packet("/", event_of(Some(0), "a", ""))),
        (
            r#"2/a,12["b",1, {"c":2}]"#,
            packet("/a", event_of(Some(12), "b", r#"1, {"c":2}"#)),
        ),
        (
            r#"2["\u00e9\"","\ud800"]"#,
            packet("/", event_of(None, "é\"", r#""\ud800""#)),
        ),
        ("3", packet("/", ack_of(None, ""))),
        ("31", packet("/", ack_of(Some(1), ""))),
        ("31[]", packet("/", ack_of(Some(1), ""))),
        (
            r#"3/a,13["b",2]"#,
            packet("/a", ack_of(Some(13), r#""b",2"#)),
        ),
        ("4", packet("/", error(None))),
        (r#"4"x""#, packet("/", error(Some(r#""x""#)))),
        ("4/a,{}", packet("/a", error(Some("{}")))),
        (
            "29007199254740991[1]",
            packet("/", event_of(Some(MAX_ID), "1", "")),
        ),
    ] {
        assert_eq!(decode(text), Ok(expected), "{text}");
    }
}

#[test]
fn packets_announce_their_attachments() {
    for (text, attachments) in [
        (r#"51-["a",{"_placeholder":true,"num":0}]"#, 1),
        (r#"512-/b,7["a"]"#, 12),
        (r#"50-["a"]"#, 0),
        ("61-15[1]", 1),
        (r#"599999999999999999999999-["a"]"#, usize::MAX),
    ] {
        let content = decode(text).map(|packet| packet.content.attachments());
        assert_eq!(content, Ok(attachments), "{text}");
    }
}

#[test]
fn invalid_socketio_packets_are_refused() {
    use DecodeError::{Attachments, Id, Payload, ReservedEvent, UnknownType};
    for (text, error) in [
        ("", UnknownType),
        ("7", UnknownType),
        ("a", UnknownType),
        ("€", UnknownType),
        ("0null", Payload),
        ("0[]", Payload),
        (r#"0"""#, Payload),
        ("0{", Payload),
        ("1/a,{}", Payload),
        ("2", Payload),
        ("2[]", Payload),
        ("2{}", Payload),
        ("2[null]", Payload),
        ("2[true]", Payload),
        ("2[[]]", Payload),
        (r#"2["\ud800"]"#, Payload),
        (r#"2["connect"]"#, ReservedEvent),
        (r#"2["disconnec\u0074"]"#, ReservedEvent),
        (r#"2["a"]x"#, Payload),
        (r#"2["a",]"#, Payload),
        (r#"2["a""#, Payload),
        (r#"2["a",{"b":}]"#, Payload),
        (r#"2/a["a"]"#, Payload),
        (r#"2-1["a"]"#, Payload),
        (r#"21.5["a"]"#, Payload),
        (r#"2abc["a"]"#, Payload),
        (r#"29007199254740992["a"]"#, Id),
        (r#"299999999999999999999["a"]"#, Id),
        ("31{}", Payload),
        ("4[]", Payload),
        ("5", Attachments),
        (r#"5["a"]"#, Attachments),
        (r#"5-["a"]"#, Attachments),
        (r#"5+1-["a"]"#, Attachments),
        (r#"51.5-["a"]"#, Attachments),
    ] {
        assert_eq!(decode(text), Err(error), "{text}");
    }
}

#[test]
fn namespace_of_an_old_client_has_a_query() {
    use super::super::split_namespace;
    assert_eq!(split_namespace("/a?b=c?d"), ("/a", Some("b=c?d")));
    assert_eq!(split_namespace("/a"), ("/a", None));
}

#[test]
fn deep_arrays_are_no_values() {
    let deep = format!("2[\"a\",{}{}]", "[".repeat(10_000), "]".repeat(10_000));
    let PacketContent::Event(event) = decode(&deep).unwrap().content else {
        panic!("no event");
    };
    assert_eq!(event.args.values().count(), 1);
    assert!(
        event.args.to_values().is_err(),
        "the depth of values is limited"
    );
}
