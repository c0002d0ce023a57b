//! The operating-system user that runs the server: the current user, or an unprivileged one if this
//! process is root.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::EmbeddedError;
use super::error::ErrorContext;

/// The user that runs every PostgreSQL program.
#[derive(Debug, Clone)]
pub(super) struct OsUser {
    uid: u32,
    drop_to: Option<(String, u32)>,
}

impl OsUser {
    /// Returns the current user. For root it returns `postgres`, else `nobody`.
    pub(super) fn current() -> Result<Self, EmbeddedError> {
        let euid = rustix::process::geteuid();
        if !euid.is_root() {
            return Ok(Self {
                uid: euid.as_raw(),
                drop_to: None,
            });
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| {
                Some(Self {
                    uid: lookup_id("-u", name)?,
                    drop_to: Some((name.into(), lookup_id("-g", name)?)),
                })
            })
            .filter(|os_user| os_user.uid != 0)
            .ok_or(EmbeddedError::NoUnprivilegedUser)
    }

    pub(super) fn uid(&self) -> u32 {
        self.uid
    }

    /// Returns the user's name or uid for use in messages.
    pub(super) fn name(&self) -> String {
        self.drop_to
            .as_ref()
            .map_or_else(|| format!("uid {}", self.uid), |(name, _)| name.clone())
    }

    /// Builds a command that runs as this user. It gets its own process group, because Ctrl-C in
    /// the terminal must reach this process first and not the server. All `PG*` variables are
    /// removed from its environment, because they could change its behaviour.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::null())
            .env("LC_ALL", "C")
            .env("TZ", "UTC");
        for (name, _) in
            env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG"))
        {
            command.env_remove(name);
        }
        if let Some((_, gid)) = self.drop_to {
            command.uid(self.uid).gid(gid);
        }
        command
    }

    /// Creates an empty directory of mode 0700 that belongs to this user.
    pub(super) fn create_dir(&self, path: &Path) -> Result<(), EmbeddedError> {
        let doing = || format!("creating {}", path.display());
        DirBuilder::new().mode(0o700).create(path).context(doing)?;
        match self.drop_to {
            Some((_, gid)) => chown(path, Some(self.uid), Some(gid)).context(doing),
            None => Ok(()),
        }
    }

    /// Creates a directory, with its parents, that this process owns and that this user may pass
    /// through. The umask has no influence.
    pub(super) fn create_traversable_dir(&self, path: &Path) -> Result<PathBuf, EmbeddedError> {
        let doing = || format!("creating {}", path.display());
        if !path.is_dir() {
            if let Some(parent) = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
            {
                self.create_traversable_dir(parent)?;
            }
            match fs::create_dir(path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                result => result.context(doing)?,
            }
            let mode = if self.drop_to.is_some() { 0o755 } else { 0o700 };
            fs::set_permissions(path, Permissions::from_mode(mode)).context(doing)?;
        }
        fs::canonicalize(path).context(doing)
    }

    /// Checks that this user can enter `path`. A real process tries it, because mode bits alone do
    /// not decide it.
    pub(super) fn check_can_enter(&self, path: &Path) -> Result<(), EmbeddedError> {
        if self.drop_to.is_none() {
            return Ok(());
        }
        let doing = || format!("running /bin/sh as {}", self.name());
        let mut shell = self.command("/bin/sh");
        shell
            .args(["-c", "cd \"$1\"", "sh"])
            .arg(path)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if shell.status().context(doing)?.success() {
            return Ok(());
        }
        let closed =
            |dir: &&Path| fs::metadata(dir).is_ok_and(|metadata| metadata.mode() & 0o001 == 0);
        let ancestors: Vec<_> = path.ancestors().collect();
        let blocked_by = ancestors
            .into_iter()
            .rev()
            .find(closed)
            .unwrap_or(path)
            .into();
        Err(EmbeddedError::Unreachable {
            user: self.name(),
            path: path.into(),
            blocked_by,
        })
    }
}

/// Runs `id`, which also knows users that are not in `/etc/passwd` (macOS, LDAP).
fn lookup_id(option: &str, name: &str) -> Option<u32> {
    let output = Command::new("id")
        .args([option, name])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().parse().ok())?
}
