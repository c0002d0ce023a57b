//! Streams with keys of each type: whatever spelling a client uses, it gets the frames of the rows that
//! hold the equal key, and writers of other keys notify nobody.

use serde_json::json;
use tokio_postgres::Client;

use crate::harness::cluster::TestDatabase;
use crate::harness::{TempFolder, TestApp, TestSocket, claims, disable_sweep, report_not_tested};

/// A stream's name, the types of its column and parameter, two names of one key, and the text in a
/// row.
type KeyCase = (
    &'static str,
    &'static str,
    &'static str,
    [&'static str; 2],
    &'static str,
);

const CASES: &[KeyCase] = &[
    (
        "uuids",
        "llave",
        "llave",
        [
            "6F1C9C1E-50A5-4B1F-9D53-0C9D6F0A7A11",
            "6f1c9c1e50a54b1f9d530c9d6f0a7a11",
        ],
        "6f1c9c1e-50a5-4b1f-9d53-0c9d6f0a7a11",
    ),
    ("enteros", "smallint", "bigint", ["007", "7"], "7"),
    (
        "numericos",
        "numeric(40,0)",
        "numeric",
        ["00012345678901234567890123", "12345678901234567890123"],
        "12345678901234567890123",
    ),
    ("textos", "varchar(40)", "text", ["a/b ñ", "a/b ñ"], "a/b ñ"),
    ("blancos", "char(12)", "bpchar", ["AB", "AB   "], "AB"),
    (
        "dias",
        "date",
        "date",
        ["2026-11-30", "2026-11-30"],
        "30.11.2026",
    ),
    ("logicos", "boolean", "boolean", ["true", "true"], "yes"),
    (
        "animos",
        "animo",
        "animo",
        ["muy mal", "muy mal"],
        "muy mal",
    ),
    (
        "correos",
        "citext",
        "citext",
        ["Ana@Example.com", "ANA@example.COM"],
        "aNa@example.com",
    ),
];

const TYPES: &str = "
    CREATE DOMAIN clave AS uuid; CREATE DOMAIN llave AS clave; CREATE DOMAIN corto AS smallint CHECK (VALUE <> 13);
    CREATE TYPE animo AS ENUM ('bien', 'muy mal'); CREATE DOMAIN estado AS animo";

/// Returns the configuration of a stream over a table of its name.
fn stream_toml(name: &str, parameter: &str) -> String {
    format!(
        r#"
        [streams.{name}]
        query = "SELECT u.k, (SELECT coalesce(sum(t.n), 0) FROM {name} t WHERE t.k = u.k) AS n FROM unnest($1::{parameter}[]) AS u (k)"
        key_field = "k"
        [[streams.{name}.tables]]
        table = "{name}"
        key = "k"
        "#
    )
}

struct KeyedServer {
    app: TestApp,
    database: TestDatabase,
    _folder: TempFolder,
}

impl KeyedServer {
    /// Starts a server without a sweep on streams with these names, columns and parameters.
    async fn start(streams: &[(&str, &str, &str)], with_citext: bool) -> Self {
        let database = TestDatabase::create(&[]).await;
        let client = database.client().await;
        client.batch_execute(TYPES).await.unwrap();
        if with_citext {
            client
                .batch_execute("CREATE EXTENSION citext")
                .await
                .unwrap();
        }
        let mut toml = "builtin_streams = false\n".to_owned();
        for (name, column, parameter) in streams {
            let create = format!("CREATE TABLE {name} (k {column}, n int)");
            client.batch_execute(&create).await.unwrap();
            toml.push_str(&stream_toml(name, parameter));
        }
        let folder = TempFolder::new();
        let file = folder.write("latido.toml", &toml);
        let variables = [("LATIDO_CONFIG", file.to_str().unwrap())];
        TestApp::try_install_on(database.url(), &variables)
            .await
            .unwrap();
        let app = TestApp::on_database_with(database.url(), &variables, disable_sweep).await;
        Self {
            app,
            database,
            _folder: folder,
        }
    }

    async fn connect(&self) -> TestSocket {
        let claims = json!({"id": 7, "rol": "admin_sistema", "exp": claims::now() + 600});
        self.app.connect_socket(&self.app.sign(&claims)).await
    }

    /// Opens a connection of a writer with another format of dates.
    async fn writer(&self) -> Client {
        let client = self.database.client().await;
        let format = "SET datestyle = 'German, DMY'";
        client.batch_execute(format).await.unwrap();
        client
    }
}

/// Returns whether the server has the extension citext, and reports it if not.
pub(crate) async fn has_citext() -> bool {
    let home = TestDatabase::create(&[]).await;
    let client = home.client().await;
    let sql = "SELECT FROM pg_available_extensions WHERE name = 'citext'";
    let has = !client.query(sql, &[]).await.unwrap().is_empty();
    if !has {
        report_not_tested("frames of keys of citext: the server has no such extension");
    }
    has
}

/// Waits until each of these channels, which are distinct, has a frame with this sum.
async fn expect_sum(socket: &mut TestSocket, channels: &[String], sum: i64) {
    let mut waiting: Vec<&str> = channels.iter().map(String::as_str).collect();
    waiting.dedup();
    while !waiting.is_empty() {
        let frame = socket.next().await;
        if frame["data"]["n"] == sum {
            waiting.retain(|channel| frame["channel"] != *channel);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_spelling_of_a_key_gets_its_frames() {
    let citext = has_citext().await;
    let cases: Vec<_> = CASES
        .iter()
        .filter(|case| citext || case.1 != "citext")
        .collect();
    let streams: Vec<_> = cases.iter().map(|case| (case.0, case.1, case.2)).collect();
    let server = KeyedServer::start(&streams, citext).await;
    let (writer, mut socket) = (server.writer().await, server.connect().await);
    for (name, _, _, spellings, row) in cases {
        let channels: Vec<String> = spellings
            .iter()
            .map(|key| format!("{name}:{key}"))
            .collect();
        for channel in &channels {
            let subscribe = json!({"type": "subscribe", "channel": channel});
            socket.send(&subscribe).await;
        }
        expect_sum(&mut socket, &channels, 0).await;
        for (sql, sum) in [
            (format!("INSERT INTO {name} VALUES ('{row}', 5)"), 5),
            (format!("UPDATE {name} SET n = 6"), 6),
            (format!("DELETE FROM {name}"), 0),
        ] {
            writer.batch_execute(&sql).await.unwrap();
            expect_sum(&mut socket, &channels, sum).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_no_key_is_refused_with_what_is_one() {
    let streams = [
        ("animos", "animo", "animo"),
        ("numericos", "numeric(9,0)", "numeric"),
    ];
    let server = KeyedServer::start(&streams, false).await;
    let mut socket = server.connect().await;
    for (channel, expected) in [
        ("animos:regular", "bien or muy mal"),
        ("numericos:7.0", "a whole number"),
    ] {
        let refused = socket.subscribe_as(channel, "error").await;
        assert_eq!(refused["data"]["code"], "invalid_key", "{refused}");
        let message = refused["data"]["message"].as_str().unwrap();
        assert!(message.contains(expected), "{message}");
    }
}

/// The check of a domain refuses one key; the others are read.
#[tokio::test(flavor = "multi_thread")]
async fn value_that_a_domain_refuses_fails_alone() {
    let server = KeyedServer::start(&[("cortos", "corto", "corto")], false).await;
    let (writer, mut socket) = (server.writer().await, server.connect().await);
    let channels: Vec<String> = [7, 8, 9].map(|key| format!("cortos:{key}")).into();
    for channel in channels.iter().chain([&"cortos:13".to_owned()]) {
        let subscribe = json!({"type": "subscribe", "channel": channel});
        socket.send(&subscribe).await;
    }
    let (mut refused, mut served) = (0, 0);
    while refused + served < 4 {
        let frame = socket.next().await;
        match frame["type"].as_str().unwrap() {
            "cortos" => served += 1,
            "error" => {
                assert_eq!(frame["data"]["channel"], "cortos:13", "{frame}");
                assert_eq!(frame["data"]["code"], "unavailable", "{frame}");
                refused += 1;
            }
            _ => {}
        }
    }
    assert_eq!((refused, served), (1, 3));
    writer
        .batch_execute("INSERT INTO cortos VALUES (7, 1), (8, 1), (9, 1)")
        .await
        .unwrap();
    expect_sum(&mut socket, &channels, 1).await;
}
