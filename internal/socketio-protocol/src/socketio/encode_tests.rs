//! Tests of the encoder against what the reference parsers and server write.

use super::*;
use Version::{V3, V4};

fn written(push: impl Fn(&mut String)) -> String {
    let mut text = String::new();
    push(&mut text);
    text
}

fn header(namespace: &str, id: Option<u64>, attachments: usize) -> PacketHeader<'_> {
    PacketHeader {
        namespace,
        id,
        attachments,
    }
}

#[test]
fn connection_packets_are_those_of_the_reference() {
    for (text, expected) in [
        (written(|out| push_connect(out, V3, "/", "a")), "0"),
        (
            written(|out| push_connect(out, V3, "/admin", "a")),
            "0/admin,",
        ),
        (
            written(|out| push_connect(out, V4, "/", "a")),
            r#"0{"sid":"a"}"#,
        ),
        (
            written(|out| push_connect(out, V4, "/b", "a")),
            r#"0/b,{"sid":"a"}"#,
        ),
        (written(|out| push_disconnect(out, "/")), "1"),
        (written(|out| push_disconnect(out, "/admin")), "1/admin,"),
        (
            written(|out| push_connect_error(out, V4, "/admin", "Not authorized", None)),
            r#"4/admin,{"message":"Not authorized"}"#,
        ),
        (
            written(|out| push_connect_error(out, V4, "/", "no", Some("[1]"))),
            r#"4{"message":"no","data":[1]}"#,
        ),
        (
            written(|out| push_connect_error(out, V3, "/", "Not authorized", None)),
            r#"4"Not authorized""#,
        ),
        (
            written(|out| push_connect_error(out, V3, "/", "no", Some("[1]"))),
            "4[1]",
        ),
        (
            written(|out| push_invalid_namespace(out, "/a")),
            r#"4/a,{"message":"Invalid namespace"}"#,
        ),
    ] {
        assert_eq!(text, expected);
    }
}

#[test]
fn events_and_acknowledgements_are_those_of_the_reference() {
    let bytes = Argument::Binary(&[1, 2, 3]);
    for (text, expected) in [
        (
            written(|out| push_event(out, &header("/", None, 0), "foo", "")),
            r#"2["foo"]"#,
        ),
        (
            written(|out| push_event(out, &header("/admin", Some(12), 0), "bar", r#"{"a":1},2"#)),
            r#"2/admin,12["bar",{"a":1},2]"#,
        ),
        (
            written(|out| push_event(out, &header("/", None, 0), "a\"\n€", "")),
            r#"2["a\"\n€"]"#,
        ),
        (
            written(|out| push_event_arguments(out, "/", None, "baz", &[bytes])),
            r#"51-["baz",{"_placeholder":true,"num":0}]"#,
        ),
        (
            written(|out| {
                let args = [bytes, Argument::Json("1"), bytes];
                push_event_arguments(out, "/admin", Some(15), "bar", &args);
            }),
            r#"52-/admin,15["bar",{"_placeholder":true,"num":0},1,{"_placeholder":true,"num":1}]"#,
        ),
        (
            written(|out| push_ack(out, &header("/admin", Some(13), 0), r#""bar""#)),
            r#"3/admin,13["bar"]"#,
        ),
        (written(|out| push_ack_arguments(out, "/", 0, &[])), "30[]"),
        (
            written(|out| push_ack_arguments(out, "/admin", 15, &[bytes])),
            r#"61-/admin,15[{"_placeholder":true,"num":0}]"#,
        ),
    ] {
        assert_eq!(text, expected);
    }
}
