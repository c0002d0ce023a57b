//! The file with the query, and the commands that install it.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::read_text;
use crate::shell_word::shell_word;
use latido_stream::is_name;

/// The folder in which `latido install` looks for queries.
const STREAMS_DIR: &str = "streams";
/// The name of a stream whose file has none that a stream can have.
const FALLBACK_NAME: &str = "consulta";

/// A file with one query.
#[derive(Debug, Clone)]
pub(super) struct QueryFile {
    path: PathBuf,
    /// The name of the stream.
    pub(super) name: String,
}

impl QueryFile {
    pub(super) fn new(path: PathBuf) -> Self {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name: String = stem
            .chars()
            .map(|c| {
                if is_name(c.encode_utf8(&mut [0; 4])) {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        let name = match is_name(&name) && name.chars().any(|c| c != '_') {
            true => name,
            false => FALLBACK_NAME.to_owned(),
        };
        Self { path, name }
    }

    /// Returns the path as it was given.
    pub(super) fn path_text(&self) -> String {
        self.path.display().to_string()
    }

    /// Reads the text.
    pub(super) fn read(&self) -> io::Result<String> {
        read_text(&self.path)
    }

    /// Returns the shell commands that make the query a stream. `program` is the name of this one.
    pub(super) fn next_commands(&self, program: &str) -> Vec<String> {
        let mut commands = Vec::new();
        let is_in_place = self.path.parent() == Some(Path::new(STREAMS_DIR));
        if !is_in_place {
            let (from, name) = (shell_word(&self.path_text()), &self.name);
            commands.push(format!(
                "mkdir -p {STREAMS_DIR} && mv {from} {STREAMS_DIR}/{name}.sql"
            ));
        }
        commands.push(format!("{program} install"));
        commands.push(format!("{program} serve"));
        commands
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_is_named_like_its_file() {
        for (path, name) in [
            ("q.sql", "q"),
            ("a/ventas-2026.sql", "ventas-2026"),
            ("mi consulta.sql", "mi_consulta"),
            ("año.sql", "a_o"),
            ("ñ.sql", FALLBACK_NAME),
            (".sql", "_sql"),
        ] {
            assert_eq!(QueryFile::new(path.into()).name, name, "{path}");
        }
    }

    #[test]
    fn commands_move_the_file_only_if_needed() {
        let commands = |path: &str| QueryFile::new(path.into()).next_commands("latido");
        assert_eq!(
            commands("streams/q.sql"),
            ["latido install", "latido serve"]
        );
        assert_eq!(
            commands("it's.sql")[0],
            r"mkdir -p streams && mv 'it'\''s.sql' streams/it_s.sql"
        );
    }
}
