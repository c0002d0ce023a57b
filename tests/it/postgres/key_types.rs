//! The canonical text of keys of each type, with PostgreSQL as the oracle: random texts are equal keys
//! where PostgreSQL finds them equal, and a trigger sends the text that the server has made of them.

use std::collections::BTreeSet;

use latido_base::ident::{Key, StreamId};
use latido_postgres::{Config, Database, DatabaseError};
use latido_stream::{Catalog, KeyType, Param, ParamKind, Stream};
use proptest::strategy::{Strategy, ValueTree};
use proptest::string::string_regex;
use proptest::test_runner::TestRunner;
use tokio_postgres::Client;

use super::reading::{keys, today};
use super::triggers::{GATE_SETTINGS, NotificationTap, watch_everything};
use super::{citext_database, empty_database, estadisticas, table};
use crate::harness::cluster::TestDatabase;

/// The number of random texts of each type.
const TEXTS: usize = 150;

const TYPES: &str = r#"
    CREATE TYPE animo AS ENUM ('bien', 'muy mal', 'Bien', '"\', 'ñ''{,}', '');
    CREATE DOMAIN clave AS uuid; CREATE DOMAIN llave AS clave;
    CREATE DOMAIN codigo AS char(12); CREATE DOMAIN entero AS numeric(40,0); CREATE DOMAIN grande AS entero;
    CREATE DOMAIN estado AS animo; CREATE DOMAIN corto AS smallint CHECK (VALUE <> 13)"#;

/// A type of keys, and the texts to try.
struct Case {
    column: &'static str,
    parameter: &'static str,
    texts: &'static str,
    /// Whether the server takes the text as a key, if PostgreSQL takes it as a value. It is stricter
    /// where a key would have too many spellings.
    is_key: fn(&str) -> bool,
}

const fn case(
    column: &'static str,
    parameter: &'static str,
    texts: &'static str,
    is_key: fn(&str) -> bool,
) -> Case {
    Case {
        column,
        parameter,
        texts,
        is_key,
    }
}

fn is_any(_: &str) -> bool {
    true
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_text(text: &str) -> bool {
    !text.is_empty()
}

fn is_padded(text: &str) -> bool {
    !text.trim_end_matches(' ').is_empty()
}

fn is_iso_date(text: &str) -> bool {
    text.len() == 10 && text.is_ascii() && &text[4..5] == "-" && &text[7..8] == "-"
}

fn is_bool(text: &str) -> bool {
    ["true", "false"].contains(&text)
}

const UUIDS: &str = "[0-9a-fA-F]{8}-[0-9a-f]{4}-[0-9A-F]{4}-[0-9a-f]{4}-00000000000[aA]|[0-9a-fA-F]{32}|00000000-0000-0000-0000-00000000000[aAx]";
const NUMBERS: &str = "-?0{0,3}[0-9]{1,2}|-?0{0,3}[0-9]{1,4}|[+]?[0-9]|[0-9][.]0| 7|1e3|-|";
const LONG_NUMBERS: &str = "-?0{0,3}[0-9]{1,2}|-?0{0,3}[0-9]{1,40}|[+]?[0-9]|[0-9][.]0|1e3|NaN|-|";
const TEXTS_OF_ALL_KINDS: &str = r#"[aAñ '"\\{},%/]{0,4}|NULL|null"#;
const BLANKS: &str = r#"[aA ]{0,3} {0,3}|[ñ'"\\{},]{0,6} {0,3}"#;
const DATES: &str = "(0001|1582|2024|2026|9999)-(0[1-9]|1[0-3])-([012][0-9]|3[0-2])|2026-1-2|2026-02-03T00:00|today|infinity|0044-03-15 BC|03/02/2026";
const LABELS: &str = r#"bien|Bien|BIEN|muy mal|muy  mal|"\\|ñ'\{,\}|bien |"#;
const LETTERS: &str = r#"[aAbBñÑ]{1,3}|[ßẞİıIiΣσςÀàǅǆЖж𐐀𐐨'"\\{}, ]{0,4}"#;

const CASES: &[Case] = &[
    case("uuid", "uuid", UUIDS, is_any),
    case("llave", "llave", UUIDS, is_any),
    case("bigint", "bigint", NUMBERS, is_number),
    case("corto", "corto", NUMBERS, is_number),
    case("numeric(60,0)", "numeric", LONG_NUMBERS, is_number),
    case("grande", "grande", LONG_NUMBERS, is_number),
    case("bigint", "numeric", NUMBERS, is_number),
    case("numeric(20,0)", "bigint", NUMBERS, is_number),
    case("text", "text", TEXTS_OF_ALL_KINDS, is_text),
    case("varchar(40)", "text", TEXTS_OF_ALL_KINDS, is_text),
    case("char(12)", "bpchar", BLANKS, is_padded),
    case("codigo", "codigo", BLANKS, is_padded),
    case("date", "date", DATES, is_iso_date),
    case(
        "boolean",
        "boolean",
        "true|false|t|TRUE|1|yes| true|maybe",
        is_bool,
    ),
    case("animo", "animo", LABELS, is_text),
    case("estado", "estado", LABELS, is_text),
    case("text", "animo", LABELS, is_text),
];

/// Returns the type in which keys are compared. A domain over an enum has no equality of its own.
fn compared_type<'a>(column: &'a str, parameter: &'a str) -> &'a str {
    match (column, parameter) {
        ("text", "animo") => "text",
        (_, "estado") => "animo",
        _ => parameter,
    }
}

/// Returns a stream over the table `t`, whose key is `k`.
fn catalog_of(column: &str, parameter: &str) -> Catalog {
    let of = compared_type(column, parameter);
    stream_of(&format!(
        "SELECT u.k, (SELECT count(*) FROM t WHERE t.k::{of} = u.k::{of}) AS n FROM unnest($1::{parameter}[]) AS u (k)"
    ))
}

/// Returns a stream that reads keys as their table spells them.
fn catalog_of_rows(column: &str, parameter: &str) -> Catalog {
    let of = compared_type(column, parameter);
    stream_of(&format!(
        "SELECT t.k, 1 AS n FROM t WHERE t.k::{of} = ANY ($1::{parameter}[]::{of}[])"
    ))
}

fn stream_of(query: &str) -> Catalog {
    Catalog::new(vec![Stream {
        name: "una".to_owned(),
        query: query.to_owned(),
        authorize_query: None,
        tables: vec![table("t", Some("k"), &[])],
        ..estadisticas()
    }])
}

fn random_texts(regex: &str) -> BTreeSet<String> {
    let (mut runner, strategy) = (TestRunner::deterministic(), string_regex(regex).unwrap());
    let text = |_| strategy.new_tree(&mut runner).unwrap().current();
    (0..TEXTS).map(text).collect()
}

/// Compares the server with PostgreSQL on random texts. The client writes them, in a session whose
/// format of dates is another.
async fn compare(case: &Case, home: &TestDatabase, client: Client) {
    let Case {
        column, parameter, ..
    } = case;
    let label = format!("{column} {parameter}");
    client
        .batch_execute(&format!(
            "SET datestyle = 'German, DMY'; SET timezone = 'Pacific/Apia'; DROP TABLE IF EXISTS t; CREATE TABLE t (k {column});
             CREATE OR REPLACE FUNCTION is_value(v text) RETURNS boolean LANGUAGE plpgsql AS $$
             BEGIN PERFORM v::{parameter}; RETURN true; EXCEPTION WHEN OTHERS THEN RETURN false; END $$"
        ))
        .await
        .unwrap();
    let catalog = catalog_of(column, parameter);
    let stream = catalog.get(StreamId(0));
    let writer = Database::open(&Config::new(home.url())).unwrap();
    writer
        .prepare(&catalog)
        .await
        .unwrap_or_else(|error| panic!("{label}: {error}"));
    let of = stream.key_types.get().unwrap()[0].clone();
    let texts: Vec<String> = random_texts(case.texts).into_iter().collect();
    let mut canonical = Vec::new();
    for text in &texts {
        let row = client
            .query_one("SELECT is_value($1)", &[text])
            .await
            .unwrap();
        let is_value: bool = row.get(0);
        let parsed = of.parse(text, "");
        let expected = (case.is_key)(text) && is_value || is_refused_by_domain(&of, text, is_value);
        assert_eq!(parsed.is_ok(), expected, "{label} {text:?}: {parsed:?}");
        if let Ok(key) = parsed.as_ref()
            && is_value
        {
            assert_eq!(
                of.parse(key, "").as_ref(),
                Ok(key),
                "{label}: not canonical"
            );
            canonical.push((text.clone(), key.clone()));
        }
    }
    assert!(canonical.len() > 1, "{label}: too few keys");
    assert_equal_where_postgres_does(&label, case, &client, &canonical).await;
    assert_triggers_send(&label, home, &catalog, &canonical).await;
    assert_rows_are_found(&label, case, home, stream, &client, &canonical).await;
}

/// A check of a domain is a matter of the database alone.
fn is_refused_by_domain(of: &KeyType, text: &str, is_value: bool) -> bool {
    !is_value && (*of == KeyType::Integer || *of == KeyType::Numeric) && is_number(text)
}

/// Asserts that triggers of both kinds send the canonical text of each row, in a session whose format
/// of dates is a third one.
async fn assert_triggers_send(
    label: &str,
    home: &TestDatabase,
    catalog: &Catalog,
    canonical: &[(String, String)],
) {
    for gate in GATE_SETTINGS {
        let database = Database::open(&Config {
            interest_gate: gate,
            ..Config::new(home.url())
        })
        .unwrap();
        database.install(catalog).await.unwrap();
        let other = home.client().await;
        other
            .batch_execute("SET datestyle = 'SQL, DMY'")
            .await
            .unwrap();
        let mut tap = NotificationTap::open(other, home).await;
        tap.watcher = Some(watch_everything(home).await);
        for (text, key) in canonical {
            let literal = text.replace('\'', "''");
            let sql =
                format!("INSERT INTO t VALUES ('{literal}'); UPDATE t SET k = k; DELETE FROM t");
            assert_eq!(
                tap.keys(&sql).await,
                [key.clone()].into(),
                "{label} {text:?} {gate}"
            );
        }
    }
}

/// Asserts that two texts have one canonical text exactly if PostgreSQL finds their values equal.
async fn assert_equal_where_postgres_does(
    label: &str,
    case: &Case,
    client: &Client,
    canonical: &[(String, String)],
) {
    let texts: Vec<_> = canonical.iter().map(|(text, _)| text).collect();
    let of = case.parameter;
    let compared = compared_type(case.column, of);
    let sql = format!(
        "SELECT a.n::int, b.n::int FROM unnest($1::text[]) WITH ORDINALITY AS a (v, n), unnest($1::text[]) WITH ORDINALITY AS b (v, n)
         WHERE a.v::{of}::{compared} = b.v::{of}::{compared}"
    );
    let rows = client.query(&sql, &[&texts]).await.unwrap();
    let equal: BTreeSet<(i32, i32)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    for (a, (text, key)) in (1..).zip(canonical) {
        for (b, (other, other_key)) in (1..).zip(canonical) {
            assert_eq!(
                key == other_key,
                equal.contains(&(a, b)),
                "{label} {text:?} {other:?}"
            );
        }
    }
}

/// Asserts that the server finds the rows that hold these texts by their keys, and knows the key of a
/// row that comes in the spelling of the table.
async fn assert_rows_are_found(
    label: &str,
    case: &Case,
    home: &TestDatabase,
    stream: &Stream,
    client: &Client,
    canonical: &[(String, String)],
) {
    let values = canonical
        .iter()
        .map(|(text, _)| format!("('{}')", text.replace('\'', "''")));
    let insert = format!(
        "INSERT INTO t VALUES {}",
        values.collect::<Vec<_>>().join(", ")
    );
    client.batch_execute(&insert).await.unwrap();
    let unique: BTreeSet<&str> = canonical.iter().map(|(_, key)| &**key).collect();
    let wanted = keys(&unique.iter().copied().collect::<Vec<_>>());
    let days = vec![today(); wanted.len()];
    let database = Database::open(&Config::new(home.url())).unwrap();
    for row in database.read(stream, &wanted, &days).await.unwrap() {
        let times = canonical
            .iter()
            .filter(|(_, key)| Key::from_canonical(key) == row.key);
        assert_eq!(
            row.columns,
            format!("{{\"n\":{}}}", times.count()),
            "{label} {}",
            row.key
        );
    }
    let catalog = catalog_of_rows(case.column, case.parameter);
    let database = Database::open(&Config::new(home.url())).unwrap();
    database.prepare(&catalog).await.unwrap();
    let stream = catalog.get(StreamId(0));
    let rows = database.read(stream, &wanted, &days).await.unwrap();
    let found: BTreeSet<Key> = rows.into_iter().map(|row| row.key).collect();
    assert_eq!(found, wanted.into_iter().collect(), "{label}");
}

#[tokio::test]
async fn texts_are_equal_keys_where_postgres_finds_them_equal() {
    let (home, client, _) = empty_database().await;
    client.batch_execute(TYPES).await.unwrap();
    for case in CASES {
        compare(case, &home, home.client().await).await;
    }
}

/// The lower case of letters depends on the locale of the database.
#[tokio::test]
async fn citext_has_the_lower_case_of_its_database() {
    for (options, is_key) in [
        ("LOCALE 'C'", is_text as fn(&str) -> bool),
        ("LOCALE 'C.UTF-8'", is_text),
        (
            "LOCALE_PROVIDER icu ICU_LOCALE 'es' LOCALE 'C.UTF-8'",
            |text| is_text(text) && !text.contains('Σ'),
        ),
        (
            "LOCALE_PROVIDER icu ICU_LOCALE 'tr' LOCALE 'C.UTF-8'",
            |text| is_text(text) && !text.contains(['Σ', 'I']),
        ),
    ] {
        let Some((home, client, _)) = citext_database(options).await else {
            continue;
        };
        client
            .batch_execute("CREATE DOMAIN correo AS citext")
            .await
            .unwrap();
        for (column, parameter) in [
            ("citext", "citext"),
            ("correo", "correo"),
            ("citext COLLATE \"C\"", "citext"),
        ] {
            let case = case(column, parameter, LETTERS, is_key);
            compare(&case, &home, home.client().await).await;
        }
    }
}

/// Labels may be added and renamed while the server runs.
#[tokio::test]
async fn labels_of_an_enum_are_learnt() {
    let (home, client, url) = empty_database().await;
    client
        .batch_execute(&format!("{TYPES}; CREATE TABLE t (k animo)"))
        .await
        .unwrap();
    let (database, catalog) = (
        Database::open(&Config::new(url)).unwrap(),
        catalog_of("animo", "animo"),
    );
    database.prepare(&catalog).await.unwrap();
    let stream = catalog.get(StreamId(0));
    let message = catalog.resolve("una:regular").unwrap_err().to_string();
    assert!(message.contains("expected bien or muy mal"), "{message}");
    client
        .batch_execute("ALTER TYPE animo ADD VALUE 'regular'")
        .await
        .unwrap();
    database.recheck_key_columns(stream).await.unwrap();
    assert!(catalog.resolve("una:regular").is_ok());
    let read = async |key: &str| {
        let rows = database
            .read(stream, &keys(&[key]), &[today()])
            .await
            .unwrap();
        rows.first().map(|row| row.key.to_string())
    };
    assert_eq!(read("regular").await.as_deref(), Some("regular"));

    client
        .batch_execute("ALTER TYPE animo RENAME VALUE 'regular' TO 'normal'")
        .await
        .unwrap();
    assert_eq!(
        read("regular").await,
        None,
        "there is no such label any more"
    );
    assert!(catalog.resolve("una:regular").is_err());
    assert_eq!(read("normal").await.as_deref(), Some("normal"));

    // The type itself may be another one of the same name.
    client
        .batch_execute("DROP TABLE t; DROP DOMAIN estado; DROP TYPE animo; CREATE TYPE animo AS ENUM ('solo'); CREATE TABLE t (k animo)")
        .await
        .unwrap();
    assert_eq!(read("solo").await.as_deref(), Some("solo"));
    drop(home);
}

/// Parts and parameters of any type reach the query, and come back as they were given.
#[tokio::test]
async fn parts_and_parameters_of_any_type_are_bound() {
    let (_home, client, url) = empty_database().await;
    client.batch_execute(TYPES).await.unwrap();
    let params = [
        ("desde", ParamKind::Date),
        ("numero", ParamKind::Integer),
        ("corto", ParamKind::Integer),
        ("nota", ParamKind::Text { max_bytes: 40 }),
        ("animo", ParamKind::Enum(vec!["muy mal".to_owned()])),
        ("otro", ParamKind::Enum(vec!["muy mal".to_owned()])),
        ("activo", ParamKind::Boolean),
    ];
    let catalog = Catalog::new(vec![Stream {
        name: "una".to_owned(),
        query: "SELECT dia, codigo, animo, desde, numero, corto, nota, a, b, activo, hoy = desde AS es_hoy FROM unnest(
                $1::date[], $2::bpchar[], $3::estado[], $4::date[], $5::date[], $6::numeric[], $7::corto[], $8::varchar[], $9::estado[], $10::text[],
                $11::boolean[]) AS u (dia, codigo, animo, hoy, desde, numero, corto, nota, a, b, activo)"
            .to_owned(),
        key_fields: ["dia", "codigo", "animo"].map(str::to_owned).into(),
        params: params.map(|(name, kind)| Param { name: name.to_owned(), kind, default: None }).into(),
        authorize_query: None,
        tables: Vec::new(),
        ..estadisticas()
    }]);
    let database = Database::open(&Config::new(url)).unwrap();
    database.prepare(&catalog).await.unwrap();
    let name = |code: &str, label: &str| {
        format!(
            "una:2026-11-30/{code}/{label}?activo=true&animo=muy+mal&otro=muy+mal&corto=-7&numero=8&nota=%22%5C%7B,+%27&desde=2026-11-22"
        )
    };
    let topic = catalog.resolve(&name("A%2F%20%20", "Bien")).unwrap().topic;
    let parts: Vec<_> = topic.key.parts().collect();
    assert_eq!(parts, ["2026-11-30", "A/", "Bien"]);
    let stream = catalog.get(StreamId(0));
    let rows = database
        .read(stream, std::slice::from_ref(&topic.key), &[today()])
        .await
        .unwrap();
    assert_eq!(
        (&rows[0].key, &*rows[0].columns),
        (&topic.key, r#"{"es_hoy":true}"#)
    );
    let error = catalog.resolve(&name("A", "BIEN")).unwrap_err().to_string();
    assert!(error.contains("animo: expected bien or muy mal"), "{error}");
}

/// A value that the check of a domain refuses is the problem of its key alone.
#[tokio::test]
async fn refused_value_of_a_domain_is_an_error_of_its_read() {
    let (_home, client, url) = empty_database().await;
    client
        .batch_execute(&format!("{TYPES}; CREATE TABLE t (k corto)"))
        .await
        .unwrap();
    let (database, catalog) = (
        Database::open(&Config::new(url)).unwrap(),
        catalog_of("corto", "corto"),
    );
    database.prepare(&catalog).await.unwrap();
    let stream = catalog.get(StreamId(0));
    let days = [today(), today()];
    let error = database
        .read(stream, &keys(&["7", "13"]), &days)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, DatabaseError::Rejected { sqlstate, .. } if sqlstate == "23514"),
        "{error}"
    );
    let rows = database
        .read(stream, &keys(&["7", "70000"]), &days)
        .await
        .unwrap();
    assert_eq!(rows.len(), 1, "70000 is none of its values");
}
