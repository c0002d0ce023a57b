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
    file("/services.css", CSS, include_bytes!("services.css")),
    file("/date-range.js", SCRIPT, include_bytes!("date-range.js")),
    file("/day-chart.js", SCRIPT, include_bytes!("day-chart.js")),
    file("/entry-form.js", SCRIPT, include_bytes!("entry-form.js")),
    file(
        "/field-values.js",
        SCRIPT,
        include_bytes!("field-values.js"),
    ),
    file("/flash.js", SCRIPT, include_bytes!("flash.js")),
    file("/row-card.js", SCRIPT, include_bytes!("row-card.js")),
    file("/rows-i18n.js", SCRIPT, include_bytes!("rows-i18n.js")),
    file(
        "/services-i18n.js",
        SCRIPT,
        include_bytes!("services-i18n.js"),
    ),
    file(
        "/services-panel.js",
        SCRIPT,
        include_bytes!("services-panel.js"),
    ),
];

/// Returns a file of that path.
const fn file(path: &'static str, content_type: &'static str, bytes: &'static [u8]) -> StaticFile {
    StaticFile {
        path,
        content_type,
        bytes,
    }
}

/// The page of `latido try`, served alone.
pub(crate) static TRY_PAGE_FILES: &[StaticFile] = &[
    file("/", HTML, include_bytes!("try.html")),
    file("/try.css", CSS, include_bytes!("try.css")),
    file("/try.js", SCRIPT, include_bytes!("try.js")),
    file("/try-choice.js", SCRIPT, include_bytes!("try-choice.js")),
    file("/try-i18n.js", SCRIPT, include_bytes!("try-i18n.js")),
    file(
        "/field-values.js",
        SCRIPT,
        include_bytes!("field-values.js"),
    ),
    file("/app.css", CSS, include_bytes!("app.css")),
    file("/i18n.js", SCRIPT, include_bytes!("i18n.js")),
    file("/favicon.svg", SVG, include_bytes!("favicon.svg")),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str) -> &'static str {
        text_in(STATIC_FILES, path)
    }

    fn text_in(files: &[StaticFile], path: &str) -> &'static str {
        let asset = files
            .iter()
            .find(|asset| asset.path == path)
            .unwrap_or_else(|| panic!("{path} is not embedded"));
        std::str::from_utf8(asset.bytes).unwrap()
    }

    /// The pages of each set of files, with their scripts.
    fn pages() -> [(&'static [StaticFile], &'static str, &'static str); 3] {
        [
            (STATIC_FILES, "/", "/app.js"),
            (STATIC_FILES, "/dashboard.html", "/dashboard.js"),
            (TRY_PAGE_FILES, "/", "/try.js"),
        ]
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
        for (files, page, _) in pages() {
            let page = text_in(files, page);
            for attribute in [
                "src=\"",
                "rel=\"icon\" href=\"",
                "rel=\"stylesheet\" href=\"",
            ] {
                let loaded: Vec<_> = quoted_after(page, attribute, '"')
                    .map(|path| text_in(files, path))
                    .collect();
                assert!(!loaded.is_empty(), "{attribute}");
            }
        }
        for files in [STATIC_FILES, TRY_PAGE_FILES] {
            for script in files.iter().filter(|asset| asset.content_type == SCRIPT) {
                let script = text_in(files, script.path);
                for name in quoted_after(script, "from './", '\'').chain(quoted_after(
                    script,
                    "import './",
                    '\'',
                )) {
                    assert!(!text_in(files, &format!("/{name}")).is_empty());
                }
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
        for (files, page, script) in pages() {
            let page = text_in(files, page);
            assert!(
                !page.contains(" style=") && !page.contains("<style") && !page.contains(" on"),
                "inline styles or handlers"
            );
            let script = format!("<script type=\"module\" src=\"{script}\"></script>");
            assert!(page.matches("<script").count() == 1 && page.contains(&script));
        }
        for asset in STATIC_FILES.iter().chain(TRY_PAGE_FILES) {
            let text = std::str::from_utf8(asset.bytes).unwrap();
            let text = text.replace("http://www.w3.org/2000/svg", "");
            assert!(
                !text.contains("http://") && !text.contains("https://") && !text.contains("url("),
                "{} reaches outside",
                asset.path
            );
        }
    }
}
