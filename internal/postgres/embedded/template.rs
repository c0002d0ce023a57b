//! `initdb`, and the cached result of it that temporary clusters are copied from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::EmbeddedError;
use super::account::Account;
use super::binaries::Binaries;
use super::error::Doing;
use super::lock::Lock;
use super::socket::short_hash;

/// Creates a data directory at `target`, whole or not at all, under a lock that outlives us if `initdb` does: who comes next must not
/// begin at the same place while it still writes.
pub(super) fn initdb(
    binaries: &Binaries,
    account: &Account,
    target: &Path,
    lock: &Lock,
    sync: bool,
) -> Result<(), EmbeddedError> {
    let unfinished = target.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).doing(|| format!("removing {}", unfinished.display()))?;
    }
    account.create_dir(&unfinished)?;
    let mut command = account.command(binaries.program("initdb"));
    command.arg("-D").arg(&unfinished).args([
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C",
    ]);
    // Segments of 4 MB make an empty cluster 31 MB instead of 39.
    command.args(["--no-instructions", "--wal-segsize=4"]);
    if !sync {
        command.arg("--no-sync");
    }
    run(command.stdin(lock.share()?))?;
    fs::rename(&unfinished, target).doing(|| format!("creating {}", target.display()))
}

/// The template under `base` for these binaries, created at the first use by whichever process comes first.
pub(super) fn ensure(
    binaries: &Binaries,
    account: &Account,
    base: &Path,
) -> Result<PathBuf, EmbeddedError> {
    let identity = format!("{} {}", binaries.identity(), account.uid());
    let template = base.join(format!(
        "template-{}-{}",
        binaries.major(),
        short_hash(identity.as_bytes())
    ));
    if !template.exists() {
        let one_at_a_time = Lock::wait(&base.join("template.lock"))?;
        if !template.exists() {
            initdb(binaries, account, &template, &one_at_a_time, false)?;
        }
    }
    Ok(template)
}

/// Copies the template as the server's user, who owns it and must own the copy.
pub(super) fn copy(template: &Path, account: &Account, target: &Path) -> Result<(), EmbeddedError> {
    account.create_dir(target)?;
    run(account
        .command("cp")
        .arg("-Rp")
        .arg(template.join("."))
        .arg(target))
}

fn run(command: &mut Command) -> Result<(), EmbeddedError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().doing(|| format!("running {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let output_text = String::from_utf8_lossy(&said).trim().to_owned();
    Err(EmbeddedError::Program {
        program,
        status: output.status.to_string(),
        output: output_text,
    })
}
