//! The spelling of keys: a key has one text in the server and in the column that holds it, or the
//! stream is refused.

use latido::app;
use latido_base::ident::{Key, UserId};
use latido_postgres::{Config, Database, DatabaseError, FindingLevel, InstallError, examine};
use latido_stream::{Catalog, Stream, ZoneRule};

use super::reading::{keys, today};
use super::{empty_database, estadisticas, table};
use crate::harness::{TempFolder, settings};

const UPPER: &str = "6F1C9C1E-50A5-4B1F-9D53-0C9D6F0A7A11";

/// Returns a stream over the table `t`, whose key is `k`.
fn stream(parameter: &str) -> Stream {
    Stream {
        name: "una".to_owned(),
        query: format!(
            "SELECT u.k, (SELECT count(*) FROM t WHERE t.k::text = u.k::text) AS n FROM unnest($1::{parameter}[]) AS u (k)"
        ),
        authorize_query: None,
        tables: vec![table("t", Some("k"), &[])],
        ..estadisticas()
    }
}

/// The types of a column and of the parameter, and what the message says.
const MISMATCHES: &[(&str, &str, &[&str])] = &[
    (
        "varchar(36)",
        "uuid",
        &[
            "character varying(36)",
            "uuid[]",
            "`$1::text[]`",
            "TYPE uuid",
        ],
    ),
    ("nombre", "uuid", &["nombre", "uuid[]", "`$1::text[]`"]),
    (
        "text",
        "bigint",
        &["text", "int8[]", "`$1::text[]`", "TYPE bigint"],
    ),
    ("uuid", "text", &["uuid", "text[]", "`$1::uuid[]`"]),
    (
        "smallint",
        "varchar",
        &["smallint", "varchar[]", "`$1::bigint[]`"],
    ),
    ("uuid", "int", &["uuid", "int4[]", "`$1::uuid[]`"]),
    (
        "text COLLATE ci",
        "text",
        &["text", "text[]", "deterministic collation"],
    ),
    (
        "text COLLATE ci",
        "animo",
        &["text", "animo[]", "deterministic collation"],
    ),
    (
        "char(36)",
        "text",
        &["character(36)", "text[]", "`$1::bpchar[]`"],
    ),
    ("text", "bpchar", &["text", "bpchar[]", "`$1::text[]`"]),
    ("char(36)", "uuid", &["character(36)", "`$1::bpchar[]`"]),
    (
        "numeric(9,0)",
        "text",
        &["numeric(9,0)", "text[]", "`$1::numeric[]`"],
    ),
    (
        "numeric",
        "numeric",
        &["is numeric,", "numeric[]", "TYPE numeric(38,0)", "7.0"],
    ),
    (
        "numeric(9,2)",
        "bigint",
        &["numeric(9,2)", "int8[]", "TYPE numeric(38,0)"],
    ),
    ("saldo", "numeric", &["saldo", "TYPE numeric(38,0)"]),
    ("date", "text", &["date", "`$1::date[]`"]),
    ("boolean", "text", &["boolean", "`$1::boolean[]`"]),
    ("animo", "bigint", &["animo", "int8[]", "`$1::text[]`"]),
    ("text", "date", &["text", "date[]", "TYPE date"]),
];

#[tokio::test]
async fn keys_with_two_spellings_are_refused() {
    let (_home, client, url) = empty_database().await;
    client
        .batch_execute(
            "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false); CREATE DOMAIN nombre AS text;
             CREATE DOMAIN importe AS numeric(9,2); CREATE DOMAIN saldo AS importe; CREATE TYPE animo AS ENUM ('bien')",
        )
        .await
        .unwrap();
    for (column, parameter, parts) in MISMATCHES {
        let create = format!("DROP TABLE IF EXISTS t; CREATE TABLE t (k {column})");
        client.batch_execute(&create).await.unwrap();
        let database = Database::open(&Config::new(&url)).unwrap();
        let catalog = Catalog::new(vec![stream(parameter)]);
        let error = database.prepare(&catalog).await.unwrap_err();
        assert!(
            matches!(error, DatabaseError::KeyMismatch(_)),
            "{column} {parameter}: {error}"
        );
        let text = error.to_string();
        for part in ["stream una", "key k", "table t"].iter().chain(*parts) {
            assert!(text.contains(part), "{part} in {text}");
        }
        let findings = examine(&database, &catalog).await;
        let query = findings
            .iter()
            .find(|finding| finding.subject == "stream una: query")
            .unwrap();
        assert_eq!((query.level, &query.detail), (FindingLevel::Failure, &text));
        let error = database.check_streams(&catalog).await.unwrap_err();
        assert!(
            matches!(&error, InstallError::KeyMismatches(all) if all.len() == 1),
            "{error}"
        );
        assert_eq!(error.to_string(), text);
    }
}

#[tokio::test]
async fn keys_with_one_spelling_are_accepted() {
    let (_home, client, url) = empty_database().await;
    client
        .batch_execute(
            "CREATE DOMAIN clave AS uuid; CREATE COLLATION icu (provider = icu, locale = 'es'); CREATE DOMAIN llave AS clave;
             CREATE DOMAIN entero AS numeric(20,0); CREATE TYPE animo AS ENUM ('bien'); CREATE TYPE otro AS ENUM ('mal')",
        )
        .await
        .unwrap();
    for (column, parameter) in [
        ("uuid", "uuid"),
        ("clave", "uuid"),
        ("int", "bigint"),
        ("bigint", "smallint"),
        ("varchar(40)", "text"),
        ("text COLLATE icu", "varchar"),
        ("llave", "uuid"),
        ("uuid", "llave"),
        ("numeric(9,0)", "numeric"),
        ("entero", "bigint"),
        ("int", "numeric"),
        ("char(3)", "bpchar"),
        ("char(3)", "char(9)"),
        ("animo", "animo"),
        ("animo", "text"),
        ("text", "animo"),
        ("otro", "animo"),
        ("date", "date"),
        ("boolean", "boolean"),
    ] {
        let create = format!("DROP TABLE IF EXISTS t; CREATE TABLE t (k {column})");
        client.batch_execute(&create).await.unwrap();
        let database = Database::open(&Config::new(&url)).unwrap();
        let catalog = Catalog::new(vec![stream(parameter)]);
        if let Err(error) = database.prepare(&catalog).await {
            panic!("{column} {parameter}: {error}");
        }
        let warnings = database.check_streams(&catalog).await.unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}

#[tokio::test]
async fn citext_and_text_are_two_spellings() {
    let Some((_home, client, url)) = super::citext_database("").await else {
        return;
    };
    for (column, parameter, remedy) in [
        ("citext", "text", "`$1::citext[]`"),
        ("text", "citext", "`$1::text[]`"),
        ("nombre", "varchar", "`$1::citext[]`"),
        ("citext", "nombre", ""),
        ("nombre", "citext", ""),
    ] {
        let create =
            "DROP TABLE IF EXISTS t; DROP DOMAIN IF EXISTS nombre; CREATE DOMAIN nombre AS citext";
        client
            .batch_execute(&format!("{create}; CREATE TABLE t (k {column})"))
            .await
            .unwrap();
        let database = Database::open(&Config::new(&url)).unwrap();
        let result = database
            .prepare(&Catalog::new(vec![stream(parameter)]))
            .await;
        match result {
            Ok(()) => assert_eq!(remedy, "", "{column} {parameter}"),
            Err(DatabaseError::KeyMismatch(mismatch)) if !remedy.is_empty() => {
                let text = mismatch.to_string();
                assert!(text.contains(remedy) && text.contains("citext"), "{text}");
            }
            Err(error) => panic!("{column} {parameter}: {error}"),
        }
    }
}

/// Queries of the user may return a key as their table spells it.
#[tokio::test]
async fn returned_keys_are_understood_in_any_spelling() {
    let (_home, client, url) = empty_database().await;
    client
        .batch_execute(&format!(
            "CREATE TABLE t (k uuid); CREATE TABLE lugares (id varchar, zona text, dueno text);
             INSERT INTO lugares VALUES ('{UPPER}', 'America/Lima', 'ana')"
        ))
        .await
        .unwrap();
    let database = Database::open(&Config::new(&url)).unwrap();
    let zoned = |sql: &str| Stream {
        zone_rule: ZoneRule::Query {
            sql: sql.to_owned(),
            default: "UTC".to_owned(),
        },
        authorize_query: Some(
            "SELECT id FROM lugares WHERE id::uuid = ANY ($2::uuid[]) AND dueno = $1".into(),
        ),
        ..stream("uuid")
    };
    let catalog = Catalog::new(vec![zoned(
        "SELECT id, zona FROM lugares WHERE id::uuid = ANY ($1::uuid[])",
    )]);
    database.prepare(&catalog).await.unwrap();
    let (_, stream) = catalog.iter().next().unwrap();
    let lower = keys(&[&UPPER.to_lowercase()]);
    let zones = database.zones(stream, &lower).await.unwrap();
    assert_eq!(
        zones,
        [(lower[0].clone(), "America/Lima".to_owned())].into()
    );
    let allowed = database
        .allowed_keys(stream, &UserId::new("ana"), &lower)
        .await
        .unwrap();
    assert_eq!(allowed, lower);
    let read = database.read(stream, &lower, &[today()]).await.unwrap();
    assert_eq!(read[0].key, Key::from_canonical(&UPPER.to_lowercase()));

    // A zone query whose keys are of another kind would look for other spellings.
    let catalog = Catalog::new(vec![zoned(
        "SELECT id, zona FROM lugares WHERE id = ANY ($1::text[])",
    )]);
    let error = database.prepare(&catalog).await.unwrap_err().to_string();
    assert!(
        error.contains("time zone query") && error.contains("same kind"),
        "{error}"
    );
}

/// `latido install` changes nothing, with or without `--dry-run`.
#[tokio::test]
async fn install_refuses_keys_with_two_spellings() {
    let (_home, client, url) = empty_database().await;
    client
        .batch_execute("CREATE TABLE t (k varchar(36))")
        .await
        .unwrap();
    let folder = TempFolder::new();
    let file = folder.write(
        "latido.toml",
        r#"
        builtin_streams = false
        [streams.una]
        query = "SELECT u.k, (SELECT count(*) FROM t WHERE t.k = u.k::text) AS n FROM unnest($1::uuid[]) AS u (k)"
        key_field = "k"
        [[streams.una.tables]]
        table = "t"
        key = "k"
        "#,
    );
    let variables = [("LATIDO_CONFIG", file.to_str().unwrap())];
    for error in [
        app::install(settings(&url, &variables)).await.unwrap_err(),
        app::install_sql(settings(&url, &variables))
            .await
            .unwrap_err(),
    ] {
        let text = error.to_string();
        for part in [
            "key k of table t",
            "character varying(36)",
            "uuid[]",
            "`$1::text[]`",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
    let triggers = client
        .query_one("SELECT count(*) FROM pg_trigger", &[])
        .await
        .unwrap();
    assert_eq!(triggers.get::<_, i64>(0), 0);
}
