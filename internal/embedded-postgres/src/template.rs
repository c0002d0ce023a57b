//! Running `initdb`, and the cached template from which temporary clusters are copied.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::EmbeddedError;
use super::binaries::ServerBinaries;
use super::error::ErrorContext;
use super::file_lock::FileLock;
use super::os_user::OsUser;
use super::socket_dir::short_hash;

/// Creates a complete data directory at `target`, or nothing. The child inherits the lock, so the
/// lock outlives this process if `initdb` does. The next process must not begin in the same
/// directory while `initdb` still writes.
pub(super) fn initdb(
    binaries: &ServerBinaries,
    os_user: &OsUser,
    target: &Path,
    lock: &FileLock,
    sync: bool,
) -> Result<(), EmbeddedError> {
    let unfinished = target.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).context(|| format!("removing {}", unfinished.display()))?;
    }
    os_user.create_dir(&unfinished)?;
    let mut command = os_user.command(binaries.program_path("initdb"));
    command.arg("-D").arg(&unfinished).args([
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C",
    ]);
    // WAL segments of 4 MB reduce an empty cluster from 39 MB to 31 MB.
    command.args(["--no-instructions", "--wal-segsize=4"]);
    if !sync {
        command.arg("--no-sync");
    }
    run(command.stdin(lock.inheritable_handle()?))?;
    fs::rename(&unfinished, target).context(|| format!("creating {}", target.display()))
}

/// Returns the template under `base` for these binaries. The first process that needs it creates
/// it.
pub(super) fn ensure_exists(
    binaries: &ServerBinaries,
    os_user: &OsUser,
    base: &Path,
) -> Result<PathBuf, EmbeddedError> {
    let identity = format!("{} {}", binaries.cache_key(), os_user.uid());
    let template = base.join(format!(
        "template-{}-{}",
        binaries.major(),
        short_hash(identity.as_bytes())
    ));
    if !template.exists() {
        let lock = FileLock::acquire(&base.join("template.lock"))?;
        if !template.exists() {
            initdb(binaries, os_user, &template, &lock, false)?;
        }
    }
    Ok(template)
}

/// Copies the template as the server's user, which owns the template and must own the copy.
pub(super) fn copy(template: &Path, os_user: &OsUser, target: &Path) -> Result<(), EmbeddedError> {
    os_user.create_dir(target)?;
    run(os_user
        .command("cp")
        .arg("-Rp")
        .arg(template.join("."))
        .arg(target))
}

fn run(command: &mut Command) -> Result<(), EmbeddedError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().context(|| format!("running {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    let output_bytes = [output.stdout, output.stderr].concat();
    let output_text = String::from_utf8_lossy(&output_bytes).trim().to_owned();
    Err(EmbeddedError::ProgramFailed {
        program,
        status: output.status.to_string(),
        output: output_text,
    })
}
