//! The page that a client says it shows.

/// A closed list, so that no client can open topics or labels of its own invention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    /// The user's modules.
    Modules,
    /// The administrators' page.
    Admin,
    /// The overview.
    Dashboard,
    /// Any other.
    Other,
}

impl Page {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Modules, Self::Admin, Self::Dashboard, Self::Other];

    /// The page of that name.
    pub(super) fn of(name: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|page| page.name() == name)
            .unwrap_or(Self::Other)
    }

    /// Its name on the wire.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Modules => "modules",
            Self::Admin => "admin",
            Self::Dashboard => "dashboard",
            Self::Other => "other",
        }
    }
}
