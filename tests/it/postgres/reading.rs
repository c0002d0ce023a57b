//! Reads, permissions and time zones, and the failures that they survive.

use jiff::civil::date;
use jiff::tz::TimeZone;
use latido_base::ident::{Key, StreamId, UserId};
use latido_postgres::{Config, Database, DatabaseError};
use latido_stream::{Catalog, KeyType, LocalDay, Param, ParamKind, Stream, StreamRow, ZoneRule};

use super::pooler_proxy::{PoolerBehaviour, PoolerProxy};
use super::{A, B, builtin, empty_database, estadisticas, schema_database};

pub(super) fn today() -> LocalDay {
    LocalDay::new(date(2026, 11, 22), &TimeZone::UTC)
}

pub(super) fn keys(texts: &[&str]) -> Vec<Key> {
    texts.iter().map(|text| Key::from_canonical(text)).collect()
}

pub(super) async fn read(
    database: &Database,
    catalog: &Catalog,
    texts: &[&str],
) -> Result<Vec<StreamRow>, DatabaseError> {
    let stream = catalog.get(StreamId(0)).clone();
    let mut rows = database
        .read(&stream, &keys(texts), &vec![today(); texts.len()])
        .await?;
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(rows)
}

pub(super) fn plain(name: &str, query: &str) -> Catalog {
    Catalog::new(vec![Stream {
        name: name.to_owned(),
        query: query.to_owned(),
        authorize_query: None,
        tables: Vec::new(),
        ..estadisticas()
    }])
}

pub(super) const ZEROS: &str =
    r#"{"citas_hoy":0,"total_citas":0,"citas_completadas":0,"citas_canceladas":0}"#;

#[tokio::test]
async fn builtin_stream_works_on_the_user_schema() {
    let (_home, client, database) = schema_database().await;
    let sql = format!(
        "INSERT INTO citas (negocio_id, fecha, estado) VALUES ('{A}', '2026-11-22', 'atendida'), ('{A}', '2026-11-22', 'pendiente'),
         ('{A}', '2026-11-21', 'cancelada')"
    );
    client.batch_execute(&sql).await.unwrap();
    let catalog = builtin();
    database.prepare(&catalog).await.unwrap();
    assert_eq!(
        catalog.get(StreamId(0)).key_types.get(),
        Some(&vec![KeyType::Uuid])
    );
    let rows = read(&database, &catalog, &[A, B]).await.unwrap();
    assert_eq!(
        rows[0].columns,
        r#"{"citas_hoy":2,"total_citas":3,"citas_completadas":1,"citas_canceladas":1}"#
    );
    assert_eq!(rows[1].columns, ZEROS);
    assert_eq!(
        rows[0].clock_us, rows[1].clock_us,
        "one statement, one moment"
    );
    let later = read(&database, &catalog, &[A]).await.unwrap();
    assert!(later[0].clock_us > rows[0].clock_us);
    assert_eq!(read(&database, &catalog, &[]).await.unwrap(), []);
}

#[tokio::test]
async fn builtin_stream_follows_the_column_type() {
    for (of, key_type, id, none) in [
        ("bigint", KeyType::Integer, "7", "9223372036854775807"),
        ("text", KeyType::Text, "negocio_123", "negocio_'\"\\"),
        ("varchar(40)", KeyType::Text, "negocio_123", "?"),
    ] {
        let (_home, client, url) = empty_database().await;
        let schema = format!(
            "CREATE TABLE citas (negocio_id {of}, fecha date, estado text); CREATE TABLE usuarios (id {of}, rol text);
             CREATE TABLE negocios (id {of}, admin_negocio_id {of});
             INSERT INTO citas VALUES ('{id}', '2026-11-22', 'atendida');
             INSERT INTO usuarios VALUES ('{id}', 'negocio'); INSERT INTO negocios VALUES ('{id}', '{id}')"
        );
        client.batch_execute(&schema).await.unwrap();
        let (database, catalog) = (Database::open(&Config::new(url)).unwrap(), builtin());
        database.prepare(&catalog).await.unwrap();
        let stream = catalog.get(StreamId(0));
        assert_eq!(stream.key_types.get(), Some(&vec![key_type]));
        let rows = database
            .read(stream, &keys(&[id, none]), &[today(), today()])
            .await
            .unwrap();
        let of = |key: &str| {
            rows.iter()
                .find(|row| row.key.as_str() == key)
                .unwrap()
                .columns
                .clone()
        };
        assert_eq!(
            of(id),
            r#"{"citas_hoy":1,"total_citas":1,"citas_completadas":1,"citas_canceladas":0}"#
        );
        assert_eq!(of(none), ZEROS);
        let allowed = database
            .allowed_keys(stream, &UserId::new(id), &keys(&[id, none]))
            .await
            .unwrap();
        assert_eq!(allowed, keys(&[id]));
    }
}

#[tokio::test]
async fn permissions_follow_role_and_ownership() {
    let (_home, client, database) = schema_database().await;
    let user = |n| format!("aaaaaaaa-0000-0000-0000-00000000000{n}");
    let sql = format!(
        "INSERT INTO usuarios VALUES ('{}', '', 'negocio'), ('{}', '', 'admin_sistema'), ('{}', '', 'cliente');
         INSERT INTO negocios VALUES ('{A}', '{}'), ('{B}', '{}')",
        user(1),
        user(2),
        user(3),
        user(1),
        user(2)
    );
    client.batch_execute(&sql).await.unwrap();
    let (catalog, both) = (builtin(), keys(&[A, B]));
    let stream = catalog.get(StreamId(0));
    let allowed = async |user_id: &str| {
        database
            .allowed_keys(stream, &UserId::new(user_id), &both)
            .await
            .unwrap()
    };
    assert_eq!(allowed(&user(1)).await, keys(&[A]));
    assert_eq!(allowed(&user(2)).await, both);
    assert_eq!(allowed(&user(3)).await, []);
    for unprivileged in [
        "",
        "7",
        "no uuid",
        "'; DROP TABLE citas; --",
        "\0",
        &user(9),
    ] {
        assert_eq!(allowed(unprivileged).await, [], "{unprivileged:?}");
    }
    let odd = keys(&["no uuid", A]);
    assert_eq!(
        database
            .allowed_keys(stream, &UserId::new(&user(1)), &odd)
            .await
            .unwrap(),
        keys(&[A])
    );
}

#[tokio::test]
async fn postgres_creates_the_json() {
    let (_home, client, url) = empty_database().await;
    client
        .batch_execute("CREATE TYPE animo AS ENUM ('bien')")
        .await
        .unwrap();
    let database = Database::open(&Config::new(url)).unwrap();
    let query = r#"SELECT k, 12345678901234567890.10::numeric AS "Z", NULL::int AS n, '{"a" : 1}'::json AS j, hoy AS a, 'bien'::animo AS animo,
                   1.5::float8 AS f, ARRAY[1,2] AS "a b", E'"\n' AS t FROM unnest($1::smallint[], $2::date[]) AS u (k, hoy) -- the end
                   ;"#;
    let rows = read(&database, &plain("json", query), &["7", "70000", "-3"])
        .await
        .unwrap();
    let json = r#"{"Z":12345678901234567890.10,"n":null,"j":{"a" : 1},"a":"2026-11-22","animo":"bien","f":1.5,"a b":[1,2],"t":"\"\n"}"#;
    assert_eq!(
        rows.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(),
        ["-3", "7"],
        "no smallint is 70000"
    );
    assert!(
        rows.iter().all(|row| row.columns == json),
        "{}",
        rows[0].columns
    );
}

#[tokio::test]
async fn invalid_streams_are_reported_with_the_missing_part() {
    let (_home, _client, database) = schema_database().await;
    for (query, expected) in [
        ("SELECT 1", "$1 an array of uuid"),
        ("SELECT * FROM unnest($1::float8[])", "$1 an array of uuid"),
        (
            "SELECT k, 1 AS n FROM unnest($1::text[], $2::text[]) AS u (k, d)",
            "$2 date[]",
        ),
        (
            "SELECT k, 1 AS n FROM unnest($1::text[], $2::date[], $3::text[]) AS u (k, d, e)",
            "$3 date[]",
        ),
        (
            "SELECT 1 AS n, k FROM unnest($1::text[]) AS u (k)",
            "the key as first column",
        ),
        ("SELECT k FROM unnest($1::text[]) AS u (k)", "data columns"),
        (
            "SELECT k, 1 AS timestamp FROM unnest($1::text[]) AS u (k)",
            "`timestamp`",
        ),
        (
            "SELECT k, 1 AS negocio_id FROM unnest($1::text[]) AS u (k)",
            "found negocio_id",
        ),
        (
            "SELECT k,\n 1 FROM nada, unnest($1::text[]) AS u (k)",
            "in line 2",
        ),
    ] {
        let error = database.prepare(&plain("una", query)).await.unwrap_err();
        assert!(
            error.to_string().contains(expected) && error.to_string().contains("stream una"),
            "{query}: {error}"
        );
        assert!(!matches!(error, DatabaseError::Unavailable { .. }));
    }
}

#[tokio::test]
async fn parameters_of_another_form_are_reported() {
    let (_home, _client, database) = schema_database().await;
    for (query, expected) in [
        (
            "SELECT k, desde, 1 AS n FROM unnest($1::text[], $2::date[], $3::date[], $4::date[]) AS u (k, hoy, manana, desde)",
            "$3 an array for desde",
        ),
        (
            "SELECT k, desde, 1 AS n FROM unnest($1::text[], $2::date[], $3::text[]) AS u (k, hoy, desde)",
            "$3 an array for desde",
        ),
        (
            "SELECT k, desde::text, 1 AS n FROM unnest($1::text[], $2::date[], $3::date[]) AS u (k, hoy, desde)",
            "desde as ",
        ),
    ] {
        let desde = Param {
            name: "desde".to_owned(),
            kind: ParamKind::Date,
            default: None,
        };
        let catalog = Catalog::new(vec![Stream {
            query: query.to_owned(),
            params: vec![desde],
            authorize_query: None,
            tables: Vec::new(),
            ..estadisticas()
        }]);
        let error = database.prepare(&catalog).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{query}: {error}");
    }
}

#[tokio::test]
async fn each_key_has_its_own_time_zone() {
    let (_home, client, database) = schema_database().await;
    client
        .batch_execute("CREATE TABLE zonas (id uuid, zona text)")
        .await
        .unwrap();
    client
        .batch_execute(&format!(
            "INSERT INTO zonas VALUES ('{A}', 'America/Lima'), ('{B}', NULL)"
        ))
        .await
        .unwrap();
    let sql = "SELECT id, zona FROM zonas WHERE id = ANY ($1)".to_owned();
    let zone = ZoneRule::Query {
        sql,
        default: "UTC".to_owned(),
    };
    let catalog = Catalog::new(vec![Stream {
        zone_rule: zone,
        ..estadisticas()
    }]);
    let zones = database
        .zones(catalog.get(StreamId(0)), &keys(&[A, B]))
        .await
        .unwrap();
    assert_eq!(
        zones,
        [(Key::from_canonical(A), "America/Lima".to_owned())].into()
    );
}

/// A plan that no longer fits is prepared again, also if the server writes its errors in another
/// language.
#[tokio::test]
async fn changed_plans_are_recognised_in_any_language() {
    let (_home, client, url) = empty_database().await;
    client
        .batch_execute("CREATE TABLE t (a int); INSERT INTO t VALUES (2)")
        .await
        .unwrap();
    let behaviour = PoolerBehaviour {
        translate_errors: true,
        ..PoolerBehaviour::default()
    };
    let proxy = PoolerProxy::start(&url, behaviour).await;
    for url in [&url, &proxy.url] {
        let database = Database::open(&Config::new(url)).unwrap();
        let read = async || database.query("the test", "SELECT a FROM t", &[]).await;
        let migrate = async |of: &str| {
            let sql = format!("ALTER TABLE t ALTER a TYPE {of} USING a::{of}");
            client.batch_execute(&sql).await.unwrap();
        };
        assert_eq!(read().await.unwrap()[0].get::<_, i32>(0), 2);
        migrate("text").await;
        assert_eq!(read().await.unwrap()[0].get::<_, &str>(0), "2");
        migrate("int").await;
        assert!(!database.is_pooled());
    }
}

#[tokio::test]
async fn reads_recover_after_schema_migrations() {
    let (_home, client, url) = empty_database().await;
    client
        .batch_execute("CREATE TABLE t (k bigint, a int); INSERT INTO t VALUES (1, 2)")
        .await
        .unwrap();
    let database = Database::open(&Config::new(url)).unwrap();
    let catalog = plain("t", "SELECT * FROM t WHERE k = ANY ($1)");
    let columns = async || {
        read(&database, &catalog, &["1"])
            .await
            .map(|rows| rows[0].columns.clone())
    };
    assert_eq!(columns().await.unwrap(), r#"{"a":2}"#);
    for (migration, expected) in [
        ("ALTER TABLE t ALTER a TYPE text", r#"{"a":"2"}"#),
        ("ALTER TABLE t ALTER k TYPE int", r#"{"a":"2"}"#),
        (
            "ALTER TABLE t DROP a, ADD b int DEFAULT 7, ADD c int",
            r#"{"b":7,"c":null}"#,
        ),
        ("ALTER TABLE t DROP c", r#"{"b":7}"#),
        (
            "DROP TABLE t; CREATE TABLE t (k bigint, d int); INSERT INTO t VALUES (1, 5)",
            r#"{"d":5}"#,
        ),
    ] {
        client.batch_execute(migration).await.unwrap();
        assert_eq!(
            columns()
                .await
                .unwrap_or_else(|e| panic!("{migration}: {e}")),
            expected
        );
    }
    client
        .batch_execute("ALTER TABLE t ALTER k TYPE text")
        .await
        .unwrap();
    assert!(
        matches!(columns().await, Err(DatabaseError::Unfit { .. })),
        "another type of key needs a restart"
    );
    client
        .batch_execute("ALTER TABLE t RENAME TO u")
        .await
        .unwrap();
    assert!(matches!(
        columns().await,
        Err(DatabaseError::Rejected { .. })
    ));
}

#[tokio::test]
async fn reads_cannot_write() {
    let (_home, client, url) = empty_database().await;
    client.batch_execute("CREATE SEQUENCE s").await.unwrap();
    let direct = Database::open(&Config::new(&url)).unwrap();
    let proxy = PoolerProxy::start(
        &url,
        PoolerBehaviour {
            refuse_options: true,
            ..PoolerBehaviour::default()
        },
    )
    .await;
    let pooled = Database::open(&Config::new(&proxy.url)).unwrap();
    for database in [direct, pooled] {
        let catalog = plain(
            "w",
            "SELECT k, nextval('s') AS n FROM unnest($1::int[]) AS u (k)",
        );
        let error = read(&database, &catalog, &["1"]).await.unwrap_err();
        assert!(matches!(error, DatabaseError::Rejected { .. }), "{error}");
    }
}
