//! The page that a client reports to show.

/// A closed list of pages, so that no client can create topics or metric labels of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WebPage {
    /// The page of the user's modules.
    Modules,
    /// The page of the administrators.
    Admin,
    /// The overview page of a user.
    Dashboard,
    /// Any other page, known or unknown.
    Other,
}

impl WebPage {
    /// All pages, for counting viewers.
    pub(super) const ALL: [Self; 4] = [Self::Modules, Self::Admin, Self::Dashboard, Self::Other];

    /// Returns the page of this name, or [`WebPage::Other`] if the name is unknown.
    pub(super) fn parse(name: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|page| page.name() == name)
            .unwrap_or(Self::Other)
    }

    /// Returns the page's name on the wire.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Modules => "modules",
            Self::Admin => "admin",
            Self::Dashboard => "dashboard",
            Self::Other => "other",
        }
    }
}
