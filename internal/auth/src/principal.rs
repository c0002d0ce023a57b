//! The authenticated user, and the permissions that the token itself grants.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::TokenLifetime;
use crate::introspection::RevocationState;
use crate::numeric_date::LEEWAY_S;
use crate::permission_subject::{PermissionSubject, TokenClaims};
use latido_base::ident::{Channel, Topic, UserId};
use latido_stream::{Catalog, Stream};

/// The user of a verified token. Every open connection keeps one, so its size matters.
#[derive(Debug, PartialEq, Eq)]
pub struct Principal {
    user: UserId,
    expires_at_s: i64,
    role: Option<Box<str>>,
    grants: Grants,
    extra: Option<Box<PrincipalExtra>>,
}

/// The fields that few principals have, boxed to keep the others small.
#[derive(Debug, Default, PartialEq, Eq)]
struct PrincipalExtra {
    /// The device or session that the token names.
    session: Option<Box<str>>,
    /// The revocation state of the token, if the issuer is queried about revocation.
    revocation: Option<Arc<RevocationState>>,
    /// All claims of the token, if a stream's `authorize` query takes them.
    claims: Option<Arc<TokenClaims>>,
}

impl Principal {
    /// Creates a principal from the user, the token's `exp` (Unix seconds), its role and its
    /// grants.
    pub fn new(user: UserId, expires_at_s: i64, role: Option<&str>, grants: Grants) -> Self {
        Self {
            user,
            expires_at_s,
            role: role.map(Into::into),
            grants,
            extra: None,
        }
    }

    /// Sets the device or session that the token names.
    #[must_use]
    pub fn with_session(mut self, session: &str) -> Self {
        self.extra.get_or_insert_default().session = Some(session.into());
        self
    }

    /// Keeps all claims of the token, for streams whose `authorize` query takes them.
    #[must_use]
    pub fn with_claims(mut self, claims: &Map<String, Value>) -> Self {
        let claims = Arc::new(TokenClaims::new(claims));
        self.extra.get_or_insert_default().claims = Some(claims);
        self
    }

    /// Returns the subject of permissions of a stream. It has the claims only if the stream's query
    /// takes them.
    pub fn subject(&self, stream: &Stream) -> PermissionSubject {
        let extra = self.extra.as_ref().filter(|_| stream.takes_claims());
        PermissionSubject {
            user: self.user.clone(),
            claims: extra.and_then(|extra| extra.claims.clone()),
        }
    }

    /// Returns the device or session, if the verifier is configured to read one.
    pub fn session(&self) -> Option<&str> {
        self.extra.as_ref()?.session.as_deref()
    }

    /// Returns the user: claim `id`, else `user_id`, else `sub`.
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// Returns claim `exp` in whole Unix seconds, the value that clients are sent.
    pub fn expires_at_s(&self) -> i64 {
        self.expires_at_s
    }

    /// Returns the Unix second from which the token is rejected and its connections end: `exp` plus
    /// the leeway. New connections get the same leeway, so that none is accepted only to be closed
    /// at once.
    pub fn ends_at_s(&self) -> i64 {
        self.expires_at_s.saturating_add(LEEWAY_S)
    }

    /// Sets the revocation state of the token.
    pub(super) fn with_revocation(mut self, state: Arc<RevocationState>) -> Self {
        self.extra.get_or_insert_default().revocation = Some(state);
        self
    }

    /// Returns the end of the token, for what outlives the principal.
    pub fn lifetime(&self) -> TokenLifetime {
        TokenLifetime::new(self.ends_at_s(), self.revocation().cloned())
    }

    /// Returns whether the token may be revoked before it expires, so that
    /// [`Principal::is_revoked`] must be checked now and then.
    pub fn may_be_revoked(&self) -> bool {
        self.revocation().is_some()
    }

    /// Returns whether the issuer has revoked the token meanwhile.
    pub fn is_revoked(&self) -> bool {
        self.revocation().is_some_and(|state| state.is_revoked())
    }

    fn revocation(&self) -> Option<&Arc<RevocationState>> {
        self.extra.as_ref()?.revocation.as_ref()
    }

    /// Returns the role: claim `rol`, else `role`.
    pub fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    /// Returns the grants of the token itself, which need no look-up.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }
}

/// A verified token for an app: the user and all claims. Its `Debug` omits the claims, which are
/// personal data.
pub struct VerifiedToken {
    /// The user according to the app's own claims.
    pub user: UserId,
    /// The principal for the streams: by the streams' claims, or by the app's if the token has none
    /// of those.
    pub principal: Principal,
    /// All claims of the token.
    pub claims: serde_json::Map<String, serde_json::Value>,
}

impl std::fmt::Debug for VerifiedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A key's field (`negocio_id`), with the keys granted in every stream that has this key field.
pub(super) type KeysByField = Vec<(Arc<str>, Vec<String>)>;

/// A key's field and its granted keys, in compact form.
type GrantedKeys = (Arc<str>, Box<[Box<str>]>);

/// The keys and channels that the claims grant, as written there.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Grants {
    keys: Box<[GrantedKeys]>,
    /// Complete channel names, such as `estadisticas:7`.
    channels: Box<[Box<str>]>,
}

impl Grants {
    /// Creates grants from keys by field name and complete channel names.
    pub fn new(keys: KeysByField, channels: Vec<String>) -> Self {
        let packed = |names: Vec<String>| names.into_iter().map(String::into_boxed_str).collect();
        Self {
            keys: keys
                .into_iter()
                .map(|(field, keys)| (field, packed(keys)))
                .collect(),
            channels: packed(channels),
        }
    }

    /// Returns whether a claim grants `channel`. Both sides are compared in canonical form, so
    /// `negocio_7` grants `7` if keys are integers.
    pub fn allows(&self, catalog: &Catalog, channel: &Channel) -> bool {
        let topic = channel.topic.without_params();
        self.grants_every_part(catalog, &topic)
            || self.channels.iter().any(|name| {
                catalog
                    .resolve_key(name)
                    .is_ok_and(|granted| granted == topic)
            })
    }

    /// Returns whether the claims grant each part of the key under its own name. No claim grants the
    /// key of a stream without parts.
    fn grants_every_part(&self, catalog: &Catalog, topic: &Topic) -> bool {
        let stream = catalog.get(topic.stream);
        let mut parts = stream.key_fields.iter().enumerate();
        let granted = |(index, field): (usize, &String)| {
            let named = self.keys.iter().filter(|(name, _)| **name == **field);
            let mut keys = named.flat_map(|(_, keys)| keys);
            keys.any(|part| catalog.has_part(topic, index, part))
        };
        !stream.key_fields.is_empty() && parts.all(granted)
    }
}

#[cfg(test)]
#[path = "principal_tests.rs"]
mod tests;
