//! The command `latido add`: writes the entry of an SQL file into `latido.toml`.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::app::stream_inference::refusal_text;
use crate::config::{
    ConfigErrors, Settings, defined_streams, is_builtin, query_stream, read_text, stream_entry,
};
use latido_postgres::{Database, Finding, FindingLevel, InferenceAccess, examine_lookups};
use latido_stream::{Catalog, is_name};

/// The configuration that is written if `LATIDO_CONFIG` names none.
pub const DEFAULT_CONFIG: &str = "latido.toml";

/// An entry of `latido.toml` that was made from an SQL file.
#[derive(Debug)]
pub struct StreamEntry {
    /// The stream's name.
    pub name: String,
    /// The text of the entry.
    pub text: String,
    /// What no trigger sees, with what to do about it.
    pub warnings: Vec<String>,
    /// The attempts to refute the keys that the entry finds for changed rows.
    pub checks: Vec<Finding>,
}

/// Returns the entry for the stream of an SQL file, for the configuration at `config`.
///
/// # Errors
/// Returns an error if the configuration has a stream of that name, if a person has to choose
/// something (the message has the entry to start from), if a change of copied rows refutes what was
/// inferred, or if the database fails.
pub async fn stream_of_file(
    settings: Settings,
    file: &Path,
    config: &Path,
) -> anyhow::Result<StreamEntry> {
    let path = file.display();
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    ensure!(
        file.extension().is_some_and(|end| end == "sql") && is_name(&name),
        "{path}: expected the path of an SQL file, whose name without .sql has 1 to 63 letters, digits, _ or -"
    );
    check_is_new(&settings, config, &name, file)?;
    let query = read_text(file).with_context(|| format!("{path} could not be read"))?;
    let shown = path_from(config, file)?;
    ensure!(
        !shown.contains(char::is_control),
        "{shown:?}: expected a path without line breaks or other control characters"
    );
    let mut errors = ConfigErrors::default();
    let stream = query_stream(&name, query, &shown, &settings.time_zone, &mut errors);
    let Some(mut stream) = stream else {
        return Err(errors.into());
    };
    let database = Database::open(&settings.postgres)?;
    let access = InferenceAccess::TemporaryFunctions;
    let inferred = database.infer_stream(&stream, access).await?;
    ensure!(
        inferred.is_complete(),
        "{}",
        refusal_text(&stream, &inferred)
    );
    let text = stream_entry(&stream, &shown, &inferred);
    let warnings = inferred.warnings.clone();
    inferred.complete(&mut stream);
    let checks = examine_lookups(&database, &Catalog::new(vec![stream])).await;
    let is_failure = |check: &&Finding| check.level == FindingLevel::Failure;
    if let Some(refuted) = checks.iter().find(is_failure) {
        anyhow::bail!(
            "{}: {}; nothing was changed",
            refuted.subject,
            refuted.detail
        );
    }
    Ok(StreamEntry {
        name: name.into_owned(),
        text,
        warnings,
        checks,
    })
}

/// Adds an entry at the end of a configuration, which is created if there is none. Nothing that
/// stands there is changed.
///
/// # Errors
/// Returns an error if the file cannot be read or written, or if it would no longer be TOML.
pub fn append_entry(config: &Path, entry: &StreamEntry) -> anyhow::Result<()> {
    let path = config.display();
    let before = match read_text(config) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("{path} could not be read")),
    };
    let gap = match before.as_str() {
        "" => "",
        text if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    let added = format!("{gap}{}", entry.text);
    let whole = format!("{before}{added}");
    let parsed = toml::from_str::<toml::Table>(&whole);
    parsed.with_context(|| format!("nothing was changed: {path} would be wrong"))?;
    let mut options = std::fs::OpenOptions::new();
    let file = options.append(true).create(true).open(config);
    let written = file.and_then(|mut file| file.write_all(added.as_bytes()));
    written.with_context(|| format!("{path} could not be written"))
}

/// Refuses a name that another definition has. A file of the folder with streams may get an entry,
/// and an entry may replace a built-in stream.
fn check_is_new(settings: &Settings, config: &Path, name: &str, file: &Path) -> anyhow::Result<()> {
    // Nothing else may have read it: `LATIDO_CONFIG` need not name it.
    let entries = defined_streams(config);
    let entries = entries.context("nothing was changed: the configuration has a mistake")?;
    let is_defined_in = |place: &str| {
        anyhow::anyhow!(
            "the stream {name} is defined already, in {place}; nothing was changed. Remove it there, or give the file another name"
        )
    };
    if entries.iter().any(|entry| entry == name) {
        return Err(is_defined_in(&format!(
            "{} [streams.{name}]",
            config.display()
        )));
    }
    let mut streams = settings.streams.iter();
    let Some(known) = streams.find(|stream| stream.name == name) else {
        return Ok(());
    };
    match &known.inference.file {
        _ if is_builtin(known) => Ok(()),
        Some(place) if is_same_file(&folder_of(config).join(place), file) => Ok(()),
        Some(place) => Err(is_defined_in(place)),
        None => Err(is_defined_in("an app of the server")),
    }
}

/// Returns the path of a file as the configuration names it: from its folder if the file is below.
fn path_from(config: &Path, file: &Path) -> anyhow::Result<String> {
    let resolve = |path: &Path| -> anyhow::Result<PathBuf> {
        let resolved = path.canonicalize();
        resolved.with_context(|| format!("{} could not be read", path.display()))
    };
    let (folder, file) = (resolve(folder_of(config))?, resolve(file)?);
    let shown = file.strip_prefix(&folder).unwrap_or(&file);
    Ok(shown.to_string_lossy().into_owned())
}

/// Returns the folder of a file, with `.` for the working folder.
fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let resolved = one.canonicalize().ok();
    resolved.is_some_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> StreamEntry {
        StreamEntry {
            name: "a".to_owned(),
            text: text.to_owned(),
            warnings: Vec::new(),
            checks: Vec::new(),
        }
    }

    #[test]
    fn entry_is_added_behind_what_stands_there() {
        let name = format!("latido-add-{}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        let first = entry("[streams.a]\nquery = \"a.sql\"\n");
        append_entry(&path, &first).unwrap();
        append_entry(&path, &entry("[streams.b]\nquery = \"b.sql\"\n")).unwrap();
        let again = append_entry(&path, &first).unwrap_err();
        assert!(
            format!("{again:#}").contains("nothing was changed"),
            "{again:#}"
        );
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let expected = "[streams.a]\nquery = \"a.sql\"\n\n[streams.b]\nquery = \"b.sql\"\n";
        assert_eq!(text, expected);
    }
}
