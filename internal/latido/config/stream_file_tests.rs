use latido_stream::{KeyRoute, SourceTable};

use super::*;

const CITAS: &str = r#"
[streams.citas]
query = "SELECT 1"
key_field = "negocio_id"
"#;

/// Parses `text` as `/somewhere/latido.toml`.
fn parse_text(text: &str) -> Result<StreamFile, ConfigErrors> {
    let mut mistakes = ConfigErrors::default();
    let file = parse(
        text,
        Path::new("/somewhere/latido.toml"),
        "America/Guayaquil",
        &mut mistakes,
    );
    file.filter(|_| mistakes.is_empty()).ok_or(mistakes)
}

fn parse_errors(text: &str) -> String {
    parse_text(text)
        .map(|file| format!("accepted: {file:?}"))
        .unwrap_or_else(|mistakes| mistakes.to_string())
}

#[test]
fn minimal_stream_has_a_query_and_a_key_field() {
    let file = parse_text(CITAS).unwrap();
    let [stream] = &file.streams[..] else {
        panic!("one stream")
    };
    assert_eq!(
        (
            &*stream.name,
            &*stream.event,
            &*stream.query,
            &*stream.key_fields.concat()
        ),
        ("citas", "citas", "SELECT 1", "negocio_id")
    );
    assert_eq!(
        stream.zone_rule,
        ZoneRule::Fixed("America/Guayaquil".into())
    );
    assert!(
        stream.verification.is_none()
            && stream.authorize_query.is_none()
            && stream.tables.is_empty()
            && stream.inference.tables
            && !stream.inference.keys
            && file.builtin_streams.is_none()
            && file.admin_roles.is_none()
    );
}

#[test]
fn byte_order_marks_are_left_out() {
    let folder = std::env::temp_dir().join(format!("latido-marks-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let text = CITAS.replace("SELECT 1", "citas.sql");
    std::fs::write(folder.join("citas.sql"), "\u{feff}SELECT 2").unwrap();
    std::fs::write(folder.join("latido.toml"), format!("\u{feff}{text}")).unwrap();
    let mut mistakes = ConfigErrors::default();
    let file = read(&folder.join("latido.toml"), "UTC", &mut mistakes);
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(mistakes.is_empty(), "{mistakes}");
    assert_eq!(file.unwrap().streams[0].query, "SELECT 2");
}

#[test]
fn complete_stream_is_parsed() {
    let file = parse_text(
        r#"
        admin_roles = ["jefe"]
        builtin_streams = false
        [streams.salas]
        query = """
          SELECT u.k, count(*) FROM unnest($1) AS u(k)
        """
        check = "SELECT 7"
        history = "SELECT 8"
        authorize = "SELECT k FROM unnest($2::text[]) AS k WHERE $1 <> ''"
        time_zone = "select id, zona from salas where id = any($1)"
        event = "sala"
        key_field = "sala_id"
        [[streams.salas.tables]]
        table = "public.reservas"
        key = "sala_id"
        columns = ["sala_id", "desde"]
        [[streams.salas.tables]]
        table = "feriados"
        "#,
    )
    .unwrap();
    assert_eq!(
        (file.admin_roles, file.builtin_streams),
        (Some(vec!["jefe".to_owned()]), Some(false))
    );
    let stream = &file.streams[0];
    assert!(!stream.inference.is_needed());
    assert_eq!(
        (
            &*stream.event,
            stream.query.starts_with("SELECT u.k"),
            stream.authorize_query.is_some()
        ),
        ("sala", true, true)
    );
    assert!(
        matches!(&stream.zone_rule, ZoneRule::Query { sql, default } if sql.starts_with("select id") && default == "America/Guayaquil")
    );
    assert_eq!(
        stream
            .verification
            .as_ref()
            .map(|check| check.query.as_str()),
        Some("SELECT 7")
    );
    assert_eq!(stream.history_query.as_deref(), Some("SELECT 8"));
    assert_eq!(stream.tables[0].columns, ["sala_id", "desde"]);
    assert_eq!(
        stream.tables[1],
        SourceTable {
            name: "feriados".into(),
            route: KeyRoute::EveryKey,
            columns: Vec::new()
        }
    );
}

#[test]
fn history_is_a_word_of_the_protocol_and_of_addresses() {
    let event = parse_errors(&CITAS.replace("query", "event = \"history\"\nquery"));
    assert!(
        event.contains("\"history\" is the protocol's own"),
        "{event}"
    );
    let param = parse_errors(&format!(
        "{CITAS}[streams.citas.params]\nhistory = {{ type = \"date\" }}"
    ));
    assert!(
        param.contains("the request for the history in addresses"),
        "{param}"
    );
    let empty = parse_errors(&CITAS.replace("query", "history = \" \"\nquery"));
    assert!(
        empty.contains("[streams.citas] history: is empty"),
        "{empty}"
    );
}

#[test]
fn what_is_missing_is_left_to_the_query() {
    let query = "[streams.a]\nquery = \"SELECT 1\"\n";
    let inference = |more: &str| {
        let file = parse_text(&format!("{query}{more}")).unwrap();
        let stream = &file.streams[0];
        (stream.inference.keys, stream.inference.tables)
    };
    assert_eq!(inference(""), (true, true));
    assert_eq!(inference("keys = []"), (false, true));
    assert_eq!(inference("keys = []\ntables = []"), (false, false));
    let entry = "[[streams.a.tables]]\ntable = \"t\"\nkey = [\"a\", \"b\"]";
    assert_eq!(inference(entry), (true, false));
}

#[test]
fn sql_path_is_relative_to_the_configuration_file() {
    let folder = std::env::temp_dir().join(format!("latido-config-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("sql")).unwrap();
    std::fs::write(folder.join("sql/q.sql"), "SELECT 7\n").unwrap();
    std::fs::write(folder.join("sql/empty.sql"), " \n").unwrap();
    let toml = |query: &str| format!("[streams.a]\nkey_field = \"k\"\nquery = \"{query}\"\n");
    let path = folder.join("latido.toml");
    let read_with = |query: &str| {
        std::fs::write(&path, toml(query)).unwrap();
        let mut mistakes = ConfigErrors::default();
        let file = read(&path, "UTC", &mut mistakes).unwrap();
        assert_eq!(file.sql_files, [folder.join(query)]);
        (file.streams[0].query.clone(), mistakes.to_string())
    };
    assert_eq!(read_with("sql/q.sql").0, "SELECT 7\n");
    assert!(
        read_with("sql/empty.sql")
            .1
            .contains("[streams.a] query: is empty")
    );
    assert!(read_with("sql/none.sql").1.contains("could not be read"));
    std::fs::remove_dir_all(&folder).unwrap();
    let mut mistakes = ConfigErrors::default();
    assert!(read(&path, "UTC", &mut mistakes).is_none());
    assert!(
        mistakes.to_string().contains("LATIDO_CONFIG: "),
        "{mistakes}"
    );
}

#[test]
fn errors_of_all_streams_are_reported_together() {
    let text = parse_errors(
        r#"
        [streams.one]
        query = ""
        key_field = "negocio id"
        event = "error"
        time_zone = "Guayaquil"
        [[streams.one.tables]]
        table = "t"
        key = ""
        [[streams.one.tables]]
        table = "t"
        [streams.two]
        query = "SELECT 1"
        key = "x"
        key_field = "k"
        [streams."a:b"]
        query = "SELECT 1"
        key_field = "k"
        "#,
    );
    for expected in [
        "8 mistakes",
        "[streams.one] query: is empty",
        "[streams.one] key_field: expected 1 to 63 letters",
        "[streams.one] event: \"error\" is the protocol's own",
        "[streams.one] time_zone: \"Guayaquil\" is wrong; expected an IANA time zone",
        "[streams.one] tables: a name is empty",
        "[streams.one] tables: \"t\" comes twice",
        "[streams.two]: unknown field `key`, expected one of `query`, `check`, `history`, `authorize`, `time_zone`",
        "[streams.a:b]: a bad name for a stream",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
}

/// Returns the mistakes of a stream with these settings behind its query.
fn stream_errors(settings: &str) -> String {
    parse_errors(&format!("[streams.a]\nquery = \"SELECT 1\"\n{settings}"))
}

#[test]
fn errors_of_keys_and_parameters_say_what_was_expected() {
    let nine: String = (0..9)
        .map(|n| format!("p{n} = {{ type = \"date\" }}\n"))
        .collect();
    let params = |text: &str| format!("keys = [\"k\"]\n[streams.a.params]\n{text}");
    let tables = |text: &str| format!("keys = [\"k\", \"m\"]\n{text}");
    let entry = |way: &str| format!("[[streams.a.tables]]\ntable = \"t\"\n{way}\n");
    for (settings, expected) in [
        (
            "keys = [\"k\", \"k\"]".to_owned(),
            "keys: \"k\" comes twice",
        ),
        ("keys = [\"timestamp\"]".to_owned(), "is the protocol's own"),
        (
            "key_field = \"k\"\nkeys = [\"k\"]".to_owned(),
            "stands beside key_field",
        ),
        (
            "keys = []\ninterval_ms = 3600001".to_owned(),
            "interval_ms: expected 0 to 3600000 milliseconds",
        ),
        (params(&nine), "params: expected at most 8 parameters"),
        (
            params("token = { type = \"date\" }"),
            "params.token: is the name of the token in addresses",
        ),
        (
            params("k = { type = \"date\" }"),
            "params.k: is a key part already",
        ),
        (
            params("n = { type = \"integer\", default = \"x\" }"),
            "params.n: default: expected an integer",
        ),
        (
            params("n = { type = \"integer\", max_length = 3 }"),
            "max_length is for type",
        ),
        (
            tables(&entry("key = \"k\"")),
            "\"t\" names 1 key columns; expected one for each key part (k, m)",
        ),
        (
            tables(&entry("key = [\"k\", \"m\"]\nvia = \"SELECT 1\"")),
            "\"t\" has both key and via",
        ),
        // Every key is named twice, in either order.
        (
            tables(&format!("{}{}", entry("key = [\"a\", \"b\"]"), entry(""))),
            "\"t\" comes twice",
        ),
        (
            tables(&format!("{}{}", entry(""), entry("key = [\"a\", \"b\"]"))),
            "\"t\" comes twice",
        ),
    ] {
        let errors = stream_errors(&settings);
        assert!(errors.contains(expected), "{settings}\n{errors}");
    }
    let two = tables(&format!(
        "{}{}",
        entry("key = [\"a\", \"b\"]"),
        entry("key = [\"c\", \"b\"]")
    ));
    assert!(
        stream_errors(&two).starts_with("accepted"),
        "two keys in a row"
    );
}

#[test]
fn all_errors_of_one_stream_are_reported_together() {
    let text = parse_errors(
        r#"
        admin_roles = 7
        builtin = false
        [streams.una]
        check = 1
        typo = true
        keys = "a"
        interval_ms = -4
        event = "status"
        [[streams.una.tables]]
        tabla = "t"
        key = 7
        [[streams.una.tables]]
        table = "u"
        key = { de = "a" }
        columnas = ["x"]
        columns = "x"
        [streams.una.params]
        desde = { }
        hasta = { type = "fecha", default = 1 }
        clase = { type = "enum" }
        nota = { type = "text", max_length = -1, size = 3 }
        n = 3
        "#,
    );
    for expected in [
        "latido.toml admin_roles: invalid type: integer `7`",
        "latido.toml: unknown field `builtin`, expected one of `admin_roles`, `builtin_streams`, `streams`, `apps`",
        "[streams.una]: missing field `query`",
        "[streams.una] check: invalid type: integer `1`, expected a string",
        "[streams.una] keys: invalid type: string \"a\", expected a sequence",
        "[streams.una]: unknown field `typo`, expected one of `query`, `check`,",
        "[streams.una] interval_ms: expected 0 to 3600000 milliseconds",
        "[streams.una] event: \"status\" is the protocol's own",
        "[streams.una] tables: entry 1: missing field `table`",
        "[streams.una] tables: entry 1: unknown field `tabla`, expected one of `table`, `key`, `via`, `columns`",
        "[streams.una] tables: entry 1 key: expected a column's name",
        "[streams.una] tables: \"u\" key: expected a column's name",
        "[streams.una] tables: \"u\" columns: invalid type: string \"x\"",
        "[streams.una] tables: \"u\": unknown field `columnas`",
        "[streams.una] params.desde: missing field `type`",
        "[streams.una] params.hasta: type: expected date, integer, text, boolean or enum",
        "[streams.una] params.clase: values: expected texts",
        "[streams.una] params.nota: unknown field `size`, expected one of `type`, `default`, `max_length`, `values`",
        "[streams.una] params.nota: max_length: expected 1 to 1000 bytes",
        "[streams.una] params.n: invalid type: integer `3`",
        "20 mistakes",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
}

#[test]
fn errors_of_an_invalid_file_name_their_position() {
    for (text, expected) in [
        ("streams = 1", "latido.toml"),
        ("nonsense", "latido.toml"),
        ("admin_rolls = []", "unknown field `admin_rolls`"),
        ("admin_roles = \"a\"", "latido.toml"),
        ("[streams.a]\nkey_field = \"k\"", "missing field `query`"),
        ("[streams.a]\nquery = 1\nkey_field = \"k\"", "[streams.a]"),
        (
            "[streams.a]\nquery = \"SELECT 1\"\nkey_field = \"k\"\ntables = [\"t\"]",
            "[streams.a]",
        ),
        ("[streams]\na = 1", "[streams.a]"),
    ] {
        assert!(
            parse_errors(text).contains(expected),
            "{text}\n{}",
            parse_errors(text)
        );
    }
}

proptest::proptest! {
    #[test]
    fn parsing_a_stream_file_never_panics(text in "(\\PC|\n){0,200}") {
        let _ = parse_text(&text);
    }
}
