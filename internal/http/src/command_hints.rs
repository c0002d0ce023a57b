//! The place where the commands run that the pages name.

/// The mark in a page that selects its command lines. A style sheet shows those of its value.
const MARK: &str = "data-commands=\"host\"";

/// The place where the commands run that the pages name, so that a page shows command lines that
/// exist there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CommandHints {
    /// The program is installed on the machine itself: `latido …`.
    #[default]
    Host,
    /// The program is in a container: `docker exec CONTAINER latido …`.
    Container,
    /// The program is in the service `latido` of docker-compose.yml.
    Compose,
}

impl CommandHints {
    /// Parses the value of the setting.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let all = [Self::Host, Self::Container, Self::Compose];
        all.into_iter().find(|hints| hints.name() == text)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Container => "container",
            Self::Compose => "compose",
        }
    }

    /// Selects the command lines of a page.
    pub(crate) fn apply(self, page: &str) -> String {
        page.replace(MARK, &format!("data-commands=\"{}\"", self.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_selected_by_their_name() {
        for name in ["host", "container", "compose"] {
            let hints = CommandHints::parse(name).unwrap();
            let page = hints.apply(&format!("<div {MARK}>"));
            assert_eq!(page, format!("<div data-commands=\"{name}\">"));
        }
        assert_eq!(CommandHints::parse("Host"), None);
    }
}
