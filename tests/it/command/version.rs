//! The version that the program prints, and the build script that finds the commit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a program to its end and returns what it printed, without the last line break.
fn output_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn version_names_the_commit() {
    let printed = output_of(Command::new(env!("CARGO_BIN_EXE_latido")).arg("--version"));
    let (version, commit) = (env!("CARGO_PKG_VERSION"), env!("LATIDO_COMMIT"));
    assert_eq!(printed, format!("latido {version} ({commit})"));
    let is_commit = commit.len() == 12 && commit.chars().all(|digit| digit.is_ascii_hexdigit());
    assert!(is_commit || commit == "unknown", "{commit}");
    let head = Command::new("git")
        .args(["rev-parse", "--verify", "HEAD"])
        .current_dir(root())
        .output();
    let has_head = head.is_ok_and(|output| output.status.success());
    if has_head && root().join(".git").exists() {
        assert!(is_commit, "the build script did not find HEAD");
    }
}

/// A package of its own that is built with the real build script and prints what it found.
struct Package {
    folder: PathBuf,
}

impl Package {
    fn new() -> Self {
        let name = format!("version-{}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _absent = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("cmd/latido")).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        write(
            "Cargo.toml",
            "[package]\nname = \"sample\"\nversion = \"0.1.0\"\nedition = \"2024\"\nbuild = \"cmd/latido/build.rs\"\n\
             \n[[bin]]\nname = \"sample\"\npath = \"main.rs\"\n\n[workspace]\n",
        );
        write(
            "main.rs",
            "fn main() { println!(\"{}\", env!(\"LATIDO_COMMIT\")); }\n",
        );
        let script = fs::read_to_string(root().join("cmd/latido/build.rs")).unwrap();
        write("cmd/latido/build.rs", &script);
        Self { folder }
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", self.folder.join("target"))
            .env_remove("LATIDO_COMMIT");
        command
    }

    fn git(&self, arguments: &[&str]) -> String {
        let identity = ["-c", "user.name=Test", "-c", "user.email=test@localhost"];
        output_of(&mut self.command("git", &[&identity, arguments].concat()))
    }

    /// Builds and runs the package. Returns the commit it printed.
    fn commit(&self) -> String {
        output_of(&mut self.command("cargo", &["run", "--quiet"]))
    }

    /// Returns whether a build has nothing to compile.
    fn is_up_to_date(&self) -> bool {
        let output = self.command("cargo", &["build"]).output().unwrap();
        !String::from_utf8_lossy(&output.stderr).contains("Compiling")
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        let _kept = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn build_script_follows_head_without_building_again() {
    let package = Package::new();
    // It lies inside this repository, or in none, and has no commit of its own.
    assert_eq!(package.commit(), "unknown");
    let given = output_of(
        package
            .command("cargo", &["run", "--quiet"])
            .env("LATIDO_COMMIT", "0123456789abcdef"),
    );
    assert_eq!(given, "0123456789ab");

    package.git(&["init", "--quiet"]);
    for subject in ["first", "second"] {
        package.git(&["commit", "--quiet", "--allow-empty", "-m", subject]);
        // A new repository is noticed by the next change of the script's own inputs.
        if subject == "first" {
            let script = package.folder.join("cmd/latido/build.rs");
            let text = fs::read_to_string(&script).unwrap();
            fs::write(&script, format!("{text}// changed\n")).unwrap();
        }
        let head = package.git(&["rev-parse", "HEAD"]);
        assert_eq!(package.commit(), head[..12], "{subject}");
        assert!(package.is_up_to_date(), "a build without a change compiles");
    }
}
