use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;
use latido_stream::{KeyType, Param, ParamKind};

fn stream(name: &str, keys: &[&str], params: &[&str]) -> Stream {
    let param = |name: &&str| Param {
        name: (*name).to_owned(),
        kind: ParamKind::Text { max_bytes: 10 },
        default: None,
    };
    Stream {
        key_fields: keys.iter().map(ToString::to_string).collect(),
        params: params.iter().map(param).collect(),
        key_types: OnceLock::from(vec![KeyType::Integer; keys.len()]),
        ..Stream::test_stream(name, None)
    }
}

fn catalog() -> Catalog {
    Catalog::new(vec![
        stream("cajas", &["tienda_id", "caja"], &["desde"]),
        stream("tiendas", &["tienda_id"], &["desde"]),
        stream("totales", &[], &[]),
    ])
}

fn allows(keys: &[(&str, &[&str])], channels: &[&str], name: &str) -> bool {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    let keys = keys.iter();
    let keys = keys.map(|(field, keys)| ((*field).into(), owned(keys)));
    let catalog = catalog();
    let channel = catalog.resolve(name).unwrap();
    Grants::new(keys.collect(), owned(channels)).allows(&catalog, &channel)
}

#[test]
fn claims_grant_a_key_of_several_parts_only_if_they_grant_every_part() {
    let name = "cajas:7/3?desde=x";
    for (keys, is_allowed) in [
        (&[][..], false),
        (&[("tienda_id", &["7"][..])][..], false),
        (&[("caja", &["3"])], false),
        (&[("tienda_id", &["7"]), ("caja", &["3"])], true),
        (&[("tienda_id", &["3"]), ("caja", &["7"])], false),
        (
            &[("tienda_id", &["1", "tienda_07"]), ("caja", &["03"])],
            true,
        ),
        (&[("tienda_id", &["7/3"]), ("caja", &["7/3"])], false),
    ] {
        assert_eq!(allows(keys, &[], name), is_allowed, "{keys:?}");
    }
}

#[test]
fn granted_channel_grants_its_key_with_all_parameters() {
    for (channel, is_allowed) in [
        ("cajas:7/3", true),
        ("cajas:07/3", true),
        ("cajas:7/3?desde=other", true),
        ("cajas:7/3?no=parameter", true),
        ("cajas:7", false),
        ("cajas:7/4", false),
        ("cajas:7/3/1", false),
        ("tiendas:7", false),
        ("cajas", false),
        ("totales", false),
    ] {
        assert_eq!(
            allows(&[], &[channel], "cajas:7/3?desde=x"),
            is_allowed,
            "{channel}"
        );
    }
}

#[test]
fn stream_without_a_key_is_granted_by_its_name_alone() {
    assert!(!allows(
        &[("tienda_id", &["7"]), ("totales", &[""])],
        &[],
        "totales"
    ));
    assert!(allows(&[], &["totales"], "totales"));
    assert!(!allows(&[], &["totales:"], "totales"));
    assert!(!allows(&[], &["tiendas:7"], "totales"));
}

/// The principal of a client is kept for as long as its connection.
#[test]
fn principal_keeps_claims_only_for_streams_that_take_them() {
    let plain = Principal::new(UserId::new("ana"), 0, None, Grants::default());
    assert!(plain.extra.is_none() && size_of::<Principal>() <= 80);
    let claims = serde_json::from_str(r#"{"sub": "ana", "role": "x"}"#).unwrap();
    let kept = Principal::new(UserId::new("ana"), 0, None, Grants::default()).with_claims(&claims);
    let taking = Stream {
        authorize_query: Some("SELECT $2 WHERE $3 IS NOT NULL".into()),
        ..stream("a", &[], &[])
    };
    let other = Stream {
        authorize_query: Some("SELECT $2 WHERE $1 <> '$3'".into()),
        ..stream("b", &[], &[])
    };
    let shown = kept.subject(&taking).claims.unwrap();
    assert_eq!(shown.json(), r#"{"role":"x","sub":"ana"}"#);
    assert_eq!(kept.subject(&other), plain.subject(&other));
    assert_eq!(plain.subject(&taking).claims, None);
}

proptest! {
    /// A key is granted exactly if each part is granted, or a channel names the key.
    #[test]
    fn random_grants_are_those_of_the_oracle(
        tiendas in prop::collection::vec(0..4_u8, 0..3),
        cajas in prop::collection::vec(0..4_u8, 0..3),
        channels in prop::collection::vec((0..4_u8, 0..4_u8, any::<bool>()), 0..3),
        (tienda, caja) in (0..4_u8, 0..4_u8),
    ) {
        let texts = |keys: &[u8]| keys.iter().map(u8::to_string).collect::<Vec<_>>();
        let keys = vec![("tienda_id".into(), texts(&tiendas)), ("caja".into(), texts(&cajas))];
        let name = |&(tienda, caja, has_params): &(u8, u8, bool)| {
            format!("cajas:{tienda}/{caja}{}", if has_params { "?desde=y" } else { "" })
        };
        let grants = Grants::new(keys, channels.iter().map(name).collect());
        let catalog = catalog();
        let allows = |name: String| grants.allows(&catalog, &catalog.resolve(&name).unwrap());
        let by_parts = tiendas.contains(&tienda) && cajas.contains(&caja);
        let by_channel = channels.iter().any(|channel| (channel.0, channel.1) == (tienda, caja));
        prop_assert_eq!(allows(format!("cajas:{tienda}/{caja}?desde=x")), by_parts || by_channel);
        prop_assert_eq!(allows(format!("tiendas:{tienda}?desde=x")), tiendas.contains(&tienda));
        prop_assert!(!allows("totales".to_owned()));
    }
}
