//! The files of the page, compiled into the binary as they are in this folder: no build step, no
//! request to another server.

use crate::static_files::StaticFile;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The page at `/` and the operators' page, for [`crate::ServerState::assets`].
pub static STATIC_FILES: &[StaticFile] = &[
    StaticFile {
        path: "/",
        content_type: HTML,
        bytes: include_bytes!("index.html"),
    },
    StaticFile {
        path: "/app.css",
        content_type: CSS,
        bytes: include_bytes!("app.css"),
    },
    StaticFile {
        path: "/app.js",
        content_type: SCRIPT,
        bytes: include_bytes!("app.js"),
    },
    StaticFile {
        path: "/channel-card.js",
        content_type: SCRIPT,
        bytes: include_bytes!("channel-card.js"),
    },
    StaticFile {
        path: "/chart.js",
        content_type: SCRIPT,
        bytes: include_bytes!("chart.js"),
    },
    StaticFile {
        path: "/dashboard.html",
        content_type: HTML,
        bytes: include_bytes!("dashboard.html"),
    },
    StaticFile {
        path: "/dashboard.css",
        content_type: CSS,
        bytes: include_bytes!("dashboard.css"),
    },
    StaticFile {
        path: "/dashboard.js",
        content_type: SCRIPT,
        bytes: include_bytes!("dashboard.js"),
    },
    StaticFile {
        path: "/dashboard-i18n.js",
        content_type: SCRIPT,
        bytes: include_bytes!("dashboard-i18n.js"),
    },
    StaticFile {
        path: "/channel-list.js",
        content_type: SCRIPT,
        bytes: include_bytes!("channel-list.js"),
    },
    StaticFile {
        path: "/dom.js",
        content_type: SCRIPT,
        bytes: include_bytes!("dom.js"),
    },
    StaticFile {
        path: "/event-list.js",
        content_type: SCRIPT,
        bytes: include_bytes!("event-list.js"),
    },
    StaticFile {
        path: "/overview.js",
        content_type: SCRIPT,
        bytes: include_bytes!("overview.js"),
    },
    StaticFile {
        path: "/table.js",
        content_type: SCRIPT,
        bytes: include_bytes!("table.js"),
    },
    StaticFile {
        path: "/sessions.js",
        content_type: SCRIPT,
        bytes: include_bytes!("sessions.js"),
    },
    StaticFile {
        path: "/time-chart.js",
        content_type: SCRIPT,
        bytes: include_bytes!("time-chart.js"),
    },
    StaticFile {
        path: "/connection.js",
        content_type: SCRIPT,
        bytes: include_bytes!("connection.js"),
    },
    StaticFile {
        path: "/state.js",
        content_type: SCRIPT,
        bytes: include_bytes!("state.js"),
    },
    StaticFile {
        path: "/status.js",
        content_type: SCRIPT,
        bytes: include_bytes!("status.js"),
    },
    StaticFile {
        path: "/i18n.js",
        content_type: SCRIPT,
        bytes: include_bytes!("i18n.js"),
    },
    StaticFile {
        path: "/favicon.svg",
        content_type: SVG,
        bytes: include_bytes!("favicon.svg"),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str) -> &'static str {
        let asset = STATIC_FILES
            .iter()
            .find(|asset| asset.path == path)
            .unwrap_or_else(|| panic!("{path} is not embedded"));
        std::str::from_utf8(asset.bytes).unwrap()
    }

    /// Returns the text up to `quote` behind each `mark`.
    fn quoted_after<'a>(
        text: &'a str,
        mark: &'a str,
        quote: char,
    ) -> impl Iterator<Item = &'a str> {
        text.split(mark)
            .skip(1)
            .filter_map(move |rest| rest.split(quote).next())
    }

    #[test]
    fn every_file_the_pages_load_is_embedded() {
        for page in ["/", "/dashboard.html"].map(text) {
            for attribute in [
                "src=\"",
                "rel=\"icon\" href=\"",
                "rel=\"stylesheet\" href=\"",
            ] {
                assert!(
                    quoted_after(page, attribute, '"').map(text).count() > 0,
                    "{attribute}"
                );
            }
        }
        for script in STATIC_FILES
            .iter()
            .filter(|asset| asset.content_type == SCRIPT)
        {
            for name in quoted_after(text(script.path), "from './", '\'').chain(quoted_after(
                text(script.path),
                "import './",
                '\'',
            )) {
                assert!(!text(&format!("/{name}")).is_empty());
            }
        }
    }

    #[test]
    fn pages_name_commands_for_every_kind_of_installation() {
        let style = text("/app.css");
        for page in ["/", "/dashboard.html"].map(text) {
            assert_eq!(page.matches("data-commands=\"host\"").count(), 1);
            for name in ["host", "container", "compose"] {
                let class = format!("class=\"commands {name}\"");
                assert_eq!(page.matches(&class).count(), 1, "{name}");
                let rule = format!("[data-commands={name}] .commands.{name}");
                assert!(style.contains(&rule), "{name}");
            }
        }
    }

    #[test]
    fn pages_comply_with_the_content_security_policy() {
        for (page, script) in [("/", "/app.js"), ("/dashboard.html", "/dashboard.js")] {
            let page = text(page);
            assert!(
                !page.contains(" style=") && !page.contains("<style") && !page.contains(" on"),
                "inline styles or handlers"
            );
            let script = format!("<script type=\"module\" src=\"{script}\"></script>");
            assert!(page.matches("<script").count() == 1 && page.contains(&script));
        }
        for asset in STATIC_FILES {
            let text = text(asset.path).replace("http://www.w3.org/2000/svg", "");
            assert!(
                !text.contains("http://") && !text.contains("https://") && !text.contains("url("),
                "{} reaches outside",
                asset.path
            );
        }
    }
}
