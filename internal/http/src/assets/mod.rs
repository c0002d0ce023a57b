//! The files of the page, compiled into the binary as they are in this folder: no build step, no
//! request to another server.

use crate::StaticFile;

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
        path: "/card.js",
        content_type: SCRIPT,
        bytes: include_bytes!("card.js"),
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
        path: "/dashboard-words.js",
        content_type: SCRIPT,
        bytes: include_bytes!("dashboard-words.js"),
    },
    StaticFile {
        path: "/board.js",
        content_type: SCRIPT,
        bytes: include_bytes!("board.js"),
    },
    StaticFile {
        path: "/rows.js",
        content_type: SCRIPT,
        bytes: include_bytes!("rows.js"),
    },
    StaticFile {
        path: "/sessions.js",
        content_type: SCRIPT,
        bytes: include_bytes!("sessions.js"),
    },
    StaticFile {
        path: "/spark.js",
        content_type: SCRIPT,
        bytes: include_bytes!("spark.js"),
    },
    StaticFile {
        path: "/link.js",
        content_type: SCRIPT,
        bytes: include_bytes!("link.js"),
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
        path: "/words.js",
        content_type: SCRIPT,
        bytes: include_bytes!("words.js"),
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
