//! Reads the files that a configuration names.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

/// The maximum size of a file with certificates or keys, in bytes.
pub const MAX_PEM_BYTES: u64 = 1 << 20;
/// The maximum size of a file with a statement or with streams, in bytes.
pub const MAX_TEXT_BYTES: u64 = 16 << 20;

/// The reason why a file of the configuration could not be read. It contains neither the path nor the
/// content.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file does not exist, or reading it failed.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// The path names a directory, a pipe or a device. Opening a pipe would wait for a writer, and a
    /// device may have no end.
    #[error("it is a directory, a pipe or a device; expected a regular file")]
    NotRegular,
    /// The file is larger than any such file.
    #[error("it has more than {max_bytes} bytes")]
    TooLarge {
        /// The maximum size.
        max_bytes: u64,
    },
}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Unreadable(error) => error,
            other => Self::new(ErrorKind::InvalidData, other),
        }
    }
}

/// Returns the content of a regular file with at most `max_bytes` bytes.
///
/// # Errors
/// Returns an error if the file cannot be read, is no regular file, or is larger.
pub fn read_regular_file(path: &Path, max_bytes: u64) -> Result<Vec<u8>, FileError> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(FileError::NotRegular);
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(max_bytes + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(FileError::TooLarge { max_bytes });
    }
    Ok(bytes)
}

/// Returns the text of a regular file with at most `max_bytes` bytes.
///
/// # Errors
/// Returns an error like [`read_regular_file`], and one if the content is not UTF-8.
pub fn read_regular_text(path: &Path, max_bytes: u64) -> io::Result<String> {
    let bytes = read_regular_file(path, max_bytes)?;
    let text = String::from_utf8(bytes);
    text.map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not text in UTF-8"))
}
