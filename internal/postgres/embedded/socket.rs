//! The folder of the server's Unix socket, and the URL that leads there.

use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::EmbeddedError;
use super::account::Account;

/// The port is part of the socket's name; ours is alone in its folder.
pub(super) const PORT: u16 = 5432;

/// `/tmp/latido-<hash of the data directory>`: short (the limit is 107 bytes, 103 on macOS, where the user's own
/// temporary directory is too long), and the same at every run, so a crash leaves one empty folder at most.
pub(super) fn folder_for(data: &Path) -> PathBuf {
    PathBuf::from("/tmp").join(format!(
        "latido-{}",
        short_hash(data.as_os_str().as_bytes())
    ))
}

/// Creates the folder, or takes the one of an earlier run, if nobody else could have put anything in it.
pub(super) fn create_folder(folder: &Path, account: &Account) -> Result<(), EmbeddedError> {
    if fs::symlink_metadata(folder).is_err() {
        return account.create_dir(folder);
    }
    if is_private(folder, account.uid()) {
        return Ok(());
    }
    let reason = format!(
        "it is not a directory of {} alone (mode 0700)",
        account.name()
    );
    Err(EmbeddedError::UnsafeDirectory {
        path: folder.into(),
        reason,
    })
}

/// Removes the folder, unless it is somebody else's: `/tmp` is open to all.
pub(super) fn remove_folder(folder: &Path, uid: u32) {
    if is_private(folder, uid) {
        let _removed = fs::remove_dir_all(folder);
    }
}

fn is_private(folder: &Path, uid: u32) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|about| {
        about.is_dir() && about.uid() == uid && about.permissions().mode() & 0o077 == 0
    })
}

/// Removes what a crashed server left in its folder. PostgreSQL would do so too, except when the pid in the lock file
/// belongs to another process by now.
pub(super) fn clear(folder: &Path, port: u16) {
    for name in [format!(".s.PGSQL.{port}"), format!(".s.PGSQL.{port}.lock")] {
        let _absent = fs::remove_file(folder.join(name));
    }
}

/// A URL that tokio-postgres, libpq and psql read alike. The port is named because `PGPORT` would bend psql.
pub(super) fn url(folder: &Path, port: u16, database: &str) -> String {
    let folder = escape(&folder.to_string_lossy());
    format!(
        "postgresql://postgres@/{}?host={folder}&port={port}",
        escape(database)
    )
}

/// The same database over TCP.
pub(super) fn tcp_url(port: u16, database: &str) -> String {
    format!(
        "postgresql://postgres@127.0.0.1:{port}/{}",
        escape(database)
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                escaped.push(byte.into())
            }
            _ => _ = write!(escaped, "%{byte:02X}"),
        }
    }
    escaped
}

/// Enough of a SHA-256 to tell paths and versions apart.
pub(super) fn short_hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .take(8)
        .fold(String::new(), |mut text, byte| {
            let _infallible = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_escape_what_would_end_them() {
        let url = url(Path::new("/tmp/a b"), 5432, "citas?&á");
        assert_eq!(
            url,
            "postgresql://postgres@/citas%3F%26%C3%A1?host=/tmp/a%20b&port=5432"
        );
    }
}
