//! Who may use a data directory: a lock on a file beside it, held by us and, through inheritance, by the watchdog.
//!
//! The file holds the pid of the process that runs the cluster. The watchdog empties it when that process is gone, so
//! «held and empty» means «about to be free», and so does «held for a dead process», whose `initdb` still runs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::EmbeddedError;
use super::error::Doing;

/// A process that died a moment ago still holds its lock, and its pid still stands in it, for this long.
const GRACE: Duration = Duration::from_millis(300);
/// How long a watchdog may take to stop what a dead process left: longer than it ever waits itself.
const CLEANING: Duration = Duration::from_secs(30);

/// A held lock. It ends with `drop`; if we die without one, with the last process that inherited it.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock if it is free.
    pub(super) fn try_take(path: &Path) -> Result<Option<Self>, EmbeddedError> {
        Self::open(path, FlockOperation::NonBlockingLockExclusive)
    }

    /// Waits for the lock: for work that every process may have to do, and that ends by itself.
    pub(super) fn wait(path: &Path) -> Result<Self, EmbeddedError> {
        loop {
            if let Some(lock) = Self::open(path, FlockOperation::LockExclusive)? {
                return Ok(lock);
            }
        }
    }

    /// Takes the lock, or says which process runs the cluster.
    pub(super) fn take_or_holder(path: &Path) -> Result<Result<Self, u32>, EmbeddedError> {
        let began = Instant::now();
        loop {
            if let Some(lock) = Self::try_take(path)? {
                return Ok(Ok(lock));
            }
            let holder = fs::read_to_string(path)
                .ok()
                .and_then(|text| text.trim().parse().ok());
            let lives = holder.is_some_and(|pid| super::process::describe(pid).is_some());
            let patience = if lives { GRACE } else { CLEANING };
            if began.elapsed() > patience {
                return Ok(Err(holder.unwrap_or(0)));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn open(path: &Path, operation: FlockOperation) -> Result<Option<Self>, EmbeddedError> {
        let doing = || format!("locking {}", path.display());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let mut file = options
            .mode(0o644)
            .custom_flags(nofollow)
            .open(path)
            .doing(doing)?;
        match flock(&file, operation) {
            Ok(()) => {}
            Err(error) if io::Error::from(error).kind() == io::ErrorKind::WouldBlock => {
                return Ok(None);
            }
            Err(error) => return Err(error).doing(doing),
        }
        // Whoever held it may have deleted the file in between: then this is a lock on nothing.
        let same = |there: fs::Metadata, here: fs::Metadata| {
            (there.dev(), there.ino()) == (here.dev(), here.ino())
        };
        if !fs::metadata(path)
            .is_ok_and(|there| file.metadata().is_ok_and(|here| same(there, here)))
        {
            return Ok(None);
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", process::id()))
            .doing(doing)?;
        Ok(Some(Self {
            file,
            path: path.into(),
        }))
    }

    /// A handle that keeps the lock held for as long as the process that inherits it lives.
    pub(super) fn share(&self) -> Result<File, EmbeddedError> {
        self.file
            .try_clone()
            .doing(|| format!("sharing {}", self.path.display()))
    }

    /// Deletes the file before the lock ends, so that whoever waits for it notices.
    pub(super) fn unlink(&self) {
        let _gone = fs::remove_file(&self.path);
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Not merely closing: a child forked by another thread at this moment holds a copy until it calls exec.
        let _unheld = self
            .file
            .set_len(0)
            .and_then(|()| Ok(flock(&self.file, FlockOperation::Unlock)?));
    }
}
