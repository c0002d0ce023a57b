//! The dependencies: checks the lock file against the licences, sources and bans of `.deny.toml`,
//! without another program.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns every package of the dependency tree, for all platforms and including test dependencies.
fn packages() -> Vec<Value> {
    let mut cargo = Command::new(env!("CARGO"));
    let output = cargo
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let Value::Array(packages) = metadata["packages"].take() else {
        panic!("no packages")
    };
    packages
        .into_iter()
        .filter(|package| !package["source"].is_null())
        .collect()
}

fn rules() -> toml::Table {
    std::fs::read_to_string(root().join(".deny.toml"))
        .unwrap()
        .parse()
        .unwrap()
}

fn texts(list: &toml::Value) -> BTreeSet<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|entry| entry.as_str().or_else(|| entry["name"].as_str()).unwrap())
        .collect()
}

/// Returns whether the licences in `allowed` satisfy an SPDX expression. Old crates write `/` for
/// OR.
fn is_satisfied(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (met, rest) = parse_or(&words, allowed);
    met && rest.is_empty()
}

fn parse_or<'w, 'a>(words: &'w [&'a str], allowed: &BTreeSet<&str>) -> (bool, &'w [&'a str]) {
    let (mut met, mut rest) = parse_and(words, allowed);
    while let Some(("OR" | "or", after)) = rest.split_first().map(|(word, after)| (*word, after)) {
        let (other, left) = parse_and(after, allowed);
        (met, rest) = (met | other, left);
    }
    (met, rest)
}

fn parse_and<'w, 'a>(words: &'w [&'a str], allowed: &BTreeSet<&str>) -> (bool, &'w [&'a str]) {
    let (mut met, mut rest) = parse_term(words, allowed);
    while let Some(("AND" | "and", after)) = rest.split_first().map(|(word, after)| (*word, after))
    {
        let (other, left) = parse_term(after, allowed);
        (met, rest) = (met & other, left);
    }
    (met, rest)
}

fn parse_term<'w, 'a>(words: &'w [&'a str], allowed: &BTreeSet<&str>) -> (bool, &'w [&'a str]) {
    match words {
        ["(", inner @ ..] => {
            let (met, rest) = parse_or(inner, allowed);
            assert_eq!(rest.first(), Some(&")"));
            (met, &rest[1..])
        }
        [name, "WITH", exception, rest @ ..] => (
            allowed.contains(format!("{name} WITH {exception}").as_str()),
            rest,
        ),
        [name, rest @ ..] => (allowed.contains(name), rest),
        [] => (false, &[]),
    }
}

#[test]
fn licences_are_allowed_for_redistribution() {
    let rules = rules();
    let allowed = texts(&rules["licenses"]["allow"]);
    assert!(
        is_satisfied("(MIT OR GPL-3.0) AND ISC", &allowed)
            && !is_satisfied("MIT AND GPL-3.0", &allowed)
            && is_satisfied("Unlicense/MIT", &allowed)
    );
    let packages = packages();
    assert!(packages.len() > 100, "the tree was read");
    for package in packages {
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(
            is_satisfied(licence, &allowed),
            "{} {}: {licence}",
            package["name"],
            package["version"]
        );
    }
}

#[test]
fn every_package_comes_from_the_registry_with_a_checksum() {
    for package in packages() {
        let source = package["source"].as_str().unwrap();
        assert_eq!(
            source, "registry+https://github.com/rust-lang/crates.io-index",
            "{}",
            package["name"]
        );
    }
    let lock: toml::Table = std::fs::read_to_string(root().join("Cargo.lock"))
        .unwrap()
        .parse()
        .unwrap();
    for package in lock["package"].as_array().unwrap() {
        assert_eq!(
            package.get("source").is_some(),
            package.get("checksum").is_some(),
            "{}",
            package["name"]
        );
    }
}

#[test]
fn banned_packages_are_not_in_the_tree() {
    let rules = rules();
    let banned = texts(&rules["bans"]["deny"]);
    for package in packages() {
        assert!(
            !banned.contains(package["name"].as_str().unwrap()),
            "{}",
            package["name"]
        );
    }
}

#[test]
fn every_ignored_advisory_has_a_reason() {
    for entry in rules()["advisories"]["ignore"].as_array().unwrap() {
        assert!(
            entry["id"].as_str().unwrap().starts_with("RUSTSEC-")
                && entry["reason"].as_str().unwrap().len() > 20
        );
    }
}

/// Warnings are errors, and another compiler warns of other things.
#[test]
fn every_build_uses_the_pinned_compiler() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let toolchain: toml::Table = read("rust-toolchain.toml").parse().unwrap();
    let pinned = toolchain["toolchain"]["channel"].as_str().unwrap();
    assert_eq!(
        pinned.split('.').count(),
        3,
        "{pinned} is not an exact release"
    );
    let image = format!("FROM rust:{pinned}-slim-bookworm AS build\n");
    assert!(read("Dockerfile").contains(&image), "Dockerfile: {image}");
    let container = format!("\"version\": \"{pinned}\"");
    let described = read(".devcontainer/devcontainer.json");
    assert!(described.contains(&container), "devcontainer: {container}");
}
