//! The data directory with what belongs to it: lock, log and socket folder.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;

use super::account::Account;
use super::binaries::Binaries;
use super::error::Doing;
use super::lock::Lock;
use super::watchdog::Watchdog;
use super::{EmbeddedError, Settings, Storage, orphan, socket, template};

/// A data directory that is ours until this is dropped; then nothing of a temporary one is left.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) data: PathBuf,
    pub(super) log: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) kept: bool,
    uid: u32,
    lock: Lock,
}

impl Place {
    /// Finds the binaries and prepares the data for them.
    pub(super) fn prepare(
        settings: &Settings,
        account: &Account,
    ) -> Result<(Binaries, Self), EmbeddedError> {
        let (binaries, place) = match &settings.storage {
            Storage::Persistent { dir } => {
                let dir = account.create_passage(dir)?;
                account.check_reaches(&dir)?;
                let binaries = binaries_for(settings, &dir, account)?;
                let place = Self::persistent(&dir, &binaries, account)?;
                (binaries, place)
            }
            Storage::Temporary { base } => {
                let binaries = Binaries::find(settings, None, account)?;
                let base = account.create_passage(base)?;
                check_ours(&base)?;
                account.check_reaches(&base)?;
                let place = Self::temporary(&base, &binaries, account)?;
                (binaries, place)
            }
        };
        socket::create_folder(&place.socket, account)?;
        Ok((binaries, place))
    }

    fn new(data: PathBuf, lock: Lock, kept: bool, account: &Account) -> Self {
        let (log, socket) = (data.with_extension("log"), socket::folder_for(&data));
        Self {
            data,
            log,
            socket,
            kept,
            uid: account.uid(),
            lock,
        }
    }

    fn persistent(
        dir: &Path,
        binaries: &Binaries,
        account: &Account,
    ) -> Result<Self, EmbeddedError> {
        let data = dir.join(format!("pg{}", binaries.major()));
        let lock = Lock::take_or_holder(&data.with_extension("lock"))?.map_err(|pid| {
            let url = socket::url(&socket::folder_for(&data), socket::PORT, "postgres");
            EmbeddedError::AlreadyRunning {
                pid,
                url,
                data_dir: data.clone(),
            }
        })?;
        if !data.join("PG_VERSION").is_file() {
            let foreign = fs::read_dir(&data).is_ok_and(|mut entries| entries.next().is_some());
            if foreign {
                return Err(EmbeddedError::NotADataDirectory { path: data });
            }
            // Synced, unlike the template: this is where people's data will be.
            template::initdb(binaries, account, &data, &lock, true)?;
        }
        Ok(Self::new(data, lock, true, account))
    }

    fn temporary(
        base: &Path,
        binaries: &Binaries,
        account: &Account,
    ) -> Result<Self, EmbeddedError> {
        sweep(base, account)?;
        let template = template::ensure(binaries, account, base)?;
        for number in 0_u32.. {
            let data = base.join(format!("run-{}-{number}", process::id()));
            // Taken: another cluster of ours, or a process of the same number in another container.
            if let Some(lock) = Lock::try_take(&data.with_extension("lock"))? {
                let place = Self::new(data, lock, false, account);
                template::copy(&template, account, &place.data)?;
                return Ok(place);
            }
        }
        unreachable!("four thousand million clusters of one process")
    }

    /// The guard of the server that will run here.
    pub(super) fn watch(&self) -> Result<Watchdog, EmbeddedError> {
        let litter: &[&Path] = if self.kept {
            &[&self.socket]
        } else {
            &[&self.socket, &self.data, &self.log, self.lock.path()]
        };
        let signal = if self.kept { "INT" } else { "QUIT" };
        Watchdog::spawn(&self.data, &self.lock, signal, litter)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        socket::remove_folder(&self.socket, self.uid);
        if self.kept {
            return;
        }
        let _removed = (fs::remove_dir_all(&self.data), fs::remove_file(&self.log));
        self.lock.unlink();
    }
}

/// Data that is there decides the version, newest first; `PG_BIN` overrules it.
fn binaries_for(
    settings: &Settings,
    dir: &Path,
    account: &Account,
) -> Result<Binaries, EmbeddedError> {
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
        return Binaries::find(settings, None, account);
    };
    if settings.bin_dir.is_some() {
        return Binaries::find(settings, None, account).inspect(|found| {
            if !majors.contains(&found.major()) {
                tracing::warn!(
                    ?majors,
                    "PG_BIN is of another version than the data; starting with an empty database"
                );
            }
        });
    }
    let mut tried = Vec::new();
    for &major in majors.iter().rev() {
        match Binaries::find(settings, Some(major), account) {
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

/// Clusters are created and deleted here by predictable names: nobody else may write.
fn check_ours(base: &Path) -> Result<(), EmbeddedError> {
    let about = fs::metadata(base).doing(|| format!("reading {}", base.display()))?;
    let us = rustix::process::geteuid().as_raw();
    if about.uid() == us && about.mode() & 0o022 == 0 {
        return Ok(());
    }
    let reason = format!("it must belong to uid {us} and be writable by nobody else");
    Err(EmbeddedError::UnsafeDirectory {
        path: base.into(),
        reason,
    })
}

/// Deletes what processes left whose watchdog was killed with them. Whoever lives holds its lock.
fn sweep(base: &Path, account: &Account) -> Result<(), EmbeddedError> {
    for entry in fs::read_dir(base)
        .doing(|| format!("reading {}", base.display()))?
        .flatten()
    {
        let lock_file = entry.path();
        let name = entry.file_name();
        if !name.as_encoded_bytes().starts_with(b"run-")
            || !name.as_encoded_bytes().ends_with(b".lock")
        {
            continue;
        }
        // A file that vanishes meanwhile is somebody else's sweeping.
        let Ok(Some(lock)) = Lock::try_take(&lock_file) else {
            continue;
        };
        let data = lock_file.with_extension("");
        match orphan::clear(&data) {
            Ok(()) => drop(Place::new(data, lock, false, account)),
            Err(error) => tracing::warn!(%error, "leaving a temporary cluster where it is"),
        }
    }
    Ok(())
}
