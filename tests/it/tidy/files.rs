//! The files of the repository that the gates read.

use std::fs;
use std::path::{Path, PathBuf};

/// The folders with Rust code.
const CODE_FOLDERS: [&str; 5] = ["internal", "cmd", "tests", "examples", "fuzz"];
/// The folders that contain no file of this repository.
const FOREIGN_FOLDERS: [&str; 4] = ["target", "node_modules", ".git", "dist"];
/// The folders of production code that contain only tests.
const TEST_FOLDERS: [&str; 3] = ["/tests/", "/fuzz/", "/fuzz_targets/"];

/// A Rust source file of this repository.
pub(super) struct RustFile {
    /// The path relative to the root, with forward slashes.
    pub(super) path: String,
    /// The complete text of the file.
    pub(super) text: String,
}

impl RustFile {
    /// Returns whether the file is compiled into the server or the command.
    pub(super) fn is_production(&self) -> bool {
        let is_inside = self.path.starts_with("internal/") || self.path.starts_with("cmd/");
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let is_test = TEST_FOLDERS.iter().any(|folder| self.path.contains(folder))
            || ["_test.rs", "_tests.rs"]
                .iter()
                .any(|end| name.ends_with(end))
            || ["test.rs", "tests.rs"].contains(&name)
            || self.path.contains("/simulated");
        is_inside && !is_test
    }

    /// Returns the text without the tests at the end.
    pub(super) fn production_text(&self) -> &str {
        let end = self.text.find("\n#[cfg(test)]\nmod tests {");
        &self.text[..end.unwrap_or(self.text.len())]
    }

    /// Returns the numbered code lines, without comments and without the tests at the end.
    pub(super) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.production_text().lines().enumerate();
        lines
            .map(|(index, line)| (index + 1, line))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// Returns the code lines that contain one of `words`, each with its place.
    pub(super) fn matching_lines(&self, words: &[&str]) -> Vec<String> {
        self.code_lines()
            .filter(|(_, line)| words.iter().any(|word| contains_word(line, word)))
            .map(|(number, line)| format!("{}:{number}: {}", self.path, line.trim()))
            .collect()
    }
}

/// Returns whether a line contains a word or the start of a path, and not only as the start of a
/// longer word: `.awaits` is no `.await`.
fn contains_word(line: &str, word: &str) -> bool {
    let ends_in_letter = word.ends_with(char::is_alphanumeric);
    line.match_indices(word).any(|(at, _)| {
        let after = &line[at + word.len()..];
        !(ends_in_letter && after.starts_with(char::is_alphanumeric))
    })
}

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the text of a file of the repository.
pub(super) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the files below a folder, relative to the root, in a stable order.
pub(super) fn files_below(folder: &str) -> Vec<String> {
    let mut files = Vec::new();
    collect_files(&root().join(folder), &mut files);
    let relative = |path: &PathBuf| {
        path.strip_prefix(root())
            .unwrap()
            .to_string_lossy()
            .replace('\\', "/")
    };
    let mut files: Vec<_> = files.iter().map(relative).collect();
    files.sort();
    files
}

fn collect_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            into.push(path);
        } else if !FOREIGN_FOLDERS.iter().any(|name| path.ends_with(name)) {
            collect_files(&path, into);
        }
    }
}

/// Returns every Rust file of the repository.
pub(super) fn rust_files() -> Vec<RustFile> {
    let paths = CODE_FOLDERS.iter().flat_map(|folder| files_below(folder));
    paths
        .filter(|path| path.ends_with(".rs"))
        .map(|path| RustFile {
            text: read(&path),
            path,
        })
        .collect()
}

/// Returns the files of the server and of the command, without tests.
pub(super) fn production_files() -> Vec<RustFile> {
    rust_files()
        .into_iter()
        .filter(RustFile::is_production)
        .collect()
}

/// Asserts that a rule has no violation.
pub(super) fn assert_none(violations: Vec<String>, rule: &str) {
    assert!(
        violations.is_empty(),
        "{rule} ({}):\n  {}",
        violations.len(),
        violations.join("\n  ")
    );
}
