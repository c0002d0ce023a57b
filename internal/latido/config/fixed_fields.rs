//! The fields of `latido.toml` that count after a restart only.

use crate::config::Settings;

/// The fields of a configuration file that a running server does not take up, as texts to compare.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FixedFields {
    admin_roles: String,
    apps: String,
}

impl FixedFields {
    /// Returns the names of the fields that have another value in `other`.
    pub(crate) fn changed(&self, other: &Self) -> impl Iterator<Item = &'static str> + use<> {
        let fields = [
            ("admin_roles", self.admin_roles != other.admin_roles),
            ("apps", self.apps != other.apps),
        ];
        let changed = fields.into_iter().filter(|(_, is_changed)| *is_changed);
        changed.map(|(name, _)| name)
    }
}

impl Settings {
    /// Returns the fields that count after a restart only.
    pub(crate) fn fixed_fields(&self) -> FixedFields {
        FixedFields {
            admin_roles: format!("{:?}", self.policy.admin_roles),
            apps: self.app_tables.clone(),
        }
    }
}
