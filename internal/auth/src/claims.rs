//! Reads a token's claims into a principal: the accepted claims, their types and their meaning.
//!
//! A claim that is read here and has the wrong type is an error, never «absent». Otherwise `"exp":
//! "123"` would never expire, and a half-understood grant would be a guess.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::numeric_date::{self, LEEWAY_S, Rounding};
use crate::principal::KeysByField;
use crate::{Grants, Principal, TokenError, VerifiedToken};
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
    /// What the streams take of a token. Held while a token is read, or for a swap. Clones share it.
    stream_claims: Arc<RwLock<StreamClaims>>,
    user_claims: &'static [&'static str],
    session_claims: &'static [&'static str],
}

/// The claims that the streams take.
#[derive(Debug)]
struct StreamClaims {
    /// The names of claims that grant keys.
    key_fields: Vec<Arc<str>>,
    /// True if principals keep all claims.
    are_kept: bool,
}

impl StreamClaims {
    fn new(key_fields: &[String], are_kept: bool) -> Self {
        let mut key_fields: Vec<Arc<str>> = key_fields.iter().map(|f| f.as_str().into()).collect();
        key_fields.push(NEGOCIO.into());
        key_fields.sort();
        key_fields.dedup();
        key_fields.retain(|field| !RESERVED_CLAIMS.contains(&&**field));
        Self {
            key_fields,
            are_kept,
        }
    }
}

impl ClaimRules {
    pub(super) fn new(
        issuer: Option<String>,
        audience: Option<String>,
        key_fields: &[String],
    ) -> Self {
        let stream_claims = StreamClaims::new(key_fields, false);
        Self {
            issuer,
            audience,
            stream_claims: Arc::new(RwLock::new(stream_claims)),
            user_claims: &USER_CLAIMS,
            session_claims: &[],
        }
    }

    /// Sets which claims grant keys, and whether principals keep all claims of their tokens.
    pub(super) fn set_stream_claims(&self, key_fields: &[String], keeps_claims: bool) {
        let claims = StreamClaims::new(key_fields, keeps_claims);
        let current = self.stream_claims.write();
        *current.unwrap_or_else(PoisonError::into_inner) = claims;
    }

    fn stream_claims(&self) -> RwLockReadGuard<'_, StreamClaims> {
        let current = self.stream_claims.read();
        current.unwrap_or_else(PoisonError::into_inner)
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
        let stream_claims = self.stream_claims();
        let granted = granted_keys(&stream_claims.key_fields, claims)?;
        let grants = Grants::new(granted, channels(claims)?);
        let principal = Principal::new(
            user(claims, user_claims)?,
            expires_at_s,
            role(claims)?,
            grants,
        );
        let principal = match stream_claims.are_kept {
            true => principal.with_claims(claims),
            false => principal,
        };
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
}

fn granted_keys(
    key_fields: &[Arc<str>],
    claims: &Map<String, Value>,
) -> Result<KeysByField, TokenError> {
    let mut granted = Vec::new();
    for field in key_fields {
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
#[path = "claims_tests.rs"]
mod tests;
