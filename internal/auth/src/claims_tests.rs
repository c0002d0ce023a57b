//! Tests of the claims: which are accepted, and what they mean.

use serde_json::json;

use super::*;

const NOW: i64 = 1_700_000_000;

fn read(rules: &ClaimRules, claims: &str) -> Result<Principal, TokenError> {
    rules.principal(
        &serde_json::from_str(claims).map_err(|_| TokenError::Malformed)?,
        NOW,
    )
}

/// Reads a valid token's claims with some replaced or added.
fn with(changes: Value) -> Result<Principal, TokenError> {
    let mut claims = json!({"id": "u1", "email": "a@b", "iat": NOW - 5, "exp": NOW + 60});
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    read(
        &ClaimRules::new(None, None, &["zona".into()]),
        &claims.to_string(),
    )
}

fn reason(changes: Value) -> &'static str {
    with(changes).map_or_else(|error| error.reason(), |_| "accepted")
}

#[test]
fn minimal_token_gives_a_user_without_grants() {
    let principal = with(json!({})).unwrap();
    assert_eq!(principal.user().as_str(), "u1");
    assert_eq!(
        (principal.expires_at_s(), principal.ends_at_s()),
        (NOW + 60, NOW + 60 + LEEWAY_S)
    );
    assert_eq!(
        (principal.role(), principal.grants()),
        (None, &Grants::default())
    );
}

#[test]
fn user_claims_are_tried_in_order() {
    assert_eq!(
        with(json!({"user_id": "x", "sub": "y"}))
            .unwrap()
            .user()
            .as_str(),
        "u1"
    );
    assert_eq!(with(json!({"id": 42})).unwrap().user().as_str(), "42");
    assert_eq!(
        with(json!({"id": u64::MAX})).unwrap().user().as_str(),
        "18446744073709551615"
    );
    let rules = ClaimRules::new(None, None, &[]);
    let user = |claims: &str| read(&rules, claims).map(|p| p.user().as_str().to_owned());
    assert_eq!(
        user(r#"{"sub":"s","user_id":-7,"exp":1700000001}"#).as_deref(),
        Ok("-7")
    );
    assert_eq!(
        user(r#"{"sub":"s","exp":1700000001.5}"#).as_deref(),
        Ok("s")
    );
    assert!(
        matches!(
            user(r#"{"exp":1700000001}"#),
            Err(TokenError::Claims { .. })
        ),
        "no user claim"
    );
}

#[test]
fn claims_of_user_and_session_are_configurable() {
    let rules =
        ClaimRules::new(None, None, &[]).with_claim_names(&["sub"], &["device_id", "session_id"]);
    let principal = read(
        &rules,
        r#"{"id":"no","sub":"s","session_id":7,"device_id":"d","exp":1700000001}"#,
    )
    .unwrap();
    assert_eq!(
        (principal.user().as_str(), principal.session()),
        ("s", Some("d"))
    );
    assert!(read(&rules, r#"{"id":"no","exp":1700000001}"#).is_err());
    assert!(read(&rules, r#"{"sub":"s","device_id":[],"exp":1700000001}"#).is_err());
    assert_eq!(with(json!({"device_id": "d"})).unwrap().session(), None);
}

#[test]
fn mistyped_user_claim_is_an_error() {
    let wrong = [
        json!(""),
        json!("x".repeat(201)),
        json!("a\0b"),
        json!(null),
        json!(true),
        json!(1.5),
        json!(["u"]),
        json!({}),
    ];
    for value in wrong {
        assert_eq!(
            reason(json!({"id": value, "user_id": "x", "sub": "y"})),
            "claims",
            "{value}"
        );
    }
    assert_eq!(reason(json!({"id": "x".repeat(200)})), "accepted");
}

#[test]
fn mistyped_time_is_an_error() {
    for name in ["exp", "nbf", "iat"] {
        for value in [
            json!("1700000060"),
            json!(null),
            json!(true),
            json!([NOW]),
            json!({}),
            json!(-1),
            json!(1e300),
        ] {
            assert_eq!(reason(json!({name: value})), "claims", "{name} {value}");
        }
    }
    let milliseconds = NOW * 1000;
    assert_eq!(reason(json!({"exp": milliseconds})), "claims");
    assert_eq!(
        read(&ClaimRules::new(None, None, &[]), r#"{"id":1}"#)
            .unwrap_err()
            .reason(),
        "claims"
    );
}

#[test]
fn leeway_ends_on_the_second() {
    assert_eq!(reason(json!({"exp": NOW - LEEWAY_S + 1})), "accepted");
    assert_eq!(reason(json!({"exp": NOW - LEEWAY_S})), "expired");
    assert_eq!(
        reason(json!({"exp": (NOW - LEEWAY_S) as f64 + 0.9})),
        "expired"
    );
    assert_eq!(reason(json!({"nbf": NOW + LEEWAY_S})), "accepted");
    assert_eq!(
        reason(json!({"nbf": (NOW + LEEWAY_S) as f64 + 0.1})),
        "not_yet_valid"
    );
}

#[test]
fn grants_are_kept_as_written() {
    let principal = with(
        json!({"negocio_id": 7, "negocios": ["a", 8], "zona": ["n", 1], "channels": ["estadisticas:b"]}),
    );
    let keys = vec![
        (
            "negocio_id".into(),
            vec!["7".into(), "a".into(), "8".into()],
        ),
        ("zona".into(), vec!["n".into(), "1".into()]),
    ];
    assert_eq!(
        *principal.unwrap().grants(),
        Grants::new(keys, vec!["estadisticas:b".into()])
    );
    let zone = vec![("zona".into(), vec!["n".into()])];
    assert_eq!(
        *with(json!({"zona": "n"})).unwrap().grants(),
        Grants::new(zone, vec![])
    );
}

#[test]
fn mistyped_claims_are_errors() {
    for (name, value) in [
        ("negocio_id", json!(null)),
        ("negocio_id", json!(["a"])),
        ("negocio_id", json!({"id": 1})),
        ("negocio_id", json!(1.5)),
        ("negocio_id", json!("")),
        ("negocios", json!("a")),
        ("negocios", json!([["a"]])),
        ("negocios", json!([null])),
        ("negocios", json!({})),
        ("zona", json!({})),
        ("zona", json!([true])),
        ("channels", json!("estadisticas:a")),
        ("channels", json!([1])),
        ("rol", json!(["admin_sistema"])),
        ("role", json!(1)),
        ("role", json!("")),
        ("iss", json!(1)),
        ("aud", json!([1])),
        ("aud", json!({})),
    ] {
        assert_eq!(reason(json!({name: value})), "claims", "{name} {value}");
    }
}

#[test]
fn user_id_claims_grant_no_key() {
    let rules = ClaimRules::new(
        None,
        None,
        &["id".into(), "sub".into(), "user_id".into(), "email".into()],
    );
    let principal = read(
        &rules,
        r#"{"id":"5","sub":"5","user_id":"5","email":"5","exp":1700000001}"#,
    )
    .unwrap();
    assert_eq!(*principal.grants(), Grants::default());
}

#[test]
fn role_claims_are_tried_in_order() {
    assert_eq!(with(json!({"role": "a"})).unwrap().role(), Some("a"));
    assert_eq!(
        with(json!({"role": "a", "rol": "b"})).unwrap().role(),
        Some("b")
    );
}

#[test]
fn issuer_and_audience_are_checked_if_configured() {
    let rules = ClaimRules::new(Some("https://id".into()), Some("latido".into()), &[]);
    let reason = |iss: Value, aud: Value| {
        let mut claims = json!({"id": 1, "exp": NOW + 9, "iss": iss, "aud": aud});
        claims
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        read(&rules, &claims.to_string()).map_or_else(|error| error.reason(), |_| "accepted")
    };
    assert_eq!(reason(json!("https://id"), json!("latido")), "accepted");
    assert_eq!(
        reason(json!("https://id"), json!(["x", "latido"])),
        "accepted"
    );
    assert_eq!(reason(json!("https://id/"), json!("latido")), "issuer");
    assert_eq!(reason(json!(null), json!("latido")), "issuer");
    assert_eq!(reason(json!("https://id"), json!("Latido")), "audience");
    assert_eq!(reason(json!("https://id"), json!([])), "audience");
    assert_eq!(reason(json!("https://id"), json!(null)), "audience");
    assert!(
        with(json!({"iss": "any", "aud": "any"})).is_ok(),
        "unconfigured: any"
    );
}

#[test]
fn duplicate_member_is_an_error() {
    let rules = ClaimRules::new(None, None, &[]);
    assert_eq!(
        read(&rules, r#"{"id":1,"exp":1700000001,"id":2}"#),
        Err(TokenError::Malformed)
    );
    assert_eq!(read(&rules, r"[]"), Err(TokenError::Malformed));
}
