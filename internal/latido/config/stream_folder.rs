//! The folder `streams`: each SQL file in it is a stream of its own, named like the file.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::config::ConfigErrors;
use crate::config::stream_file::query_stream;
use crate::config::stream_parser::{EXPECTED_NAME, read_text};
use crate::config::variables::STREAMS_DIR;
use latido_stream::{Stream, is_name};

/// The folder's name if `STREAMS_DIR` is unset.
pub(super) const DEFAULT_FOLDER: &str = "streams";
/// The largest number of files, so that a wrong folder is an error and not a long start.
const MAX_FILES: usize = 1_000;

/// The folder with streams, and what else defines streams.
pub(super) struct StreamFolder<'a> {
    pub(super) path: &'a Path,
    /// The folder as `latido.toml` would name it.
    pub(super) shown: &'a Path,
    /// True if the configuration names the folder, so that it must exist.
    pub(super) is_required: bool,
    /// The time zone of its streams.
    pub(super) zone: &'a str,
    /// The streams of `latido.toml`.
    pub(super) known: &'a [Stream],
    /// The SQL files that `latido.toml` names. They define no stream of their own.
    pub(super) used_files: &'a [PathBuf],
}

impl StreamFolder<'_> {
    /// Returns a stream for each file, ordered by name. Every error is recorded with its file.
    pub(super) fn read(&self, errors: &mut ConfigErrors) -> Vec<Stream> {
        let files = match self.files() {
            Ok(files) => files,
            Err(error) => {
                self.report_unreadable(&error, errors);
                return Vec::new();
            }
        };
        if files.len() > MAX_FILES {
            let problem = format!("more than {MAX_FILES} SQL files; expected a folder of streams");
            errors.add(self.path.display().to_string(), problem);
            return Vec::new();
        }
        let used: HashSet<PathBuf> = self.used_files.iter().map(|path| resolve(path)).collect();
        let own = files.iter().filter(|path| !used.contains(&resolve(path)));
        own.filter_map(|path| self.stream(path, errors)).collect()
    }

    fn files(&self) -> std::io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(self.path)? {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy());
            let is_hidden = name.is_none_or(|name| name.starts_with('.'));
            let is_sql = |end: &OsStr| end.eq_ignore_ascii_case("sql");
            if !is_hidden && path.extension().is_some_and(is_sql) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    fn report_unreadable(&self, error: &std::io::Error, errors: &mut ConfigErrors) {
        let is_absent = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
        if is_absent && !self.is_required {
            return;
        }
        let path = self.path.display();
        let problem =
            format!("{path} could not be read: {error}; expected a folder with SQL files");
        errors.add(STREAMS_DIR.name, problem);
    }

    fn stream(&self, path: &Path, errors: &mut ConfigErrors) -> Option<Stream> {
        let place = path.display().to_string();
        // A mounted ConfigMap consists of symbolic links, which this follows.
        if !path.is_file() {
            errors.add(
                place,
                "is no file, or leads to none; expected a file with one SELECT",
            );
            return None;
        }
        if path.extension().is_some_and(|end| end != "sql") {
            errors.add(place, "expected a name that ends with .sql, in lower case");
            return None;
        }
        let name = path.file_stem()?.to_string_lossy();
        if !is_name(&name) {
            let problem = format!("a bad name for a stream; {EXPECTED_NAME}, then .sql");
            errors.add(place, problem);
            return None;
        }
        if self.known.iter().any(|stream| stream.name == name) {
            let problem = format!(
                "stream {name} has another query in latido.toml; expected one of both, or query = \
                 {shown:?} there",
                shown = self.shown.join(path.file_name()?)
            );
            errors.add(place, problem);
            return None;
        }
        match read_text(path) {
            Ok(query) => {
                let shown = self.shown.join(path.file_name()?);
                query_stream(&name, query, &shown.to_string_lossy(), self.zone, errors)
            }
            Err(error) => {
                errors.add(place, format!("could not be read: {error}"));
                None
            }
        }
    }
}

/// Returns the path without links, so that two spellings of one file are equal.
fn resolve(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
#[path = "stream_folder_tests.rs"]
mod tests;
