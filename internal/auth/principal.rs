//! Who is there, and what the token itself grants.

use std::sync::Arc;

use crate::auth::LEEWAY_S;
use crate::ident::{Channel, UserId};
use crate::stream::Catalog;

/// Who a verified token says is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Claim `id`, else `user_id`, else `sub`.
    pub user: UserId,
    /// Claim `exp`, whole seconds since the Unix epoch.
    pub expires_at_s: i64,
    /// Claim `rol`, else `role`.
    pub role: Option<Arc<str>>,
    /// What the token grants without asking anybody.
    pub grants: Arc<Grants>,
}

impl Principal {
    /// From this second on (Unix epoch) the token is refused and its connections end: `exp` and the leeway that a new connection gets
    /// as well, so that none is accepted only to be closed at once.
    pub fn ends_at_s(&self) -> i64 {
        self.expires_at_s + LEEWAY_S
    }
}

/// A key's field (`negocio_id`) and the keys granted in every stream whose keys have that name.
pub(super) type GrantedKeys = (Arc<str>, Vec<String>);

/// Keys and channels that the claims name, as written there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    pub(super) keys: Vec<GrantedKeys>,
    /// Whole names.
    pub(super) channels: Vec<String>,
}

impl Grants {
    /// Whether a claim grants `channel`. Both sides are compared in canonical form, so `negocio_7` grants `7` where keys are integers.
    pub fn allow(&self, catalog: &Catalog, channel: &Channel) -> bool {
        let topic = &channel.topic;
        let field = &catalog.get(topic.stream).key_field;
        let named = self.keys.iter().filter(|(name, _)| **name == **field).flat_map(|(_, keys)| keys);
        named.into_iter().any(|key| catalog.parse_key(topic.stream, key).is_ok_and(|key| key == topic.key))
            || self.channels.iter().any(|name| catalog.resolve(name).is_ok_and(|granted| granted.topic == *topic))
    }
}
