//! The sizes of files, their documentation, and the entries of the top-level folder.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use super::files::{RustFile, assert_none, files_below, read, root, rust_files};

const MAX_FILE_LINES: usize = 400;
const MAX_TEST_FILE_LINES: usize = 500;

/// The allowed entries of the top-level folder.
const TOP_LEVEL: &str = ".ci .clippy.toml .deny.toml .devcontainer .dockerignore .editorconfig .env.example .git-blame-ignore-revs .github .gitignore \
    CHANGELOG.md CONTRIBUTING.md Cargo.lock Cargo.toml Dockerfile LICENSE Makefile README.md SECURITY.md clients cmd docker-compose.yml docs \
    examples fuzz internal rust-toolchain.toml sql tests";

#[test]
fn files_are_small() {
    let is_long = |file: &RustFile| {
        let lines = file.text.lines().count();
        let limit = if file.is_production() {
            MAX_FILE_LINES
        } else {
            MAX_TEST_FILE_LINES
        };
        (lines > limit).then(|| format!("{}: {lines} lines, at most {limit}", file.path))
    };
    assert_none(
        rust_files().iter().filter_map(is_long).collect(),
        "a file is too long",
    );
}

#[test]
fn every_file_starts_with_documentation() {
    // A test file that was only split off for its length is described at its declaration.
    let is_undocumented = |file: &RustFile| {
        !file.text.starts_with("//!")
            && !file.text.starts_with("#![doc")
            && !file.path.ends_with("_tests.rs")
    };
    // A fuzz target starts with the attribute that removes `main`.
    let files = rust_files().into_iter().filter(is_undocumented);
    assert_none(
        files
            .map(|file| file.path)
            .filter(|path| !path.starts_with("fuzz/"))
            .collect(),
        "a file does not start with its purpose",
    );
}

#[test]
fn no_private_key_is_committed() {
    let begin = concat!("-----", "BEGIN");
    let contains_key = |path: &String| {
        let bytes = fs::read(root().join(path)).unwrap();
        String::from_utf8_lossy(&bytes)
            .lines()
            .any(|line| line.contains(begin) && line.contains("PRIVATE KEY-----"))
    };
    let files = [".ci", "cmd", "internal", "sql", "tests"]
        .iter()
        .flat_map(|folder| files_below(folder));
    assert_none(
        files.filter(contains_key).collect(),
        "a private key; generate it when the test runs",
    );
}

#[test]
fn top_level_has_only_known_entries() {
    let known: BTreeSet<_> = TOP_LEVEL.split_whitespace().collect();
    assert_none(
        top_level_entries()
            .into_iter()
            .filter(|name| !known.contains(name.as_str()))
            .collect(),
        "an unknown file at the top level",
    );
}

/// Returns the top-level entries of the tracked files, or without git of all files except dotfiles:
/// a working copy may contain an editor's folders and a .env.
fn top_level_entries() -> BTreeSet<String> {
    let output = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output();
    let tracked = output
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8(output.stdout).unwrap());
    let Some(tracked) = tracked else {
        let names = fs::read_dir(root())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        return names
            .filter(|name| name != "target" && !name.starts_with('.'))
            .collect();
    };
    tracked
        .split('\0')
        .filter_map(|path| path.split('/').next())
        .filter(|name| !name.is_empty())
        .map(Into::into)
        .collect()
}

/// The badge of the minimum Rust version agrees with the manifest.
#[test]
fn readme_states_the_minimum_rust_version() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let version = manifest["workspace"]["package"]["rust-version"]
        .as_str()
        .unwrap();
    assert!(
        read("README.md").contains(&format!("badge/rust-{version}%2B")),
        "README.md names another version than {version}"
    );
}
