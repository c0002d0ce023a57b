//! Reads a secret from a file, as Docker and Kubernetes pass them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The maximum size of a file with a secret, in bytes. Several public keys fit.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// The reason why a file gives no secret. It contains neither the path nor the content, because
/// somebody may have written the secret where a path is expected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretFileError {
    /// The file does not exist, or reading it failed.
    #[error("the file could not be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The path names a directory, a pipe or a device. Opening a pipe would wait for a writer.
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

/// Returns the content of a file without a byte order mark and without the line breaks at its end,
/// which editors add. Other blanks may be part of a secret.
pub(crate) fn read_secret(path: &Path) -> Result<String, SecretFileError> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(SecretFileError::NotRegular);
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(SecretFileError::TooLarge);
    }
    let text = String::from_utf8(bytes).map_err(|_| SecretFileError::NotText)?;
    let secret = text
        .trim_start_matches('\u{feff}')
        .trim_end_matches(['\r', '\n']);
    if secret.trim().is_empty() {
        return Err(SecretFileError::Empty);
    }
    Ok(secret.to_owned())
}
