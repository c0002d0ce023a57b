//! The user that a permission is for, with everything about them that decides.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use latido_base::ident::{Topic, UserId};
use latido_stream::PermissionQuestion;

/// The claims of a verified token, all of them, as an `authorize` query is shown them. Its `Debug`
/// omits the claims, which are personal data.
#[derive(Clone)]
pub struct TokenClaims {
    /// The JSON object, with sorted members.
    json: Box<str>,
    digest: ClaimsDigest,
}

impl TokenClaims {
    /// Takes the payload of a token. The order of members does not matter.
    pub fn new(claims: &Map<String, Value>) -> Self {
        let mut claims = Value::Object(claims.clone());
        claims.sort_all_objects();
        let json = claims.to_string();
        Self {
            digest: ClaimsDigest(Arc::new(Sha256::digest(&json).into())),
            json: json.into(),
        }
    }

    /// Returns the claims as a JSON object.
    pub fn json(&self) -> &str {
        &self.json
    }
}

/// Two sets of claims are equal if a query is shown the same text.
impl PartialEq for TokenClaims {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for TokenClaims {}

impl Hash for TokenClaims {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl fmt::Debug for TokenClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenClaims")
    }
}

/// The SHA-256 of claims. It stands for them where they need not be kept.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct ClaimsDigest(Arc<[u8; 32]>);

/// The user that a permission is for. Two tokens of one user are one subject if the stream's
/// `authorize` query takes no claims; otherwise only if all their claims are the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PermissionSubject {
    /// The user.
    pub user: UserId,
    /// The claims, if the stream's query takes them and the user has a token.
    pub claims: Option<Arc<TokenClaims>>,
}

/// The right of a subject to a key of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Permission {
    pub(super) subject: PermissionSubject,
    /// The key's topic without parameters: all topics of a key share the right.
    pub(super) topic: Topic,
}

impl Permission {
    /// Creates the right to any topic of a key.
    pub(super) fn new(subject: PermissionSubject, topic: &Topic) -> Self {
        Self {
            subject,
            topic: topic.without_params(),
        }
    }

    /// Returns the question to the stream's query.
    pub(super) fn question(&self) -> PermissionQuestion<'_> {
        let claims = self.subject.claims.as_ref();
        PermissionQuestion {
            user: &self.subject.user,
            claims: claims.map(|claims| claims.json()),
            key: &self.topic.key,
        }
    }

    /// Returns the name of the right in the cache. It contains everything that the query is shown,
    /// the claims by their digest.
    pub(super) fn cache_key(&self) -> CachedPermission {
        let claims = self.subject.claims.as_ref();
        CachedPermission {
            user: self.subject.user.clone(),
            topic: self.topic.clone(),
            claims: claims.map(|claims| claims.digest.clone()),
        }
    }
}

/// A right whose answer is cached.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct CachedPermission {
    user: UserId,
    topic: Topic,
    claims: Option<ClaimsDigest>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(json: &str) -> TokenClaims {
        TokenClaims::new(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn claims_are_equal_whatever_the_order_of_their_members() {
        let one = claims(r#"{"sub": "a", "app_metadata": {"x": [1, 2], "rol": "n"}}"#);
        let same = claims(r#"{"app_metadata": {"rol": "n", "x": [1,2]}, "sub": "a"}"#);
        assert_eq!(one, same);
        assert_eq!(
            one.json(),
            r#"{"app_metadata":{"rol":"n","x":[1,2]},"sub":"a"}"#
        );
        for other in [
            "{}",
            r#"{"sub": "a"}"#,
            r#"{"sub": "a", "app_metadata": {"x": [2, 1], "rol": "n"}}"#,
            r#"{"sub": "a", "app_metadata": {"x": [1, "2"], "rol": "n"}}"#,
            r#"{"sub": "a", "app_metadata": {"x": [1, 2], "rol": "n"}, "iat": 1}"#,
        ] {
            assert_ne!(one, claims(other), "{other}");
        }
        assert!(!format!("{one:?}").contains("app_metadata"));
    }
}
