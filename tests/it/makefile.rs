//! The targets of the Makefile in a miniature of the repository, with the real cargo and the build
//! in another folder than `target`: CARGO_TARGET_DIR, `build.target-dir` or `build.target` move it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A program that prints the words it is started with, as the server and its examples here.
const PRINTS_ITS_ARGUMENTS: &str = r#"fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    println!("started with {}", words.join(" "));
}
"#;

/// A package with the names and places of the real one, without dependencies and in no workspace.
const MANIFEST: &str = r#"[package]
name = "latido"
version = "0.1.0"
edition = "2024"

[[bin]]
name = "latido"
path = "cmd/latido/main.rs"

[workspace]
"#;

const LOCK: &str = "version = 4\n\n[[package]]\nname = \"latido\"\nversion = \"0.1.0\"\n";

/// A node that prints its arguments, starts the program after `--latido`, and passes the version checks.
const NODE: &str = r#"#!/bin/sh
if [ "$1" = -e ]; then exit 0; fi
echo "node $*"
"$3" demo
"#;

/// An npm that starts the programs the clients' tests would start.
const NPM: &str = r#"#!/bin/sh
case "$*" in *test*) "$LATIDO_BIN" test && "$LATIDO_BUILT/examples/conformance" example ;; esac
"#;

/// The ways in which a user moves what cargo builds.
#[derive(Clone, Copy, Debug)]
enum Moved {
    /// By the environment, as when many share one folder.
    Variable,
    /// By `build.target-dir` in cargo's configuration.
    Configuration,
    /// By `build.target`, which adds a folder with the name of the platform.
    Platform,
}

/// The miniature; its folder is removed with it.
struct Miniature {
    folder: PathBuf,
    moved: Moved,
}

impl Miniature {
    fn new(name: &str, moved: Moved) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("makefile-{name}-{moved:?}-{}", std::process::id()));
        let this = Self { folder, moved };
        let _absent = fs::remove_dir_all(&this.folder);
        for name in [
            "Makefile",
            ".ci/tools",
            ".ci/clients",
            ".ci/binary",
            ".ci/toolchain",
        ] {
            let original = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
            // A script that does not exist is not needed, or the target that needs it fails.
            if let Ok(script) = fs::read_to_string(original) {
                this.write(name, &script);
            }
        }
        this.write("Cargo.toml", MANIFEST);
        this.write("Cargo.lock", LOCK);
        this.write("cmd/latido/main.rs", PRINTS_ITS_ARGUMENTS);
        this.write("examples/conformance.rs", PRINTS_ITS_ARGUMENTS);
        this.write("clients/package-lock.json", "{}");
        this.write("bin/node", NODE);
        this.write("bin/npm", NPM);
        match moved {
            Moved::Variable => {}
            Moved::Configuration => {
                this.write(
                    ".cargo/config.toml",
                    "[build]\ntarget-dir = \"elsewhere\"\n",
                );
            }
            Moved::Platform => {
                let platform = host_platform();
                this.write(
                    ".cargo/config.toml",
                    &format!("[build]\ntarget = {platform:?}\n"),
                );
            }
        }
        this
    }

    /// Writes an executable file and the folders above it.
    fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs `make` with a target and returns its standard output.
    fn make(&self, target: &str) -> String {
        let mut make = Command::new("make");
        let path = std::env::var("PATH").unwrap();
        make.args(["--no-print-directory", target])
            .current_dir(&self.folder)
            .env(
                "PATH",
                format!("{}:{path}", self.folder.join("bin").display()),
            )
            // So that nothing looks for a Postgres or installs one.
            .env("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("CARGO_BUILD_TARGET")
            .env_remove("MAKEFLAGS")
            .env_remove("CI");
        if let Moved::Variable = self.moved {
            make.env("CARGO_TARGET_DIR", self.folder.join("elsewhere"));
        }
        let Output {
            status,
            stdout,
            stderr,
        } = make.output().unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr),
        );
        assert!(
            status.success(),
            "make {target}, {:?}: {out}{err}",
            self.moved
        );
        out.into_owned()
    }
}

impl Drop for Miniature {
    fn drop(&mut self) {
        let _kept = fs::remove_dir_all(&self.folder);
    }
}

fn host_platform() -> String {
    let output = Command::new("rustc").arg("-vV").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.unwrap().to_owned()
}

/// Runs a target with every way to move the build, and expects these lines in its output.
fn assert_prints(target: &str, expected: &[&str]) {
    for moved in [Moved::Variable, Moved::Configuration, Moved::Platform] {
        let out = Miniature::new(target, moved).make(target);
        for line in expected {
            assert!(
                out.lines().any(|printed| printed.ends_with(line)),
                "make {target}, {moved:?}: no line {line:?} in\n{out}"
            );
        }
    }
}

#[test]
fn make_run_starts_the_demo_wherever_cargo_builds() {
    assert_prints("run", &["started with demo"]);
}

#[test]
fn make_demo_angular_starts_the_program_wherever_cargo_builds() {
    assert_prints("demo-angular", &["release/latido", "started with demo"]);
}

#[test]
fn make_clients_names_the_programs_wherever_cargo_builds() {
    assert_prints("clients", &["started with test", "started with example"]);
}

#[test]
fn make_conformance_starts_the_example_wherever_cargo_builds() {
    assert_prints("conformance", &["started with "]);
}

/// Every target of the help is declared, and every declared one has a rule.
#[test]
fn make_targets_are_declared() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Makefile")).unwrap();
    let phony = text.lines().find_map(|line| line.strip_prefix(".PHONY: "));
    for target in phony.unwrap().split(' ') {
        let rule = format!("\n{target}:");
        assert!(text.contains(&rule), "{target} has no rule");
    }
    for line in text
        .lines()
        .filter(|line| line.contains(": ## ") || line.contains(" ## "))
    {
        let target = line.split(':').next().unwrap();
        assert!(
            phony.unwrap().split(' ').any(|declared| declared == target),
            "{target} is not in .PHONY"
        );
    }
}

/// The paths of programs are cargo's to say: no script or target assumes its folder.
#[test]
fn no_script_assumes_the_target_folder() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut scripts = vec![root.join("Makefile")];
    scripts.extend(
        fs::read_dir(root.join(".ci"))
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    for path in scripts {
        let text = fs::read_to_string(&path).unwrap();
        for folder in ["target/debug", "target/release"] {
            assert!(!text.contains(folder), "{}: {folder}", path.display());
        }
    }
}
