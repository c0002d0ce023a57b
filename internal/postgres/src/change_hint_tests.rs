//! Tests of change hints.

use proptest::prelude::*;

use super::*;
use latido_stream::{KeyType, Stream};

fn catalog(key_type: KeyType) -> Catalog {
    Catalog::new(vec![Stream::test_stream("estadisticas", Some(key_type))])
}

fn hints_of(payloads: &[&str]) -> Vec<ChangeHint> {
    let (mut batch, catalog) = (HintBatch::default(), catalog(KeyType::Integer));
    payloads
        .iter()
        .for_each(|payload| batch.add(&catalog, payload));
    batch.into_hints()
}

#[test]
fn payloads_of_an_app_channel_are_passed_on_once() {
    let mut batch = HintBatch::default();
    for payload in ["b", "a", "b"] {
        batch.add_payload("orders", payload);
    }
    batch.add(&catalog(KeyType::Integer), "unknown");
    let payloads = ChangeHint::Payloads {
        channel: "orders",
        payloads: Some(vec!["a".to_owned(), "b".to_owned()]),
    };
    assert_eq!(batch.into_hints(), [payloads, ChangeHint::Everything(None)]);
    let mut batch = HintBatch::default();
    for n in 0..=MAX_BATCH_PAYLOADS + 1 {
        batch.add_payload("orders", &n.to_string());
    }
    let too_many = ChangeHint::Payloads {
        channel: "orders",
        payloads: None,
    };
    assert_eq!(batch.into_hints(), [too_many]);
}

#[test]
fn several_payloads_become_one_hint() {
    let hints = hints_of(&[
        r#"["estadisticas","7"]"#,
        r#"["estadisticas","7"]"#,
        r#"["otra","1"]"#,
    ]);
    assert_eq!(
        hints,
        [ChangeHint::Changed {
            stream: StreamId(0),
            keys: vec![Key::from_canonical("7")]
        }]
    );
    assert_eq!(
        hints_of(&[r#"["estadisticas","7"]"#, r#"["estadisticas",null]"#]),
        [ChangeHint::Everything(Some(StreamId(0)))]
    );
    assert_eq!(hints_of(&[r#"["estadisticas","no number"]"#]), []);
    let many: Vec<_> = (0..=MAX_HINT_KEYS)
        .map(|n| format!(r#"["estadisticas","{n}"]"#))
        .collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(hints_of(&many), [ChangeHint::Everything(Some(StreamId(0)))]);
}

#[test]
fn failure_of_a_trigger_means_every_key_of_its_stream() {
    let mut batch = HintBatch::default();
    let failed = r#"["estadisticas",null,"public.citas","42703"]"#;
    batch.add(&catalog(KeyType::Text), failed);
    batch.add(&catalog(KeyType::Text), failed);
    batch.add(
        &catalog(KeyType::Text),
        r#"["estadisticas",null,"t","<script>"]"#,
    );
    let failures: Vec<_> = batch.take_failures().into_iter().collect();
    assert_eq!(failures.len(), 1);
    assert_eq!(
        (failures[0].table.as_str(), failures[0].sqlstate.as_str()),
        ("public.citas", "42703")
    );
    assert_eq!(
        batch.into_hints(),
        [ChangeHint::Everything(Some(StreamId(0)))]
    );
}

#[test]
fn move_names_keys_or_any_key_of_its_stream() {
    let moved = |keys: Option<&[&str]>| ChangeHint::Moved {
        stream: StreamId(0),
        keys: keys.map(|keys| keys.iter().map(|key| Key::from_canonical(key)).collect()),
    };
    assert_eq!(
        hints_of(&[r#"["estadisticas!","7"]"#, r#"["estadisticas!","007"]"#]),
        [moved(Some(&["7"]))]
    );
    assert_eq!(
        hints_of(&[r#"["estadisticas!","7"]"#, r#"["estadisticas!",null]"#]),
        [moved(None)]
    );
    assert_eq!(
        hints_of(&["unknown", r#"["estadisticas!","7"]"#]),
        [moved(Some(&["7"])), ChangeHint::Everything(None)],
        "a move matters after everything has been read, too"
    );
    assert_eq!(hints_of(&[r#"["estadisticas!","no number"]"#]), []);
    assert_eq!(hints_of(&[r#"["otra!","7"]"#]), []);
    let mut batch = HintBatch::default();
    batch.add(
        &catalog(KeyType::Text),
        r#"["estadisticas!",null,"pedidos","42703"]"#,
    );
    assert_eq!(batch.take_failures().len(), 1);
    assert_eq!(batch.into_hints(), [moved(None)]);
}

#[test]
fn app_gets_one_hint_per_batch() {
    let hints = hints_of(&[
        r#"["app:messaging",""]"#,
        r#"["app:messaging",""]"#,
        r#"["estadisticas","7"]"#,
    ]);
    assert_eq!(hints.len(), 2);
    assert_eq!(hints[0], ChangeHint::App("messaging".to_owned()));
    let many: Vec<_> = (0..100).map(|n| format!(r#"["app:{n}",""]"#)).collect();
    assert_eq!(
        hints_of(&many.iter().map(String::as_str).collect::<Vec<_>>()).len(),
        MAX_BATCH_APPS
    );
}

#[test]
fn unknown_payload_means_everything() {
    for payload in [
        "",
        "x",
        "{}",
        "[]",
        "null",
        r#"["estadisticas"]"#,
        r#"[7,"1"]"#,
        r#"["estadisticas",7]"#,
        r#"["estadisticas",true]"#,
        r#"["estadisticas",["7",8]]"#,
        r#"["estadisticas",[["7"]]]"#,
    ] {
        assert_eq!(
            hints_of(&[payload]),
            [ChangeHint::Everything(None)],
            "{payload}"
        );
    }
}

#[test]
fn escaped_texts_and_several_parts_are_keys() {
    let (text, mut pair) = (KeyType::Text, Stream::test_stream("cajas", None));
    pair.key_fields.push("caja".to_owned());
    pair.key_types = vec![KeyType::Text, KeyType::Integer].into();
    let plain = Stream::test_stream("notas", Some(text));
    let catalog = Catalog::new(vec![plain, pair]);
    let mut batch = HintBatch::default();
    batch.add(&catalog, r#"["notas","a\"b\\ñ\u00f1"]"#);
    batch.add(&catalog, r#"["caj\u0061s",["a\"b","07"],["x","8"]]"#);
    let mut hints = batch.into_hints();
    hints.sort_by_key(|hint| format!("{hint:?}"));
    let [
        ChangeHint::Changed { keys: notes, .. },
        ChangeHint::Changed { keys: pairs, .. },
    ] = hints.as_mut_slice()
    else {
        panic!("{hints:?}");
    };
    assert_eq!(*notes, [Key::from_canonical("a\"b\\ññ")]);
    pairs.sort();
    let expected = [["a\"b", "7"], ["x", "8"]];
    assert_eq!(*pairs, expected.map(Key::from_parts));
}

#[test]
fn unknown_key_type_means_every_key() {
    let mut catalog = catalog(KeyType::Text);
    let mut streams: Vec<_> = catalog.iter().map(|(_, s)| s.clone()).collect();
    drop(catalog);
    let mut stream = std::sync::Arc::try_unwrap(streams.remove(0)).unwrap();
    stream.key_types = std::sync::OnceLock::new();
    catalog = Catalog::new(vec![stream]);
    let mut batch = HintBatch::default();
    batch.add(&catalog, r#"["estadisticas","7"]"#);
    assert_eq!(
        batch.into_hints(),
        [ChangeHint::Everything(Some(StreamId(0)))]
    );
}

proptest! {
    #[test]
    fn no_payload_panics(payload in ".{0,200}", nested in 0usize..5000) {
        hints_of(&[&payload, &"[".repeat(nested)]);
    }
}
