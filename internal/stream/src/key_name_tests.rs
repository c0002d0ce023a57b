use proptest::prelude::*;

use super::*;
use crate::catalog::{Catalog, ChannelError};

/// A stream with keys of that many parts, all of them texts, and with two parameters if asked for.
fn stream(parts: usize, has_params: bool) -> Stream {
    let mut stream = Stream::test_stream("ventas", None);
    let fields = ["tienda_id", "caja", "turno"].map(str::to_owned);
    stream.key_fields = fields.into_iter().take(parts).collect();
    stream.key_types = vec![KeyType::Text; parts].into();
    if has_params {
        let date = |name: &str, default: Option<&str>| Param {
            name: name.to_owned(),
            kind: ParamKind::Date,
            default: default.map(str::to_owned),
        };
        stream.params = vec![date("desde", None), date("hasta", Some("2099-12-31"))];
    }
    stream
}

fn resolve(stream: Stream, name: &str) -> Result<String, String> {
    let catalog = Catalog::new(vec![stream]);
    let channel = catalog.resolve(name).map_err(|error| error.to_string())?;
    assert_eq!(&*channel.name, name);
    Ok(channel.topic.key.to_string())
}

#[test]
fn plain_keys_are_written_as_they_are() {
    for key in ["7", "a/b", "a%20b", "x?y=1", "a:b", "ñ"] {
        let name = format!("ventas:{key}");
        let catalog = Catalog::new(vec![stream(1, false)]);
        let topic = catalog.resolve(&name).unwrap().topic;
        assert_eq!(topic.key, Key::from_canonical(key));
        assert_eq!(catalog.get(topic.stream).channel_name(&topic.key), name);
    }
}

#[test]
fn integers_and_uuids_of_several_parts_are_canonical() {
    let mut stream = stream(2, false);
    stream.key_types = vec![KeyType::Integer, KeyType::Text].into();
    assert_eq!(
        resolve(stream, "ventas:tienda_007/a%2Fb"),
        Ok("7/a/b".into())
    );
}

#[test]
fn text_that_is_longer_than_any_key_is_refused() {
    let padded = |count: usize| format!("ventas:7?desde=2026-11-01{}", "&".repeat(count));
    assert!(resolve(stream(1, true), &padded(10)).is_ok());
    let error = resolve(stream(1, true), &padded(10_000)).unwrap_err();
    assert!(
        error.starts_with("invalid key: expected at most"),
        "{error}"
    );
    let longest = "%C3%B1".repeat(MAX_KEY_BYTES / 2);
    let longest = format!("ventas:{longest}?desde=2026-11-01&hasta=2026-11-02");
    assert!(resolve(stream(1, true), &longest).is_ok());
}

#[test]
fn names_of_the_wrong_form_are_refused() {
    let form = "invalid key: expected ventas:<tienda_id>/<caja>";
    for (stream, name, error) in [
        (stream(2, false), "ventas:7", form),
        (stream(2, false), "ventas:7/3/1", form),
        (stream(2, false), "ventas:%ff/3", form),
        (
            stream(2, false),
            "ventas",
            "no such channel; expected ventas:<tienda_id>/<caja>",
        ),
        (
            stream(2, false),
            "ventas:7/",
            "invalid key: caja: expected a text of 1 to 200 bytes without control characters",
        ),
        (
            stream(2, false),
            "ventas:a%1fb/3",
            "invalid key: tienda_id: expected a text of 1 to 200 bytes without control characters",
        ),
        (
            stream(0, false),
            "ventas:",
            "no such channel; expected ventas",
        ),
        (
            stream(0, false),
            "ventas:7",
            "no such channel; expected ventas",
        ),
        (
            stream(0, false),
            "ventas?x=1",
            "invalid key: no parameter \"x\"; expected none",
        ),
        (
            stream(1, false),
            "ventas?x=1",
            "no such channel; expected ventas:<key>",
        ),
        (
            stream(1, true),
            "ventas:7",
            "invalid key: desde is missing; expected a date such as 2026-11-30",
        ),
        (
            stream(1, true),
            "ventas:7?desde=ayer",
            "invalid key: desde: expected a date such as 2026-11-30",
        ),
        (
            stream(1, true),
            "ventas:7?desde=2026-11-01&desde=2026-11-01",
            "invalid key: desde comes twice; expected it once",
        ),
        (
            stream(1, true),
            "ventas:7?desde=2026-11-01&x=1",
            "invalid key: no parameter \"x\"; expected desde or hasta",
        ),
    ] {
        assert_eq!(resolve(stream, name), Err(error.to_owned()), "{name}");
    }
    let long = format!("ventas:{}/{}", "x".repeat(150), "y".repeat(51));
    assert_eq!(
        resolve(stream(2, false), &long),
        Err("invalid key: expected at most 200 bytes".into())
    );
}

#[test]
fn order_and_spelled_out_defaults_make_no_other_topic() {
    let catalog = Catalog::new(vec![stream(2, true)]);
    let topic = |name: &str| catalog.resolve(name).unwrap().topic;
    let first = topic("ventas:7/3?desde=2026-11-01");
    assert_eq!(first, topic("ventas:7/3?hasta=2099-12-31&desde=2026-11-01"));
    assert_ne!(first, topic("ventas:7/3?desde=2026-11-02"));
    assert_eq!(first.key.to_string(), "7/3?2026-11-01&2099-12-31");
    assert_eq!(
        first.without_params(),
        topic("ventas:7/3?desde=2026-11-02").without_params()
    );
}

#[test]
fn streams_without_a_key_have_one_channel_for_each_choice() {
    assert_eq!(resolve(stream(0, false), "ventas"), Ok(String::new()));
    let name = "ventas?desde=2026-11-01";
    assert_eq!(
        resolve(stream(0, true), name),
        Ok("?2026-11-01&2099-12-31".into())
    );
}

#[test]
fn key_of_an_unknown_type_is_not_ready() {
    let mut stream = stream(2, false);
    stream.key_types = Default::default();
    let catalog = Catalog::new(vec![stream]);
    assert_eq!(catalog.resolve("ventas:7/3"), Err(ChannelError::NotReady));
}

proptest! {
    #[test]
    fn canonical_names_resolve_to_their_own_key(
        parts in prop::collection::vec("[^\\pC]{1,12}", 0..=3),
        has_params in any::<bool>(),
        days in prop::collection::vec(1_u8..=28, 2),
    ) {
        let stream = stream(parts.len(), has_params);
        let mut key = Key::from_parts(&parts);
        if has_params {
            key = key.with_params(days.iter().map(|day| format!("2026-02-{day:02}")));
        }
        let name = stream.channel_name(&key);
        let catalog = Catalog::new(vec![stream]);
        let channel = catalog.resolve(&name).unwrap();
        prop_assert_eq!(&channel.topic.key, &key);
        let written = catalog.get(channel.topic.stream).parts_as_written(&channel);
        prop_assert_eq!(written, parts);
    }

    #[test]
    fn any_name_is_resolved_or_refused(name in "ventas[:?/%&=a7ñ\\x1e\\x1f]{0,20}", parts in 0_usize..=2, has_params in any::<bool>()) {
        let catalog = Catalog::new(vec![stream(parts, has_params)]);
        if let Ok(channel) = catalog.resolve(&name) {
            let stream = catalog.get(channel.topic.stream);
            let canonical = catalog.resolve(&stream.channel_name(&channel.topic.key)).unwrap();
            prop_assert_eq!(canonical.topic, channel.topic);
        }
    }
}
