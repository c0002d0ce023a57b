//! Gives the compiler LATIDO_COMMIT, the commit that `latido --version` shows: the variable of that
//! name if it is set (an image is built without `.git`), else HEAD's commit, else «unknown».
//!
//! The script runs again when HEAD moves, and not on every build.

use std::path::Path;
use std::process::Command;

/// The number of hexadecimal digits that are shown.
const DIGITS: usize = 12;

fn main() {
    println!("cargo::rerun-if-changed=cmd/latido/build.rs");
    println!("cargo::rerun-if-env-changed=LATIDO_COMMIT");
    let given = std::env::var("LATIDO_COMMIT").ok();
    let commit = given
        .filter(|commit| commit.chars().all(|digit| digit.is_ascii_hexdigit()))
        .filter(|commit| !commit.is_empty())
        .or_else(commit_of_head)
        .unwrap_or_else(|| "unknown".to_owned());
    let shown = commit.get(..DIGITS).unwrap_or(&commit);
    println!("cargo::rustc-env=LATIDO_COMMIT={shown}");
}

/// Returns the commit of HEAD, and asks cargo to run this script again when it moves. Returns `None`
/// without git, and if this folder only lies inside another project's repository.
fn commit_of_head() -> Option<String> {
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let here = std::env::current_dir().ok()?.canonicalize().ok()?;
    if Path::new(&top).canonicalize().ok()? != here {
        return None;
    }
    // The log of HEAD grows with every commit, switch and reset. The others are for repositories without it. A path that
    // does not exist would run the script on every build.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    let names = ["HEAD", "logs/HEAD", "packed-refs"].into_iter();
    for name in names.chain(branch.as_deref()) {
        let path = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--verify", "HEAD"])
}

/// Returns the first line that git prints, or `None` if it fails or is not installed.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !line.trim().is_empty()).then(|| line.trim().to_owned())
}
