use super::*;
use latido_stream::ZoneRule;

/// A folder that the test deletes at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("latido-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        for (file, text) in files {
            std::fs::write(path.join(file), text).unwrap();
        }
        Self(path)
    }

    fn read(&self, known: &[Stream], used: &[PathBuf]) -> (Vec<String>, String) {
        read_folder(&self.0, false, known, used)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

fn read_folder(
    path: &Path,
    is_required: bool,
    known: &[Stream],
    used_files: &[PathBuf],
) -> (Vec<String>, String) {
    let mut errors = ConfigErrors::default();
    let folder = StreamFolder {
        path,
        shown: Path::new("streams"),
        is_required,
        zone: "America/Guayaquil",
        known,
        used_files,
    };
    let streams = folder.read(&mut errors);
    for stream in &streams {
        assert!(stream.inference.keys && stream.inference.tables);
        assert_eq!(stream.event, stream.name);
        assert_eq!(
            stream.zone_rule,
            ZoneRule::Fixed("America/Guayaquil".into())
        );
    }
    let texts = streams
        .into_iter()
        .map(|s| format!("{}={}", s.name, s.query));
    let errors = (!errors.is_empty()).then(|| errors.to_string());
    (texts.collect(), errors.unwrap_or_default())
}

#[test]
fn each_sql_file_is_a_stream_of_its_name() {
    let folder = Folder::new(
        "folder-names",
        &[
            ("ventas.sql", "\u{feff}SELECT 1"),
            ("cajas-2.sql", "SELECT 2"),
            (".oculto.sql", "SELECT 3"),
            ("notas.txt", "no SQL"),
        ],
    );
    let expected = ["cajas-2=SELECT 2", "ventas=SELECT 1"].map(str::to_owned);
    assert_eq!(folder.read(&[], &[]), (expected.to_vec(), String::new()));
}

#[test]
fn file_that_the_configuration_names_is_no_stream_of_its_own() {
    let folder = Folder::new(
        "folder-used",
        &[("a.sql", "SELECT 1"), ("b.sql", "SELECT 2")],
    );
    let spelled = folder.0.join(".").join("a.sql");
    assert_eq!(folder.read(&[], &[spelled]).0, ["b=SELECT 2"]);
}

#[test]
fn mistakes_name_their_file() {
    let folder = Folder::new(
        "folder-mistakes",
        &[
            ("ventas.sql", "SELECT 1"),
            ("dos palabras.sql", "SELECT 1"),
            ("vacio.sql", " \n"),
            ("dashboard.sql", "SELECT 1"),
            ("error.sql", "SELECT 1"),
            ("bueno.sql", "SELECT 1"),
        ],
    );
    let (streams, errors) = folder.read(&[Stream::test_stream("ventas", None)], &[]);
    assert_eq!(streams, ["bueno=SELECT 1"]);
    for expected in [
        "5 mistakes",
        "ventas.sql: stream ventas has another query in latido.toml; expected one of both",
        "dos palabras.sql: a bad name for a stream; expected 1 to 63 letters",
        "streams/vacio.sql: is empty",
        "dashboard.sql: this name is the server's own",
        "error.sql: this name is an event of the protocol",
    ] {
        assert!(errors.contains(expected), "{expected}\n{errors}");
    }
}

#[test]
fn what_ends_like_an_sql_file_and_is_none_is_a_mistake() {
    let folder = Folder::new(
        "folder-no-files",
        &[
            ("bueno.sql", "SELECT 1"),
            ("MAYUSCULAS.SQL", "SELECT 1"),
            ("nulo.sql", "SELECT 1\0"),
            (".oculto.sql", "SELECT 1"),
            ("notas.txt", "SELECT 1"),
        ],
    );
    std::fs::create_dir(folder.0.join("carpeta.sql")).unwrap();
    std::os::unix::fs::symlink("/no/such/file", folder.0.join("roto.sql")).unwrap();
    std::os::unix::fs::symlink("bueno.sql", folder.0.join("enlace.sql")).unwrap();
    let (streams, errors) = folder.read(&[], &[]);
    assert_eq!(streams, ["bueno=SELECT 1", "enlace=SELECT 1"]);
    for expected in [
        "4 mistakes",
        "MAYUSCULAS.SQL: expected a name that ends with .sql, in lower case",
        "carpeta.sql: is no file, or leads to none",
        "roto.sql: is no file, or leads to none",
        "nulo.sql: could not be read: it has a NUL character",
    ] {
        assert!(errors.contains(expected), "{expected}\n{errors}");
    }
    let endless = read_text(Path::new("/dev/zero")).unwrap_err().to_string();
    assert!(endless.contains("expected a regular file"), "{endless}");
    let large = folder.0.join("grande.sql");
    let file = std::fs::File::create(&large).unwrap();
    file.set_len((16 << 20) + 1).unwrap();
    let large = read_text(&large).unwrap_err().to_string();
    assert!(large.contains("more than 16777216 bytes"), "{large}");
}

#[test]
fn absent_folder_is_a_mistake_only_if_it_is_named() {
    let nowhere = Path::new("/no/such/streams");
    assert_eq!(read_folder(nowhere, false, &[], &[]).1, "");
    let errors = read_folder(nowhere, true, &[], &[]).1;
    assert!(
        errors.contains("STREAMS_DIR: /no/such/streams could not be read"),
        "{errors}"
    );
}
