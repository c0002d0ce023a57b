//! File locks for data directories. This process holds the lock and, through inheritance, so does
//! the watchdog.
//!
//! The file holds the pid of the process that runs the cluster. The watchdog empties the file when
//! that process is gone. A held lock on an empty file is therefore about to be released. So is a
//! lock held for a dead process, whose `initdb` is still running.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::EmbeddedError;
use super::error::ErrorContext;

/// The wait for a lock whose file names a live process. A process that died a moment ago still
/// holds its lock, and its pid is still in the file.
const LIVE_HOLDER_TIMEOUT: Duration = Duration::from_millis(300);
/// The wait for a watchdog to stop the server of a dead process. It is longer than the watchdog's
/// own timeouts together.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(30);

/// An exclusive lock on a file. `drop` releases it. If this process dies first, the lock ends with
/// the last process that inherited it.
#[derive(Debug)]
pub(super) struct FileLock {
    file: File,
    path: PathBuf,
}

/// The result of [`FileLock::acquire_or_holder`].
pub(super) enum ClusterLock {
    Acquired(FileLock),
    /// The process with this pid runs the cluster. The pid is 0 if it is unknown.
    HeldBy(u32),
}

impl FileLock {
    /// Acquires the lock if it is free; returns `None` if another process holds it.
    pub(super) fn try_acquire(path: &Path) -> Result<Option<Self>, EmbeddedError> {
        Self::open_and_lock(path, FlockOperation::NonBlockingLockExclusive)
    }

    /// Acquires the lock and waits as long as it takes. Use it for short work that every process
    /// may have to do.
    pub(super) fn acquire(path: &Path) -> Result<Self, EmbeddedError> {
        loop {
            if let Some(lock) = Self::open_and_lock(path, FlockOperation::LockExclusive)? {
                return Ok(lock);
            }
        }
    }

    /// Acquires the lock, unless a running cluster holds it.
    pub(super) fn acquire_or_holder(path: &Path) -> Result<ClusterLock, EmbeddedError> {
        let started = Instant::now();
        loop {
            if let Some(lock) = Self::try_acquire(path)? {
                return Ok(ClusterLock::Acquired(lock));
            }
            let holder = fs::read_to_string(path)
                .ok()
                .and_then(|text| text.trim().parse().ok());
            let is_alive = holder.is_some_and(|pid| super::process::inspect(pid).is_some());
            let timeout = if is_alive {
                LIVE_HOLDER_TIMEOUT
            } else {
                CLEANUP_TIMEOUT
            };
            if started.elapsed() > timeout {
                return Ok(ClusterLock::HeldBy(holder.unwrap_or(0)));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn open_and_lock(
        path: &Path,
        operation: FlockOperation,
    ) -> Result<Option<Self>, EmbeddedError> {
        let doing = || format!("locking {}", path.display());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let mut file = options
            .mode(0o644)
            .custom_flags(nofollow)
            .open(path)
            .context(doing)?;
        match flock(&file, operation) {
            Ok(()) => {}
            Err(error) if io::Error::from(error).kind() == io::ErrorKind::WouldBlock => {
                return Ok(None);
            }
            Err(error) => return Err(error).context(doing),
        }
        // The previous holder may have deleted the file in between. This would then be a lock on an
        // unlinked file.
        let same = |at_path: fs::Metadata, opened: fs::Metadata| {
            (at_path.dev(), at_path.ino()) == (opened.dev(), opened.ino())
        };
        if !fs::metadata(path)
            .is_ok_and(|at_path| file.metadata().is_ok_and(|opened| same(at_path, opened)))
        {
            return Ok(None);
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", process::id()))
            .context(doing)?;
        Ok(Some(Self {
            file,
            path: path.into(),
        }))
    }

    /// Returns a handle that keeps the lock held while a process that inherits it lives.
    pub(super) fn inheritable_handle(&self) -> Result<File, EmbeddedError> {
        self.file
            .try_clone()
            .context(|| format!("sharing {}", self.path.display()))
    }

    /// Deletes the file while the lock is still held, so that a waiting process notices and opens a
    /// new file.
    pub(super) fn unlink(&self) {
        let _gone = fs::remove_file(&self.path);
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child forked by another thread at this moment holds a
        // copy until it calls exec.
        let _unheld = self
            .file
            .set_len(0)
            .and_then(|()| Ok(flock(&self.file, FlockOperation::Unlock)?));
    }
}
