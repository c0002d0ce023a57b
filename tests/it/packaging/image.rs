//! The Dockerfile.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::{exists, help, read};
use crate::harness::TempFolder;

/// Returns the Dockerfile's instructions with continued lines joined and comments removed.
fn instructions() -> Vec<(String, String)> {
    let text = read("Dockerfile").replace("\\\n", " ");
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').unwrap())
        .map(|(word, rest)| (word.to_owned(), rest.trim().to_owned()))
        .collect()
}

pub(super) fn arguments_of(kind: &str) -> Vec<String> {
    instructions()
        .into_iter()
        .filter(|(word, _)| word == kind)
        .map(|(_, rest)| rest)
        .collect()
}

#[test]
fn image_copies_only_existing_files() {
    let ignored = read(".dockerignore");
    let reaches = |path: &str| ignored.lines().any(|line| line == format!("!{path}"));
    assert!(
        ignored.lines().any(|line| line == "*"),
        ".dockerignore must begin with nothing"
    );
    for copy in arguments_of("COPY") {
        let words: Vec<_> = copy.split_whitespace().collect();
        let (_, sources) = words.split_last().unwrap();
        match sources[0].strip_prefix("--from=") {
            Some(stage) => {
                assert!(
                    arguments_of("FROM")
                        .iter()
                        .any(|from| from.ends_with(&format!(" AS {stage}"))),
                    "{copy}: no such stage"
                );
                let program = sources[1];
                assert!(
                    arguments_of("RUN").iter().any(|run| run.ends_with(&format!("&& cp target/release/latido {program}"))),
                    "{copy}: no stage writes it"
                );
            }
            None => sources
                .iter()
                .for_each(|path| assert!(exists(path) && reaches(path), "{copy}: {path}")),
        }
    }
    let binary = read("Cargo.toml").contains("name = \"latido\"\npath = \"cmd/latido/main.rs\"");
    assert!(
        binary && exists("cmd/latido/main.rs"),
        "the program is not where Cargo.toml expects it"
    );
}

/// Every file that the code embeds must be copied into the builder stage.
#[test]
fn image_build_copies_every_included_file() {
    let copied: BTreeSet<String> = arguments_of("COPY")
        .join(" ")
        .split_whitespace()
        .map(Into::into)
        .collect();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("internal")];
    let mut included = 0;
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                for name in text.split("include_").skip(1).filter_map(|rest| {
                    let call = rest
                        .strip_prefix("str!(")
                        .or_else(|| rest.strip_prefix("bytes!("))?;
                    call.trim_start().strip_prefix('"')?.split('"').next()
                }) {
                    let target = path
                        .parent()
                        .unwrap()
                        .join(name)
                        .canonicalize()
                        .unwrap_or_else(|_| panic!("{}: {name}", path.display()));
                    let inside = target
                        .strip_prefix(
                            Path::new(env!("CARGO_MANIFEST_DIR"))
                                .canonicalize()
                                .unwrap(),
                        )
                        .unwrap();
                    let top = inside.iter().next().unwrap().to_string_lossy().into_owned();
                    assert!(
                        copied.contains(&top),
                        "{} includes {name}, which the image lacks",
                        path.display()
                    );
                    included += 1;
                }
            }
        }
    }
    assert!(included > 0);
}

/// Copies a file or a folder with its content.
fn copy_all(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy_all(&entry.path(), &to.join(entry.file_name()));
    }
}

/// Cargo accepts the manifest where only the copied files are, so no test or example is missed. It
/// reads the manifest before it misses a program that does not exist.
#[test]
fn image_build_needs_no_other_target() {
    let folder = TempFolder::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for copy in arguments_of("COPY") {
        let words: Vec<_> = copy.split_whitespace().collect();
        let (_, sources) = words.split_last().unwrap();
        for source in sources.iter().filter(|_| !sources[0].starts_with("--from")) {
            copy_all(&root.join(source), &folder.path().join(source));
        }
    }
    let output = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--offline", "--bin", "no-such-program"])
        .current_dir(folder.path())
        .env("CARGO_TARGET_DIR", folder.path().join("target"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("no bin target named `no-such-program`"),
        "{text}"
    );
}

#[test]
fn image_builds_with_the_lock_file() {
    let builds = arguments_of("RUN");
    assert!(
        builds
            .iter()
            .any(|run| run.contains("cargo build --release --locked ")),
        "{builds:?}"
    );
    assert!(
        read("Makefile").contains("\tcargo run --release --locked "),
        "`make run` builds the same way"
    );
}

#[test]
fn image_runs_without_privileges() {
    // Kubernetes refuses a name with `runAsNonRoot`.
    assert_eq!(arguments_of("USER"), ["65532:65532"]);
    assert_eq!(arguments_of("STOPSIGNAL"), ["SIGTERM"]);
    let secrets = instructions().into_iter().filter(|(word, rest)| {
        (word == "ENV" || word == "ARG")
            && ["SECRET", "PASSWORD", "KEY", "DATABASE_URL"]
                .iter()
                .any(|name| rest.contains(name))
    });
    assert_eq!(secrets.count(), 0, "a secret in an image is no secret");
}

#[test]
fn image_uses_only_documented_commands() {
    let help = help();
    assert_eq!(arguments_of("ENTRYPOINT"), [r#"["latido"]"#]);
    let mut commands = arguments_of("CMD");
    commands.extend(arguments_of("HEALTHCHECK").iter().map(|check| {
        check
            .split_once(" CMD ")
            .unwrap()
            .1
            .replace("\"latido\", ", "")
    }));
    assert_eq!(commands.len(), 2);
    for command in commands {
        let name = command.trim_matches(['[', ']', '"']);
        assert!(
            help.contains(&format!("\n  {name} ")),
            "`latido {name}` does not exist"
        );
    }
    let port = arguments_of("EXPOSE").pop().unwrap();
    assert!(
        help.contains(&format!("[default: {port}]")),
        "{port} is not the default port"
    );
}

/// The builder of Docker 20.10 knows neither, and a syntax line is fetched from a registry.
#[test]
fn image_builds_with_every_builder() {
    let text = read("Dockerfile");
    assert!(!text.contains("syntax="), "{text}");
    for (word, rest) in instructions() {
        assert!(!rest.starts_with("--mount"), "{word} {rest}");
    }
}

#[test]
fn image_is_labelled() {
    let labels = arguments_of("LABEL").join(" ");
    let label = |name: &str| {
        let (_, rest) = labels
            .split_once(&format!("org.opencontainers.image.{name}=\""))
            .unwrap_or_else(|| panic!("no label {name}"));
        rest.split('"').next().unwrap().to_owned()
    };
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let package = &manifest["workspace"]["package"];
    for (name, field) in [
        ("version", "version"),
        ("licenses", "license"),
        ("source", "repository"),
    ] {
        assert_eq!(label(name), package[field].as_str().unwrap(), "{name}");
    }
    assert_eq!(label("revision"), "$LATIDO_COMMIT");
    let commit_arguments = instructions()
        .into_iter()
        .filter(|(word, rest)| word == "ARG" && rest == "LATIDO_COMMIT");
    assert_eq!(
        commit_arguments.count(),
        2,
        "one for each stage that uses it"
    );
    for name in ["title", "description"] {
        assert!(!label(name).is_empty());
    }
    let page = label("documentation");
    let (_, path) = page.split_once("/blob/main/").unwrap();
    assert!(exists(path), "{page}");
}
