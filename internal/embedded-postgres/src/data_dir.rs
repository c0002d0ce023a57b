//! The data directory and its companions: lock file, log file and socket directory.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;

use super::binaries::ServerBinaries;
use super::error::ErrorContext;
use super::file_lock::{ClusterLock, FileLock};
use super::os_user::OsUser;
use super::watchdog::Watchdog;
use super::{EmbeddedError, EmbeddedSettings, StorageMode, socket_dir, stale_server, template};

/// A data directory that this process has locked. Dropping it releases the lock and deletes
/// everything of a temporary cluster.
#[derive(Debug)]
pub(super) struct DataDir {
    pub(super) path: PathBuf,
    pub(super) log_path: PathBuf,
    pub(super) socket_dir: PathBuf,
    pub(super) is_persistent: bool,
    uid: u32,
    lock: FileLock,
}

impl DataDir {
    /// Finds the binaries and prepares the data directory for them.
    pub(super) fn prepare(
        settings: &EmbeddedSettings,
        os_user: &OsUser,
    ) -> Result<(ServerBinaries, Self), EmbeddedError> {
        let (binaries, data_dir) = match &settings.storage {
            StorageMode::Persistent { dir } => {
                let dir = os_user.create_traversable_dir(dir)?;
                os_user.check_can_enter(&dir)?;
                let binaries = find_binaries_for(settings, &dir, os_user)?;
                let data_dir = Self::persistent(&dir, &binaries, os_user)?;
                (binaries, data_dir)
            }
            StorageMode::Temporary { base } => {
                let binaries = ServerBinaries::find(settings, None, os_user)?;
                let base = os_user.create_traversable_dir(base)?;
                check_private(&base)?;
                os_user.check_can_enter(&base)?;
                let data_dir = Self::temporary(&base, &binaries, os_user)?;
                (binaries, data_dir)
            }
        };
        socket_dir::create(&data_dir.socket_dir, os_user)?;
        Ok((binaries, data_dir))
    }

    fn new(path: PathBuf, lock: FileLock, is_persistent: bool, os_user: &OsUser) -> Self {
        let (log_path, socket_dir) = (path.with_extension("log"), socket_dir::path_for(&path));
        Self {
            path,
            log_path,
            socket_dir,
            is_persistent,
            uid: os_user.uid(),
            lock,
        }
    }

    fn persistent(
        dir: &Path,
        binaries: &ServerBinaries,
        os_user: &OsUser,
    ) -> Result<Self, EmbeddedError> {
        let data = dir.join(format!("pg{}", binaries.major()));
        let lock = match FileLock::acquire_or_holder(&data.with_extension("lock"))? {
            ClusterLock::Acquired(lock) => lock,
            ClusterLock::HeldBy(pid) => {
                let url = socket_dir::url(
                    &socket_dir::path_for(&data),
                    socket_dir::SOCKET_PORT,
                    "postgres",
                );
                return Err(EmbeddedError::AlreadyRunning {
                    pid,
                    url,
                    data_dir: data,
                });
            }
        };
        if !data.join("PG_VERSION").is_file() {
            let has_other_files =
                fs::read_dir(&data).is_ok_and(|mut entries| entries.next().is_some());
            if has_other_files {
                return Err(EmbeddedError::NotADataDirectory { path: data });
            }
            // Synced to disk, unlike the template: users' data will be stored here.
            template::initdb(binaries, os_user, &data, &lock, true)?;
        }
        Ok(Self::new(data, lock, true, os_user))
    }

    fn temporary(
        base: &Path,
        binaries: &ServerBinaries,
        os_user: &OsUser,
    ) -> Result<Self, EmbeddedError> {
        remove_abandoned_clusters(base, os_user)?;
        let template = template::ensure_exists(binaries, os_user, base)?;
        let mut number = 0_u64;
        loop {
            let data = base.join(format!("run-{}-{number}", process::id()));
            // The number is taken by another cluster of this process, or by a process with the same
            // pid in another container.
            if let Some(lock) = FileLock::try_acquire(&data.with_extension("lock"))? {
                let data_dir = Self::new(data, lock, false, os_user);
                template::copy(&template, os_user, &data_dir.path)?;
                return Ok(data_dir);
            }
            number += 1;
        }
    }

    /// Starts the watchdog for the server that will run in this directory.
    pub(super) fn spawn_watchdog(&self) -> Result<Watchdog, EmbeddedError> {
        let paths_to_remove: &[&Path] = if self.is_persistent {
            &[&self.socket_dir]
        } else {
            &[
                &self.socket_dir,
                &self.path,
                &self.log_path,
                self.lock.path(),
            ]
        };
        let signal = if self.is_persistent { "INT" } else { "QUIT" };
        Watchdog::spawn(&self.path, &self.lock, signal, paths_to_remove)
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        socket_dir::remove(&self.socket_dir, self.uid);
        if self.is_persistent {
            return;
        }
        let _removed = (
            fs::remove_dir_all(&self.path),
            fs::remove_file(&self.log_path),
        );
        self.lock.unlink();
    }
}

/// Finds binaries for the newest existing data directory. `PG_BIN` takes precedence over the data's
/// version.
fn find_binaries_for(
    settings: &EmbeddedSettings,
    dir: &Path,
    os_user: &OsUser,
) -> Result<ServerBinaries, EmbeddedError> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let major_of = |path: PathBuf| {
        fs::read_to_string(path.join("PG_VERSION"))
            .ok()?
            .trim()
            .parse::<u32>()
            .ok()
    };
    let mut majors: Vec<u32> = entries.filter_map(|entry| major_of(entry.path())).collect();
    majors.sort_unstable();
    majors.retain(|major| dir.join(format!("pg{major}")).is_dir());
    let Some(&newest) = majors.last() else {
        return ServerBinaries::find(settings, None, os_user);
    };
    if settings.bin_dir.is_some() {
        return ServerBinaries::find(settings, None, os_user).inspect(|found| {
            if !majors.contains(&found.major()) {
                let existing: Vec<_> = majors.iter().map(u32::to_string).collect();
                tracing::warn!(
                    majors = existing.join(", "),
                    "PG_BIN is of another version than the data; starting with an empty database"
                );
            }
        });
    }
    let mut tried = Vec::new();
    for &major in majors.iter().rev() {
        match ServerBinaries::find(settings, Some(major), os_user) {
            Err(EmbeddedError::NotFound { looked, fetch, .. }) => {
                tried.push(format!("{looked}; {fetch}"))
            }
            outcome => return outcome,
        }
    }
    let tried = tried.join("; ");
    Err(EmbeddedError::MissingMajor {
        dir: dir.join(format!("pg{newest}")),
        major: newest,
        tried,
    })
}

/// Checks that no other user can write in `base`: clusters are created and deleted there under
/// predictable names.
fn check_private(base: &Path) -> Result<(), EmbeddedError> {
    let metadata = fs::metadata(base).context(|| format!("reading {}", base.display()))?;
    let euid = rustix::process::geteuid().as_raw();
    if metadata.uid() == euid && metadata.mode() & 0o022 == 0 {
        return Ok(());
    }
    let reason = format!("it must belong to uid {euid} and be writable by nobody else");
    Err(EmbeddedError::UnsafeDirectory {
        path: base.into(),
        reason,
    })
}

/// Deletes temporary clusters whose process and watchdog were both killed. A live process still
/// holds its lock.
fn remove_abandoned_clusters(base: &Path, os_user: &OsUser) -> Result<(), EmbeddedError> {
    for entry in fs::read_dir(base)
        .context(|| format!("reading {}", base.display()))?
        .flatten()
    {
        let lock_file = entry.path();
        let name = entry.file_name();
        if !name.as_encoded_bytes().starts_with(b"run-")
            || !name.as_encoded_bytes().ends_with(b".lock")
        {
            continue;
        }
        // If the file vanishes meanwhile, another process is cleaning it up.
        let Ok(Some(lock)) = FileLock::try_acquire(&lock_file) else {
            continue;
        };
        let data = lock_file.with_extension("");
        match stale_server::clean_up(&data) {
            Ok(()) => drop(DataDir::new(data, lock, false, os_user)),
            Err(error) => tracing::warn!(%error, "leaving a temporary cluster where it is"),
        }
    }
    Ok(())
}
