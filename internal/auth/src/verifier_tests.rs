//! Forged and malformed tokens that must be rejected, and valid ones that must be accepted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header as FullHeader};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{LEEWAY_S, MAX_TOKEN_BYTES, MIN_SECRET_BYTES, test_keys};

const NOW: i64 = 1_700_000_000;

fn clock() -> Clock {
    let clock = Clock::system();
    clock.set(jiff::Timestamp::from_second(NOW).unwrap());
    clock
}

fn secret(letter: &str) -> Secret {
    Secret::new(letter.repeat(MIN_SECRET_BYTES))
}

fn verifier(config: Config) -> Verifier {
    Verifier::new(&config, clock()).unwrap()
}

fn with_secret() -> Verifier {
    verifier(Config {
        secrets: vec![secret("a")],
        ..Config::default()
    })
}

fn with_pem(pem: &str) -> Verifier {
    verifier(Config {
        public_keys: Some(pem.into()),
        ..Config::default()
    })
}

fn claims() -> Value {
    json!({"id": "ana", "exp": NOW + 60})
}

fn sign(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    jsonwebtoken::encode(&FullHeader::new(algorithm), claims, key).unwrap()
}

fn hmac(secret: &[u8], algorithm: Algorithm) -> String {
    sign(algorithm, &EncodingKey::from_secret(secret), &claims())
}

fn private(pem: &str) -> EncodingKey {
    let pem = pem.as_bytes();
    EncodingKey::from_rsa_pem(pem)
        .or_else(|_| EncodingKey::from_ec_pem(pem))
        .unwrap_or_else(|_| EncodingKey::from_ed_pem(pem).unwrap())
}

/// Builds a token by hand, with the given signature text.
fn unsigned(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

fn reason(verifier: &Verifier, token: &str) -> &'static str {
    verifier
        .try_verify_cached(token)
        .unwrap()
        .map_or_else(|error| error.reason(), |_| "accepted")
}

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Returns every kind of key: its private half, its public half, and its algorithms.
fn asymmetric() -> [(&'static str, &'static str, &'static [Algorithm]); 4] {
    [
        (*test_keys::RSA, RSA),
        (*test_keys::P256, &[Algorithm::ES256][..]),
        (*test_keys::P384, &[Algorithm::ES384]),
        (*test_keys::ED25519, &[Algorithm::EdDSA]),
    ]
    .map(|(pair, algorithms)| (pair.private, pair.public, algorithms))
}

#[test]
fn every_algorithm_of_a_key_is_accepted() {
    let verifier = with_secret();
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        assert_eq!(
            reason(&verifier, &hmac(secret("a").expose().as_bytes(), algorithm)),
            "accepted",
            "{algorithm:?}"
        );
    }
    for (signing, public, algorithms) in asymmetric() {
        for &algorithm in algorithms {
            let token = sign(algorithm, &private(signing), &claims());
            assert_eq!(
                reason(&with_pem(public), &token),
                "accepted",
                "{algorithm:?}"
            );
        }
    }
}

#[test]
fn key_accepts_no_algorithm_of_another_type() {
    for (signing, _, algorithms) in asymmetric() {
        let token = sign(algorithms[0], &private(signing), &claims());
        assert_eq!(reason(&with_secret(), &token), "algorithm");
        for (_, public, accepted) in asymmetric() {
            let expected = if accepted.contains(&algorithms[0]) {
                "accepted"
            } else {
                "algorithm"
            };
            assert_eq!(
                reason(&with_pem(public), &token),
                expected,
                "{algorithms:?} with {accepted:?}"
            );
        }
    }
}

#[test]
fn public_key_is_not_accepted_as_hmac_secret() {
    for (_, public, _) in asymmetric() {
        let verifier = with_pem(public);
        let der: String = public
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect();
        let der = base64::engine::general_purpose::STANDARD
            .decode(der)
            .unwrap();
        for bytes in [public.as_bytes(), public.trim().as_bytes(), &der] {
            assert_eq!(
                reason(&verifier, &hmac(bytes, Algorithm::HS256)),
                "algorithm"
            );
            let with_both = verifier_of_both(public);
            assert_eq!(
                reason(&with_both, &hmac(bytes, Algorithm::HS256)),
                "signature"
            );
        }
    }
    let config = Config {
        secrets: vec![Secret::new(test_keys::RSA.public)],
        ..Config::default()
    };
    assert_eq!(
        Verifier::new(&config, clock()).unwrap_err(),
        KeyError::PemAsSecret
    );
}

fn verifier_of_both(pem: &str) -> Verifier {
    verifier(Config {
        secrets: vec![secret("a")],
        public_keys: Some(pem.into()),
        ..Config::default()
    })
}

#[test]
fn keys_of_all_types_work_together() {
    let all: String = asymmetric().iter().map(|(_, public, _)| *public).collect();
    let verifier = verifier_of_both(&all);
    for (signing, _, algorithms) in asymmetric() {
        assert_eq!(
            reason(
                &verifier,
                &sign(algorithms[0], &private(signing), &claims())
            ),
            "accepted"
        );
    }
    assert_eq!(
        reason(
            &verifier,
            &hmac(secret("a").expose().as_bytes(), Algorithm::HS256)
        ),
        "accepted"
    );
}

#[test]
fn old_and_new_key_are_accepted_during_rotation() {
    let both = verifier(Config {
        secrets: vec![secret("b"), secret("a")],
        public_keys: Some(format!(
            "{}{}",
            test_keys::OTHER_RSA.public,
            test_keys::RSA.public
        )),
        ..Config::default()
    });
    for token in [
        hmac(secret("a").expose().as_bytes(), Algorithm::HS256),
        hmac(secret("b").expose().as_bytes(), Algorithm::HS256),
        sign(
            Algorithm::RS256,
            &private(test_keys::RSA.private),
            &claims(),
        ),
        sign(
            Algorithm::RS256,
            &private(test_keys::OTHER_RSA.private),
            &claims(),
        ),
    ] {
        assert_eq!(reason(&both, &token), "accepted");
    }
    assert_eq!(
        reason(
            &both,
            &hmac(secret("c").expose().as_bytes(), Algorithm::HS256)
        ),
        "signature"
    );
}

#[test]
fn algorithm_none_is_rejected() {
    let all: String = asymmetric().iter().map(|(_, public, _)| *public).collect();
    for alg in [
        "none", "None", "NONE", "nOnE", "", "HS257", "hs256", "ES512", "ES256K", "dir",
    ] {
        for signature in ["", "AAAA"] {
            let token = unsigned(&json!({"alg": alg, "typ": "JWT"}), &claims(), signature);
            assert_eq!(
                reason(&verifier_of_both(&all), &token),
                "algorithm",
                "{alg:?}"
            );
        }
    }
}

#[test]
fn invalid_signature_is_rejected() {
    let all: String = asymmetric().iter().map(|(_, public, _)| *public).collect();
    let verifier = verifier_of_both(&all);
    for alg in [
        "HS256", "HS512", "RS256", "PS256", "ES256", "ES384", "EdDSA",
    ] {
        for signature in [
            "",
            "AA",
            &"A".repeat(86),
            &"A".repeat(128),
            &"A".repeat(342),
        ] {
            let token = unsigned(&json!({"alg": alg}), &claims(), signature);
            assert_eq!(reason(&verifier, &token), "signature", "{alg} {signature}");
        }
    }
}

#[test]
fn changed_payload_is_rejected() {
    let token = hmac(secret("a").expose().as_bytes(), Algorithm::HS256);
    let [header, _, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts")
    };
    let forged = URL_SAFE_NO_PAD.encode(json!({"id": "eva", "exp": NOW + 60}).to_string());
    assert_eq!(
        reason(&with_secret(), &format!("{header}.{forged}.{signature}")),
        "signature"
    );
}

#[test]
fn critical_extensions_and_malformed_headers_are_rejected() {
    let key = EncodingKey::from_secret(secret("a").expose().as_bytes());
    let mut header = FullHeader::new(Algorithm::HS256);
    header.crit = Some(vec!["b64".into()]);
    let token = jsonwebtoken::encode(&header, &claims(), &key).unwrap();
    assert_eq!(reason(&with_secret(), &token), "malformed");
    for header in [
        json!({"alg": ["HS256"]}),
        json!({"alg": null}),
        json!({}),
        json!([]),
        json!({"alg": "HS256", "kid": 1}),
        json!({"alg": "HS256", "crit": null}),
        json!({"alg": "HS256", "crit": []}),
    ] {
        assert_eq!(
            reason(&with_secret(), &unsigned(&header, &claims(), "AAAA")),
            "malformed",
            "{header}"
        );
    }
}

#[test]
fn key_in_the_header_is_ignored() {
    let mut header = FullHeader::new(Algorithm::RS256);
    let attacker =
        jsonwebtoken::DecodingKey::from_rsa_pem(test_keys::OTHER_RSA.public.as_bytes()).unwrap();
    header.jwk = Some(jsonwebtoken::jwk::Jwk::from_decoding_key(&attacker, None).unwrap());
    header.jku = Some("http://127.0.0.1:1/keys".into());
    header.x5u = header.jku.clone();
    let token =
        jsonwebtoken::encode(&header, &claims(), &private(test_keys::OTHER_RSA.private)).unwrap();
    assert_eq!(
        reason(&with_pem(test_keys::RSA.public), &token),
        "signature"
    );
}

#[test]
fn malformed_token_gets_a_specific_error() {
    let verifier = with_secret();
    let good = hmac(secret("a").expose().as_bytes(), Algorithm::HS256);
    assert_eq!(reason(&verifier, ""), "missing");
    for token in [
        ".",
        "..",
        "a.b.c",
        "Bearer x",
        &good[1..],
        &format!("{good}."),
        &format!(" {good}"),
        &good.replace('.', ":"),
    ] {
        assert_eq!(reason(&verifier, token), "malformed", "{token}");
    }
    assert_eq!(
        reason(&verifier, &"a".repeat(MAX_TOKEN_BYTES + 1)),
        "malformed"
    );
    assert_eq!(
        reason(&verifier, &format!("{good}=")),
        "malformed",
        "padding"
    );
}

#[test]
fn payload_must_be_one_object_without_duplicates() {
    let signed = |payload: &str| {
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#),
            URL_SAFE_NO_PAD.encode(payload)
        );
        let key = EncodingKey::from_secret(secret("a").expose().as_bytes());
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        reason(&with_secret(), &format!("{message}.{signature}"))
    };
    assert_eq!(signed(r#"{"id":1,"exp":1700000060}"#), "accepted");
    for payload in [
        "",
        "null",
        "[]",
        "\"x\"",
        "{",
        r#"{"id":1,"exp":1700000060,"id":2}"#,
        &"[".repeat(4000),
    ] {
        assert_eq!(signed(payload), "malformed", "{payload}");
    }
}

#[test]
fn times_are_checked_against_the_given_clock() {
    let clock = clock();
    let config = Config {
        secrets: vec![secret("a")],
        ..Config::default()
    };
    let verifier = Verifier::new(&config, clock.clone()).unwrap();
    let key = EncodingKey::from_secret(secret("a").expose().as_bytes());
    let token = sign(
        Algorithm::HS256,
        &key,
        &json!({"id": 1, "nbf": NOW + 100, "exp": NOW + 200}),
    );
    for (offset, expected) in [
        (0, "not_yet_valid"),
        (90, "not_yet_valid"),
        (150, "accepted"),
        (300, "expired"),
    ] {
        clock.set(jiff::Timestamp::from_second(NOW + offset).unwrap());
        assert_eq!(reason(&verifier, &token), expected, "{offset} s");
    }
}

#[test]
fn claims_are_checked_only_after_the_signature() {
    let key = EncodingKey::from_secret(secret("a").expose().as_bytes());
    for (claims, expected) in [
        (json!({"id": 1}), "claims"),
        (json!({"id": 1, "exp": "1700000060"}), "claims"),
        (json!({"id": 1, "exp": NOW - LEEWAY_S}), "expired"),
        (json!({"id": 1, "exp": NOW - LEEWAY_S + 2}), "accepted"),
        (json!({"exp": NOW + 60}), "claims"),
    ] {
        assert_eq!(
            reason(&with_secret(), &sign(Algorithm::HS256, &key, &claims)),
            expected,
            "{claims}"
        );
        assert_eq!(
            reason(
                &with_secret(),
                &unsigned(&json!({"alg": "HS256"}), &claims, "AAAA")
            ),
            "signature"
        );
    }
}

#[test]
fn every_token_is_rejected_without_a_key() {
    let verifier = verifier(Config::default());
    assert!(verifier.is_ready());
    assert_eq!(reason(&verifier, &hmac(b"", Algorithm::HS256)), "algorithm");
}

#[test]
fn debug_and_errors_hide_secrets_and_tokens() {
    let token = hmac(b"another secret, of at least 32 b.", Algorithm::HS256);
    let error = with_secret()
        .try_verify_cached(&token)
        .unwrap()
        .unwrap_err();
    let config = Config {
        secrets: vec![secret("q")],
        ..Config::default()
    };
    let text = format!("{error} {error:?} {:?} {config:?}", with_secret());
    assert!(
        !text.contains("aaaa") && !text.contains("qqqq") && !text.contains(&token[..20]),
        "{text}"
    );
}

proptest! {
    #[test]
    fn arbitrary_text_does_not_panic(text in ".{0,200}") {
        prop_assert!(with_secret().try_verify_cached(&text).unwrap().is_err());
    }

    #[test]
    fn arbitrary_token_parts_do_not_panic(header in r#"\{"alg":"(HS256|RS256|ES256|EdDSA|none)"(,"kid":"[a-z]{0,9}")?\}"#, claims in ".{0,80}", signature in "[A-Za-z0-9_-]{0,90}") {
        let token = format!("{}.{}.{signature}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let all: String = asymmetric().iter().map(|(_, public, _)| *public).collect();
        prop_assert!(verifier_of_both(&all).try_verify_cached(&token).unwrap().is_err());
    }
}
