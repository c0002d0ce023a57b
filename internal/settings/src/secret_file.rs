//! Reads a secret from a file, as Docker and Kubernetes pass them.

use std::io;
use std::path::Path;

use crate::regular_file::{FileError, read_regular_file};

/// The maximum size of a file with a secret, in bytes. Several public keys fit.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// The reason why a file gives no secret. It contains neither the path nor the content, because
/// somebody may have written the secret where a path is expected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretFileError {
    /// The file does not exist, or reading it failed.
    #[error("the file could not be read: {0}")]
    Unreadable(io::Error),
    /// The path names a directory, a pipe or a device.
    #[error("the file is a directory, a pipe or a device; expected a regular file")]
    NotRegular,
    /// The file is larger than any secret.
    #[error("the file is larger than {MAX_FILE_BYTES} bytes")]
    TooLarge,
    /// The content is not UTF-8.
    #[error("the file is not UTF-8 text")]
    NotText,
    /// Nothing is left without blanks.
    #[error("the file is empty")]
    Empty,
}

impl From<FileError> for SecretFileError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Unreadable(error) => Self::Unreadable(error),
            FileError::NotRegular => Self::NotRegular,
            FileError::TooLarge { .. } => Self::TooLarge,
        }
    }
}

/// Returns the content of a file without a byte order mark and without the line breaks at its end,
/// which editors add. Other blanks may be part of a secret.
pub(crate) fn read_secret(path: &Path) -> Result<String, SecretFileError> {
    let bytes = read_regular_file(path, MAX_FILE_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|_| SecretFileError::NotText)?;
    let secret = text
        .trim_start_matches('\u{feff}')
        .trim_end_matches(['\r', '\n']);
    if secret.trim().is_empty() {
        return Err(SecretFileError::Empty);
    }
    Ok(secret.to_owned())
}
