//! Reads a token's claims into a principal: the accepted claims, their types and their meaning.
//!
//! A claim that is read here and has the wrong type is an error, never «absent». Otherwise `"exp":
//! "123"` would never expire, and a half-understood grant would be a guess.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::numeric_date::{self, Rounding};
use crate::principal::KeysByField;
use crate::{Grants, LEEWAY_S, Principal, TokenError, VerifiedToken};
use latido_base::ident::UserId;

/// The longest user id, business id or role, in bytes.
const MAX_ID_BYTES: usize = 200;
/// The claims that may hold the user's id; the first one present counts.
const USER_CLAIMS: [&str; 3] = ["id", "user_id", "sub"];
/// The claims that may hold the role; the first one present counts.
const ROLE_CLAIMS: [&str; 2] = ["rol", "role"];
/// The key field whose plural is a claim as well.
const NEGOCIO: &str = "negocio_id";
const NEGOCIOS: &str = "negocios";
const CHANNELS: &str = "channels";
/// Claims that already have another meaning: the user's own id must not grant a key of a stream
/// keyed by `id`.
const RESERVED_CLAIMS: [&str; 14] = [
    "id", "user_id", "sub", "rol", "role", "exp", "nbf", "iat", "iss", "aud", "jti", "email",
    NEGOCIOS, CHANNELS,
];

const EXPECTED_ID: &str = "a string of 1 to 200 bytes without control characters, or an integer";
const EXPECTED_IDS: &str = "an array of strings (1 to 200 bytes) or integers";

/// The payload of a token. A member that occurs twice is an error, because two readers might each
/// see another value.
#[derive(Debug)]
pub(super) struct ClaimSet(Map<String, Value>);

impl<'de> Deserialize<'de> for ClaimSet {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DistinctMembers;
        impl<'de> Visitor<'de> for DistinctMembers {
            type Value = ClaimSet;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with distinct members")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<ClaimSet, A::Error> {
                let mut members = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(de::Error::custom("a member comes twice"));
                    }
                }
                Ok(ClaimSet(members))
            }
        }
        deserializer.deserialize_map(DistinctMembers)
    }
}

/// The requirements that a token's claims must meet.
#[derive(Debug, Clone)]
pub(super) struct ClaimRules {
    issuer: Option<String>,
    audience: Option<String>,
    /// The names of claims that grant keys.
    key_fields: Vec<Arc<str>>,
    user_claims: &'static [&'static str],
    session_claims: &'static [&'static str],
}

impl ClaimRules {
    pub(super) fn new(
        issuer: Option<String>,
        audience: Option<String>,
        key_fields: &[String],
    ) -> Self {
        let mut key_fields: Vec<Arc<str>> = key_fields.iter().map(|f| f.as_str().into()).collect();
        key_fields.push(NEGOCIO.into());
        key_fields.sort();
        key_fields.dedup();
        key_fields.retain(|field| !RESERVED_CLAIMS.contains(&&**field));
        Self {
            issuer,
            audience,
            key_fields,
            user_claims: &USER_CLAIMS,
            session_claims: &[],
        }
    }

    /// Sets other claims for the user's id (unless `user` is empty) and for the session.
    pub(super) fn with_claim_names(
        mut self,
        user: &'static [&'static str],
        session: &'static [&'static str],
    ) -> Self {
        if !user.is_empty() {
            self.user_claims = user;
        }
        self.session_claims = session;
        self
    }

    /// Reads the claims of a token whose signature was verified.
    pub(super) fn principal(&self, claims: &ClaimSet, now_s: i64) -> Result<Principal, TokenError> {
        self.principal_from(&claims.0, now_s, self.user_claims)
    }

    /// Reads the claims for an app that finds the user in claims of its own. Also returns all
    /// claims of the token.
    pub(super) fn verified_token(
        &self,
        claims: &ClaimSet,
        now_s: i64,
        user_claims: &[&str],
    ) -> Result<VerifiedToken, TokenError> {
        let claims = &claims.0;
        let has_stream_user = self
            .user_claims
            .iter()
            .any(|name| claims.contains_key(*name));
        let principal = self.principal_from(
            claims,
            now_s,
            if has_stream_user {
                self.user_claims
            } else {
                user_claims
            },
        )?;
        Ok(VerifiedToken {
            user: user(claims, user_claims)?,
            principal,
            claims: claims.clone(),
        })
    }

    fn principal_from(
        &self,
        claims: &Map<String, Value>,
        now_s: i64,
        user_claims: &[&str],
    ) -> Result<Principal, TokenError> {
        let expires_at_s = check_times(claims, now_s)?;
        self.check_issuer(claims)?;
        self.check_audience(claims)?;
        let grants = Grants::new(self.granted_keys(claims)?, channels(claims)?);
        let principal = Principal::new(
            user(claims, user_claims)?,
            expires_at_s,
            role(claims)?,
            grants,
        );
        Ok(
            match self
                .session_claims
                .iter()
                .find_map(|name| claims.get(*name).map(|value| (*name, value)))
            {
                Some((name, value)) => principal.with_session(&parse_id(name, value)?),
                None => principal,
            },
        )
    }

    fn check_issuer(&self, claims: &Map<String, Value>) -> Result<(), TokenError> {
        let issuer = claims
            .get("iss")
            .map(|v| v.as_str().ok_or_else(|| invalid_claim("iss", "a string")))
            .transpose()?;
        if self.issuer.is_some() && issuer != self.issuer.as_deref() {
            return Err(TokenError::Issuer);
        }
        Ok(())
    }

    fn check_audience(&self, claims: &Map<String, Value>) -> Result<(), TokenError> {
        let error = || invalid_claim("aud", "a string or an array of strings");
        let audiences: Vec<&str> = match claims.get("aud") {
            None => Vec::new(),
            Some(Value::Array(all)) => all
                .iter()
                .map(|v| v.as_str().ok_or_else(error))
                .collect::<Result<_, _>>()?,
            Some(one) => vec![one.as_str().ok_or_else(error)?],
        };
        match &self.audience {
            Some(expected) if !audiences.contains(&expected.as_str()) => Err(TokenError::Audience),
            _ => Ok(()),
        }
    }

    fn granted_keys(&self, claims: &Map<String, Value>) -> Result<KeysByField, TokenError> {
        let mut granted = Vec::new();
        for field in &self.key_fields {
            let mut keys = match claims.get(&**field) {
                None => Vec::new(),
                // This claim names one business by contract; several belong in `negocios`.
                Some(Value::Array(_)) if **field == *NEGOCIO => {
                    return Err(invalid_claim(field, EXPECTED_ID));
                }
                Some(Value::Array(all)) => parse_ids(field, all)?,
                Some(one) => vec![parse_id(field, one)?],
            };
            if **field == *NEGOCIO {
                keys.extend(negocios(claims)?);
            }
            if !keys.is_empty() {
                granted.push((Arc::clone(field), keys));
            }
        }
        Ok(granted)
    }
}

/// Checks `exp`, `nbf` and the type of `iat`, and returns `exp`.
fn check_times(claims: &Map<String, Value>, now_s: i64) -> Result<i64, TokenError> {
    let date = |name: &str, rounding| match claims.get(name) {
        None => Ok(None),
        Some(value) => numeric_date::parse(value, rounding)
            .map(Some)
            .ok_or_else(|| invalid_claim(name, numeric_date::EXPECTED)),
    };
    let expires_at_s =
        date("exp", Rounding::Down)?.ok_or_else(|| invalid_claim("exp", numeric_date::EXPECTED))?;
    let not_before_s = date("nbf", Rounding::Up)?;
    date("iat", Rounding::Down)?;
    if now_s >= expires_at_s + LEEWAY_S {
        return Err(TokenError::Expired);
    }
    if not_before_s.is_some_and(|from| now_s + LEEWAY_S < from) {
        return Err(TokenError::NotYetValid);
    }
    Ok(expires_at_s)
}

fn user(claims: &Map<String, Value>, names: &[&str]) -> Result<UserId, TokenError> {
    let found = names
        .iter()
        .find_map(|name| claims.get(*name).map(|value| (*name, value)));
    let (name, value) =
        found.ok_or_else(|| invalid_claim(names.first().unwrap_or(&"sub"), EXPECTED_ID))?;
    Ok(UserId::new(&parse_id(name, value)?))
}

fn role(claims: &Map<String, Value>) -> Result<Option<&str>, TokenError> {
    let mut role = None;
    for name in ROLE_CLAIMS {
        let Some(value) = claims.get(name) else {
            continue;
        };
        let text = value
            .as_str()
            .filter(|text| is_plain(text))
            .ok_or_else(|| invalid_claim(name, "a string of 1 to 200 bytes"))?;
        role.get_or_insert(text);
    }
    Ok(role)
}

fn negocios(claims: &Map<String, Value>) -> Result<Vec<String>, TokenError> {
    match claims.get(NEGOCIOS) {
        None => Ok(Vec::new()),
        Some(Value::Array(all)) => parse_ids(NEGOCIOS, all),
        Some(_) => Err(invalid_claim(NEGOCIOS, EXPECTED_IDS)),
    }
}

fn channels(claims: &Map<String, Value>) -> Result<Vec<String>, TokenError> {
    let error = || invalid_claim(CHANNELS, "an array of strings");
    match claims.get(CHANNELS) {
        None => Ok(Vec::new()),
        Some(Value::Array(all)) => all
            .iter()
            .map(|v| v.as_str().map(ToOwned::to_owned).ok_or_else(error))
            .collect(),
        Some(_) => Err(error()),
    }
}

fn parse_ids(claim: &str, values: &[Value]) -> Result<Vec<String>, TokenError> {
    values
        .iter()
        .map(|value| parse_id(claim, value).map_err(|_| invalid_claim(claim, EXPECTED_IDS)))
        .collect()
}

/// Returns an id as text, from a JSON string or integer.
fn parse_id(claim: &str, value: &Value) -> Result<String, TokenError> {
    match value {
        Value::String(text) if is_plain(text) => Ok(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Ok(number.to_string()),
        _ => Err(invalid_claim(claim, EXPECTED_ID)),
    }
}

/// PostgreSQL can't store NUL in a text, and no name of a person, business or role contains a line
/// break.
fn is_plain(text: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn invalid_claim(claim: &str, expected: &'static str) -> TokenError {
    TokenError::Claims {
        claim: claim.to_owned(),
        expected,
    }
}

#[cfg(test)]
mod tests {
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
        let rules = ClaimRules::new(None, None, &[])
            .with_claim_names(&["sub"], &["device_id", "session_id"]);
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
}
