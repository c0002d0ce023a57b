//! The documents: their length, their links, and the tests that they name.

use std::collections::{BTreeMap, BTreeSet};

use super::files::{assert_none, files_below, read, root, rust_files};

const MAX_README_LINES: usize = 150;
/// The longest line of prose, in characters. Tables and code blocks have no limit.
const MAX_PROSE_COLUMNS: usize = 120;
/// The path from a repository to the pages that the forge adds to it.
const FORGE_PAGES: &str = "../../actions/";

/// A Markdown file of this repository.
struct Document {
    /// The path relative to the root.
    path: String,
    text: String,
}

impl Document {
    fn all() -> Vec<Self> {
        let paths = files_below("")
            .into_iter()
            .filter(|path| path.ends_with(".md"));
        paths
            .map(|path| Self {
                text: read(&path),
                path,
            })
            .collect()
    }

    /// Returns the numbered lines outside of code blocks.
    fn prose_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut is_code = false;
        let lines = self.text.lines().enumerate();
        lines.filter_map(move |(index, line)| {
            let is_fence = line.trim_start().starts_with("```");
            is_code ^= is_fence;
            (!is_code && !is_fence).then_some((index + 1, line))
        })
    }

    /// Returns the anchors of the headings, as forges derive them, and the explicit ones.
    fn anchors(&self) -> BTreeSet<String> {
        let mut anchors = BTreeSet::new();
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for (_, line) in self.prose_lines() {
            for id in ["id=\"", "name=\""] {
                anchors.extend(
                    line.split(id)
                        .skip(1)
                        .filter_map(|rest| rest.split('"').next())
                        .map(str::to_owned),
                );
            }
            let title = line.trim_start_matches('#');
            if title.len() == line.len() || !title.starts_with(' ') {
                continue;
            }
            let slug = slug(title.trim());
            let count = seen.entry(slug.clone()).or_default();
            anchors.insert(match *count {
                0 => slug,
                repeated => format!("{slug}-{repeated}"),
            });
            *count += 1;
        }
        anchors
    }

    /// Returns the targets of all links and pictures, each with its line.
    fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for (number, line) in self.prose_lines() {
            let line = without_code_spans(line);
            let inline = line
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split([')', ' ']).next());
            let html = ["href=\"", "src=\""].into_iter().flat_map(|attribute| {
                line.split(attribute)
                    .skip(1)
                    .filter_map(|rest| rest.split('"').next())
            });
            let reference = line
                .starts_with('[')
                .then(|| line.split_once("]: "))
                .flatten()
                .map(|(_, target)| target);
            links.extend(
                inline
                    .chain(html)
                    .chain(reference)
                    .map(|target| (number, target.to_owned())),
            );
        }
        links
    }
}

/// Returns the anchor of a heading: lower case, without punctuation, with hyphens for spaces.
fn slug(title: &str) -> String {
    // Of a link only the text is part of the anchor.
    let mut text = String::new();
    let mut rest = title;
    while let Some((before, after)) = rest.split_once("](") {
        text.push_str(before);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    text.push_str(rest);
    text.to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// Replaces the text between backticks by nothing.
fn without_code_spans(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("``")
}

/// Joins a relative target to the folder of a document. Returns `None` above the repository.
fn join(document: &str, target: &str) -> Option<String> {
    let mut parts: Vec<_> = document.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[test]
fn readme_is_short() {
    let lines = read("README.md").lines().count();
    assert!(
        lines <= MAX_README_LINES,
        "README.md has {lines} lines, at most {MAX_README_LINES}"
    );
}

#[test]
fn prose_lines_are_short() {
    let mut found = Vec::new();
    for document in Document::all() {
        let prose = document
            .prose_lines()
            .filter(|(_, line)| !line.trim_start().starts_with('|'));
        for (number, line) in prose {
            let columns = line.chars().count();
            if columns > MAX_PROSE_COLUMNS {
                found.push(format!("{}:{number}: {columns} columns", document.path));
            }
        }
    }
    assert_none(found, "a line of prose is longer than 120 characters");
}

#[test]
fn every_relative_link_has_a_target() {
    let documents = Document::all();
    let anchors: BTreeMap<_, _> = documents
        .iter()
        .map(|document| (document.path.clone(), document.anchors()))
        .collect();
    let (mut found, mut count) = (Vec::new(), 0);
    for document in &documents {
        for (number, link) in document.links() {
            if link.contains("://") || link.starts_with("mailto:") || link.starts_with(FORGE_PAGES)
            {
                continue;
            }
            count += 1;
            let (target, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let path = if target.is_empty() {
                Some(document.path.clone())
            } else {
                join(&document.path, target)
            };
            let place = format!("{}:{number}: {link}", document.path);
            let Some(path) = path.filter(|path| root().join(path).exists()) else {
                found.push(format!("{place}: there is no such file"));
                continue;
            };
            let has_anchor = |anchors: &BTreeSet<String>| anchors.contains(anchor);
            if !anchor.is_empty() && !anchors.get(&path).is_some_and(has_anchor) {
                found.push(format!("{place}: there is no such heading"));
            }
        }
    }
    assert!(count > 100, "only {count} links were found");
    assert_none(found, "a link leads nowhere");
}

/// The last column of the table in SECURITY.md names the tests of each limit.
#[test]
fn every_test_named_in_security_exists() {
    let text = read("SECURITY.md");
    let rows = text
        .lines()
        .skip_while(|line| !(line.starts_with('|') && line.ends_with("| tests |")))
        .take_while(|line| line.starts_with('|'));
    let is_name = |name: &&str| {
        name.contains('_')
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let named: BTreeSet<_> = rows
        .filter_map(|row| row.trim_end_matches(['|', ' ']).rsplit('|').next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(is_name)
        .collect();
    assert!(named.len() > 50, "only {} tests are named", named.len());
    let files = rust_files();
    let missing = named.into_iter().filter(|name| {
        let function = format!("fn {name}(");
        !files.iter().any(|file| file.text.contains(&function))
    });
    assert_none(
        missing.map(str::to_owned).collect(),
        "SECURITY.md names a test that does not exist",
    );
}

/// A rule for the exact path of the metrics or the hook is passed by another spelling of it.
#[test]
fn rules_of_proxies_match_by_prefix() {
    let page = read("docs/deploy/reverse-proxy.md");
    for rule in [
        "location ^~ /metrics ",
        "location ^~ /notify ",
        "path /metrics* /notify*",
        "!PathPrefix(`/metrics`)",
        "!PathPrefix(`/notify`)",
    ] {
        assert!(page.contains(rule), "{rule}");
    }
    let mut exact = Vec::new();
    for document in Document::all() {
        for (index, line) in document.text.lines().enumerate() {
            let is_exact = ["location = /", "location /", "path /", "Path(`/"]
                .iter()
                .any(|rule| {
                    ["metrics ", "metrics`", "metrics{", "notify ", "notify`"]
                        .iter()
                        .any(|path| line.contains(&format!("{rule}{path}")))
                });
            if is_exact {
                exact.push(format!("{}:{}: {line}", document.path, index + 1));
            }
        }
    }
    assert_none(exact, "a rule matches an exact path");
}

#[test]
fn anchors_and_links_are_parsed() {
    let document = Document {
        path: "docs/a.md".into(),
        text: "# One `two`: [three](x.md)\n\n```sh\n# no heading\n```\n## Same\n## Same\n[a](../b.md#c) `[no](link)`\n[r]: d.md\n".into(),
    };
    assert_eq!(
        document.anchors(),
        ["one-two-three", "same", "same-1"].map(Into::into).into()
    );
    let links: Vec<_> = document.links().into_iter().map(|(_, link)| link).collect();
    assert_eq!(links, ["x.md", "../b.md#c", "d.md"]);
    assert_eq!(join("docs/a.md", "../b.md").as_deref(), Some("b.md"));
    assert_eq!(join("docs/a.md", "../../b.md"), None);
}
