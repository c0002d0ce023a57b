//! Properties of packets: each is read as it was written, and no input causes a panic.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// A namespace that can be written: it has no comma.
fn namespace() -> impl Strategy<Value = String> {
    prop_oneof![Just("/".to_owned()), "/[^,]{1,10}"]
}

/// An event's name that is not reserved.
fn name() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|name| name + "!")
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("[a-z]{1,5}", inner), 0..4).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

/// An argument: JSON or bytes.
type SentArgument = Result<Value, Vec<u8>>;

fn argument() -> impl Strategy<Value = SentArgument> {
    prop_oneof![
        3 => json().prop_map(Ok),
        1 => vec(any::<u8>(), 0..9).prop_map(Err),
    ]
}

const LIMITS: AssemblyLimits = AssemblyLimits {
    attachments: 6,
    bytes: 100_000,
};

/// Passes a text and the bytes among the arguments to an assembler, and returns the arguments of
/// the complete packet.
fn assembled(text: &str, sent: &[SentArgument]) -> (String, Option<u64>, Vec<SentArgument>) {
    let mut assembler = Assembler::default();
    let complete = assembler.on_text(text, &LIMITS).unwrap();
    let mut binary = None;
    for bytes in sent.iter().filter_map(|arg| arg.as_ref().err()) {
        assert!(assembler.is_incomplete());
        binary = assembler.on_binary(bytes, &LIMITS).unwrap();
    }
    assert!(!assembler.is_incomplete());
    let packet = match (&complete, &binary) {
        (Some(packet), None) => packet.clone(),
        (None, Some(binary)) => binary.packet().unwrap(),
        other => panic!("{other:?}"),
    };
    let (id, args) = match packet.content {
        PacketContent::Event(event) => (event.id, event.args),
        PacketContent::Ack { id, args, .. } => (id, args),
        other => panic!("{other:?}"),
    };
    let values = args.to_values().unwrap().into_iter().map(|value| {
        match binary.as_ref().and_then(|binary| binary.attachment(&value)) {
            Some(bytes) => Err(bytes.to_vec()),
            None => Ok(value),
        }
    });
    (packet.namespace.to_owned(), id, values.collect())
}

proptest! {
    #[test]
    fn socketio_packets_are_read_as_written(
        namespace in namespace(),
        id in proptest::option::of(0..=super::decode::MAX_ID),
        name in name(),
        sent in vec(argument(), 0..6),
    ) {
        let texts: Vec<_> = sent.iter().map(|arg| arg.as_ref().map(Value::to_string)).collect();
        let args: Vec<_> = texts
            .iter()
            .map(|arg| match arg {
                Ok(json) => Argument::Json(json),
                Err(bytes) => Argument::Binary(bytes),
            })
            .collect();
        let mut text = String::new();
        push_event_arguments(&mut text, &namespace, id, &name, &args);
        let read = decode(&text).unwrap();
        let PacketContent::Event(event) = read.content else { panic!("{text}") };
        prop_assert_eq!(&*event.name, &*name);
        prop_assert_eq!(event.args.values().count(), sent.len());
        // The same arguments as text, with the same placeholders, give the same packet.
        let mut again = String::new();
        let header = PacketHeader { namespace: &namespace, id, attachments: event.attachments };
        push_event(&mut again, &header, &event.name, event.args.json());
        prop_assert_eq!(&again, &text);
        prop_assert_eq!(assembled(&text, &sent), (namespace.clone(), id, sent.clone()));

        text.clear();
        push_ack_arguments(&mut text, &namespace, id.unwrap_or(0), &args);
        prop_assert_eq!(assembled(&text, &sent), (namespace, Some(id.unwrap_or(0)), sent));
    }

    #[test]
    fn any_text_is_decoded_or_refused(text in "[0-7]([0-9]{0,2}-)?(/[a,?]{0,3})?[0-9]{0,3}\\PC{0,20}") {
        if let Ok(packet) = decode(&text) {
            prop_assert!(packet.namespace.starts_with('/'));
        }
    }
}
