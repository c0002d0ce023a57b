//! Who is there, and what the token itself grants.

use std::sync::Arc;

use crate::auth::LEEWAY_S;
use crate::auth::introspection::Vouched;
use crate::ident::{Channel, UserId};
use crate::stream::Catalog;

/// Who a verified token says is there. Every open connection keeps one, so nothing in it has room to spare.
#[derive(Debug, PartialEq, Eq)]
pub struct Principal {
    user: UserId,
    expires_at_s: i64,
    role: Option<Box<str>>,
    grants: Grants,
    seldom: Option<Box<Seldom>>,
}

/// What few principals have.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seldom {
    /// The device or session that the token names.
    session: Option<Box<str>>,
    /// Where the issuer is asked about revoked tokens.
    vouched: Option<Arc<Vouched>>,
}

impl Principal {
    /// Who is there, what the token's `exp` says (Unix seconds), and what the token grants.
    pub fn new(user: UserId, expires_at_s: i64, role: Option<&str>, grants: Grants) -> Self {
        Self {
            user,
            expires_at_s,
            role: role.map(Into::into),
            grants,
            seldom: None,
        }
    }

    /// With the device or session that the token names.
    #[must_use]
    pub fn with_session(mut self, session: &str) -> Self {
        self.seldom.get_or_insert_default().session = Some(session.into());
        self
    }

    /// The device or session, where the verifier was told to look for one.
    pub fn session(&self) -> Option<&str> {
        self.seldom.as_ref()?.session.as_deref()
    }

    /// Claim `id`, else `user_id`, else `sub`.
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// Claim `exp`, whole seconds since the Unix epoch: what a client is told.
    pub fn expires_at_s(&self) -> i64 {
        self.expires_at_s
    }

    /// From this second on (Unix epoch) the token is refused and its connections end: `exp` and the leeway that a new connection gets
    /// as well, so that none is accepted only to be closed at once.
    pub fn ends_at_s(&self) -> i64 {
        self.expires_at_s.saturating_add(LEEWAY_S)
    }

    /// The same, as long as the issuer does not revoke the token.
    pub(super) fn while_valid(mut self, vouched: Arc<Vouched>) -> Self {
        self.seldom.get_or_insert_default().vouched = Some(vouched);
        self
    }

    /// Whether the token may be revoked before it ends, so that [`Principal::is_revoked`] must be looked at now and then.
    pub fn may_be_revoked(&self) -> bool {
        self.vouched().is_some()
    }

    /// Whether the issuer has revoked the token since.
    pub fn is_revoked(&self) -> bool {
        self.vouched().is_some_and(|vouched| vouched.is_revoked())
    }

    fn vouched(&self) -> Option<&Arc<Vouched>> {
        self.seldom.as_ref()?.vouched.as_ref()
    }

    /// Claim `rol`, else `role`.
    pub fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    /// What the token grants without asking anybody.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }
}

/// A verified token, for apps: all that it says, and who is there. Not to be printed: claims are somebody's.
pub struct Opened {
    /// By the app's own claims.
    pub user: UserId,
    /// Who is there for the streams: by the streams' own claims, and where the token has none of those, by the app's.
    pub principal: Principal,
    /// Everything.
    pub claims: serde_json::Map<String, serde_json::Value>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A key's field (`negocio_id`) and the keys granted in every stream whose keys have that name.
pub(super) type KeysByField = Vec<(Arc<str>, Vec<String>)>;

/// The same, to be kept.
type GrantedKeys = (Arc<str>, Box<[Box<str>]>);

/// Keys and channels that the claims name, as written there.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Grants {
    keys: Box<[GrantedKeys]>,
    /// Whole names.
    channels: Box<[Box<str>]>,
}

impl Grants {
    /// Keys by the name of their field, and whole channel names.
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

    /// Whether a claim grants `channel`. Both sides are compared in canonical form, so `negocio_7` grants `7` where keys are integers.
    pub fn allow(&self, catalog: &Catalog, channel: &Channel) -> bool {
        let topic = &channel.topic;
        let field = &catalog.get(topic.stream).key_field;
        let named = self
            .keys
            .iter()
            .filter(|(name, _)| **name == **field)
            .flat_map(|(_, keys)| keys);
        named.into_iter().any(|key| {
            catalog
                .parse_key(topic.stream, key)
                .is_ok_and(|key| key == topic.key)
        }) || self.channels.iter().any(|name| {
            catalog
                .resolve(name)
                .is_ok_and(|granted| granted.topic == *topic)
        })
    }
}
