//! What the parsers of a stream's table share: where they are in the file, the list of errors, and
//! texts that may stand in files of their own.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use crate::config::ConfigErrors;
use latido_settings::{MAX_TEXT_BYTES, read_regular_text};

/// What [`is_name`](latido_stream::is_name) accepts, for messages.
pub(super) const EXPECTED_NAME: &str = "expected 1 to 63 letters, digits, _ or -";

/// The context for parsing one stream's table: its file, its name, and the list of errors.
pub(super) struct StreamParser<'a> {
    pub(super) path: &'a Path,
    pub(super) dir: &'a Path,
    pub(super) stream_name: &'a str,
    /// The SQL files that the tables name, in any field.
    pub(super) sql_files: &'a mut Vec<PathBuf>,
    pub(super) errors: &'a mut ConfigErrors,
}

impl StreamParser<'_> {
    pub(super) fn add_error(&mut self, field: Option<&str>, problem: &str) {
        let field = field.map(|field| format!(" {field}")).unwrap_or_default();
        self.errors.add(
            format!(
                "{} [streams.{}]{field}",
                self.path.display(),
                self.stream_name
            ),
            problem,
        );
    }

    /// Returns SQL text, or the contents of a file if the text ends in `.sql`. Paths are relative
    /// to the directory of `latido.toml`.
    pub(super) fn read_sql(&mut self, field: &str, text: &str) -> String {
        let text = text.trim();
        let sql = if is_sql_path(text) {
            self.read_file(field, text)
        } else {
            Some(text.to_owned())
        };
        if sql.as_ref().is_some_and(|sql| sql.trim().is_empty()) {
            self.add_error(
                Some(field),
                "is empty; expected SQL, or the path of a file that ends in .sql",
            );
        }
        sql.unwrap_or_default()
    }

    fn read_file(&mut self, field: &str, relative: &str) -> Option<String> {
        let path: PathBuf = self.dir.join(relative);
        self.sql_files.push(path.clone());
        read_text(&path)
            .map_err(|error| {
                self.add_error(
                    Some(field),
                    &format!("{} could not be read: {error}", path.display()),
                )
            })
            .ok()
    }
}

/// Reads a text file. A byte order mark at its beginning, which editors on Windows write, is left
/// out.
///
/// # Errors
/// Returns an error if the file cannot be read, is no regular file, is too large, or is no text in
/// UTF-8.
pub(crate) fn read_text(path: &Path) -> std::io::Result<String> {
    let text = read_regular_text(path, MAX_TEXT_BYTES)?;
    if text.contains('\0') {
        let reason = "it has a NUL character; expected a text in UTF-8";
        return Err(Error::new(ErrorKind::InvalidData, reason));
    }
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

/// Returns whether a text is the path of an SQL file.
pub(super) fn is_sql_path(text: &str) -> bool {
    text.ends_with(".sql") && !text.contains('\n')
}
