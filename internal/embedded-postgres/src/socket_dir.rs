//! The directory of the server's Unix socket, and the connection URLs.

use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::EmbeddedError;
use super::os_user::OsUser;

/// The port number in the socket's file name. It is always the same, since each server has its own
/// directory.
pub(super) const SOCKET_PORT: u16 = 5432;

/// Returns `/tmp/latido-<hash of the data directory>`. The path is short, because a socket path is
/// limited to 107 bytes (103 on macOS, where the user's own temporary directory is too long). It is
/// the same at every run, so a crash leaves at most one empty directory.
pub(super) fn path_for(data: &Path) -> PathBuf {
    PathBuf::from("/tmp").join(format!(
        "latido-{}",
        short_hash(data.as_os_str().as_bytes())
    ))
}

/// Creates the directory, or reuses that of an earlier run if no other user could have written to
/// it.
pub(super) fn create(folder: &Path, os_user: &OsUser) -> Result<(), EmbeddedError> {
    if fs::symlink_metadata(folder).is_err() {
        return os_user.create_dir(folder);
    }
    if is_private(folder, os_user.uid()) {
        return Ok(());
    }
    let reason = format!(
        "it is not a directory of {} alone (mode 0700)",
        os_user.name()
    );
    Err(EmbeddedError::UnsafeDirectory {
        path: folder.into(),
        reason,
    })
}

/// Removes the directory if it belongs to this user alone: every user can create files in `/tmp`.
pub(super) fn remove(folder: &Path, uid: u32) {
    if is_private(folder, uid) {
        let _removed = fs::remove_dir_all(folder);
    }
}

fn is_private(folder: &Path, uid: u32) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|metadata| {
        metadata.is_dir() && metadata.uid() == uid && metadata.permissions().mode() & 0o077 == 0
    })
}

/// Removes the socket files of a crashed server. PostgreSQL does so too, except if the pid in the
/// lock file now belongs to another process.
pub(super) fn remove_stale_sockets(folder: &Path, port: u16) {
    for name in [format!(".s.PGSQL.{port}"), format!(".s.PGSQL.{port}.lock")] {
        let _absent = fs::remove_file(folder.join(name));
    }
}

/// Returns a URL that tokio-postgres, libpq and psql all accept. It contains the port because
/// `PGPORT` would otherwise change it for psql.
pub(super) fn url(folder: &Path, port: u16, database: &str) -> String {
    let folder = percent_encode(&folder.to_string_lossy());
    format!(
        "postgresql://postgres@/{}?host={folder}&port={port}",
        percent_encode(database)
    )
}

/// Returns the URL of the same database over TCP.
pub(super) fn tcp_url(port: u16, database: &str) -> String {
    format!(
        "postgresql://postgres@127.0.0.1:{port}/{}",
        percent_encode(database)
    )
}

fn percent_encode(text: &str) -> String {
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

/// Returns the first eight bytes of a SHA-256 in hexadecimal: enough to distinguish paths and
/// versions.
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
    fn urls_escape_reserved_characters() {
        let url = url(Path::new("/tmp/a b"), 5432, "citas?&á");
        assert_eq!(
            url,
            "postgresql://postgres@/citas%3F%26%C3%A1?host=/tmp/a%20b&port=5432"
        );
    }
}
