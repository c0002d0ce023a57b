use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A folder for one test, which is removed with this value.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("latido-settings-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

crate::variables! {
    const VARIABLES;
    "Tests" {
        plain PORT "PORT" = none, "A variable that every source sets";
        plain HOST "ADDRESS" = none, "A variable of the environment";
        plain TIMEZONE "ZONE" = none, "A variable that is empty in the environment";
        secret JWT_SECRET "TEXT" = none, "A variable of the file alone";
    }
}

#[test]
fn flag_precedes_environment_and_environment_precedes_file() {
    let mut sources =
        ConfigSources::from_variables(&[("PORT", "2"), ("HOST", "::1"), ("TIMEZONE", "")]);
    sources.flags.insert("PORT", "1".to_owned());
    sources.read_dotenv(
        "\u{feff}PORT=3\nHOST=127.0.0.1\nTIMEZONE=Asia/Tokyo\n# comment\nJWT_SECRET='a $b'\n",
    );
    let values = [PORT, HOST, TIMEZONE, JWT_SECRET].map(|v| sources.get(&v).unwrap().to_owned());
    assert_eq!(values, ["1", "::1", "Asia/Tokyo", "a $b"]);
    assert!(sources.errors.is_empty() && VARIABLES.len() == 4);
}

#[test]
fn invalid_line_is_located_but_not_printed() {
    let mut sources = ConfigSources::default();
    sources.read_dotenv("PORT=3\nJWT_SECRET=my own secret\n");
    let text = format!("{} {sources:?}", sources.errors);
    assert!(
        text.contains("the line behind PORT") && !text.contains("own"),
        "{text}"
    );
}

#[cfg(unix)]
#[test]
fn value_that_is_not_utf8_is_an_error() {
    use std::os::unix::ffi::OsStringExt;
    let mut sources = ConfigSources::default();
    sources.add_environment("HOST", Some(OsString::from_vec(vec![0xff])));
    assert_eq!(
        sources.errors.to_string(),
        "1 mistake in the configuration:\n  HOST: expected UTF-8 text"
    );
}

/// Returns sources with these variables in the environment, and the files that they name read.
fn with_files(environment: &[(&str, &str)], dotenv: &str) -> ConfigSources {
    let mut sources = ConfigSources::from_variables(environment);
    sources.read_dotenv(dotenv);
    sources.read_files(VARIABLES);
    sources
}

/// Writes a file into a folder for one test, and returns its path.
fn write_file(folder: &Path, name: &str, content: &[u8]) -> String {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn secret_is_read_from_a_file_without_its_last_line_break() {
    let folder = TempDir::new();
    for (content, expected) in [
        ("hunter2", "hunter2"),
        ("hunter2\n", "hunter2"),
        ("\u{feff} hunter2 \r\n\r\n", " hunter2 "),
        ("-----BEGIN\nKEY\n", "-----BEGIN\nKEY"),
    ] {
        let path = write_file(folder.path(), "secret", content.as_bytes());
        let sources = with_files(&[("JWT_SECRET_FILE", &path)], "");
        assert_eq!(sources.get(&JWT_SECRET), Some(expected), "{content:?}");
        assert!(sources.errors.is_empty() && !sources.is_empty(&JWT_SECRET));
    }
    // A variable that is no secret has no file.
    let path = write_file(folder.path(), "port", b"8080");
    assert_eq!(with_files(&[("PORT_FILE", &path)], "").get(&PORT), None);
}

#[test]
fn file_counts_as_the_source_that_names_it() {
    let folder = TempDir::new();
    let path = write_file(folder.path(), "secret", b"from a file\n");
    let value = |environment: &[(&str, &str)], dotenv: &str| {
        let sources = with_files(environment, dotenv);
        assert!(sources.errors.is_empty(), "{}", sources.errors);
        sources.get(&JWT_SECRET).map(ToOwned::to_owned)
    };
    let file = ("JWT_SECRET_FILE", path.as_str());
    assert_eq!(value(&[file], "JWT_SECRET=weaker").unwrap(), "from a file");
    let dotenv = format!("JWT_SECRET_FILE={path}");
    assert_eq!(
        value(&[("JWT_SECRET", "")], &dotenv).unwrap(),
        "from a file"
    );
    assert_eq!(
        value(&[("JWT_SECRET", "stronger")], "JWT_SECRET_FILE=/absent").unwrap(),
        "stronger"
    );
    assert_eq!(value(&[("JWT_SECRET_FILE", " ")], ""), None);
}

#[test]
fn file_that_gives_no_secret_is_one_error_without_its_content() {
    let folder = TempDir::new();
    let empty = write_file(folder.path(), "empty", b"\n");
    let binary = write_file(folder.path(), "binary", b"hunter2\xff");
    let large = write_file(folder.path(), "large", "hunter2".repeat(10_000).as_bytes());
    let directory = folder.path().to_str().unwrap();
    for (path, problem) in [
        (
            "/absent/hunter2",
            "the file could not be read: No such file",
        ),
        (directory, "the file is a directory, a pipe or a device"),
        (&empty, "the file is empty"),
        (&binary, "the file is not UTF-8 text"),
        (&large, "the file is larger than 65536 bytes"),
    ] {
        let sources = with_files(&[("JWT_SECRET_FILE", path)], "");
        let reader = &mut crate::SettingsReader::new(&sources);
        reader.require(&JWT_SECRET, "a secret");
        let text = format!("{} {sources:?}", reader.errors);
        assert!(
            text.starts_with("1 mistake in the configuration:\n  JWT_SECRET_FILE: the file ")
                && text.contains(problem)
                && text.contains("; expected the path of a file with JWT_SECRET"),
            "{text}"
        );
        // Somebody may have put the secret itself where a path is expected.
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn secret_and_its_file_exclude_each_other() {
    let sources = with_files(
        &[("JWT_SECRET", "hunter2"), ("JWT_SECRET_FILE", "/absent")],
        "",
    );
    assert_eq!(
        sources.errors.to_string(),
        "1 mistake in the configuration:\n  JWT_SECRET_FILE: set beside JWT_SECRET; expected one of the two"
    );
}
