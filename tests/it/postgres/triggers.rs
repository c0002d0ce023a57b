//! The notifications of each kind of statement.

use std::collections::BTreeSet;
use std::pin::pin;

use bytes::Bytes;
use futures_util::SinkExt;
use latido_postgres::{Config, Database};
use latido_stream::Catalog;
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use super::{A, B, catalog, empty_database, schema_database, table};
use crate::harness::cluster::TestDatabase;

/// A connection that receives every notification payload of the database.
pub(super) struct NotificationTap {
    payloads: mpsc::UnboundedReceiver<String>,
    writer: Client,
    marks: u32,
    _listener: Client,
    /// The connection that watches all keys, if there is a gate.
    pub(super) watcher: Option<Client>,
}

/// Both settings of the interest gate. Without it triggers handle the row set of a statement, with
/// it each row.
pub(super) const GATE_SETTINGS: [bool; 2] = [false, true];

/// Acquires the locks of every key and of the streams in these tests, like a server.
pub(super) async fn watch_everything(home: &TestDatabase) -> Client {
    let watcher = home.client().await;
    watcher
        .batch_execute(
            "SELECT pg_catalog.pg_advisory_lock_shared(1818326127, lock) FROM pg_catalog.generate_series(0, 2047) AS lock;
             SELECT pg_catalog.pg_advisory_lock_shared(1818326127, ((pg_catalog.hashtextextended(name COLLATE pg_catalog.\"C\", 0)
                    OPERATOR(pg_catalog.&) 15)::int OPERATOR(pg_catalog.*) 64) OPERATOR(pg_catalog.+) 2048 OPERATOR(pg_catalog.+) slot)
               FROM pg_catalog.unnest('{estadisticas,textos}'::pg_catalog.text[]) AS name, pg_catalog.generate_series(0, 63) AS slot",
        )
        .await
        .unwrap();
    watcher
}

impl NotificationTap {
    pub(super) async fn open(writer: Client, home: &TestDatabase) -> Self {
        Self::open_at(home.url(), writer).await
    }

    pub(super) async fn open_at(url: &str, writer: Client) -> Self {
        let (listener, mut connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        let (tx, payloads) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) =
                std::future::poll_fn(|cx| connection.poll_message(cx)).await
            {
                if let AsyncMessage::Notification(n) = message {
                    let _ = tx.send(n.payload().to_owned());
                }
            }
        });
        listener.batch_execute("LISTEN latido").await.unwrap();
        Self {
            payloads,
            writer,
            marks: 0,
            _listener: listener,
            watcher: None,
        }
    }

    /// Runs SQL and returns the payloads that it caused.
    pub(super) async fn payloads(&mut self, sql: &str) -> Vec<String> {
        self.writer.batch_execute(sql).await.unwrap();
        self.payloads_since().await
    }

    async fn payloads_since(&mut self) -> Vec<String> {
        self.marks += 1;
        let mark = format!("mark {}", self.marks);
        self.writer
            .execute("SELECT pg_catalog.pg_notify('latido', $1)", &[&mark])
            .await
            .unwrap();
        let mut received = Vec::new();
        loop {
            match self.payloads.recv().await.unwrap() {
                payload if payload == mark => return received,
                payload => received.push(payload),
            }
        }
    }

    /// Runs SQL on another connection and returns the payloads that it caused.
    pub(super) async fn payloads_of(&mut self, client: &Client, sql: &str) -> Vec<String> {
        client.batch_execute(sql).await.expect(sql);
        self.payloads_since().await
    }

    /// Runs SQL and returns the keys in its notifications; `*` stands for everything.
    pub(super) async fn keys(&mut self, sql: &str) -> BTreeSet<String> {
        keys(&self.payloads(sql).await)
    }
}

pub(super) fn keys(payloads: &[String]) -> BTreeSet<String> {
    let keys = |payload: &String| {
        let items: Vec<Option<String>> = serde_json::from_str(payload).unwrap();
        // After «every key», the reason may follow.
        let every = items.contains(&None).then(|| set(&["*"]));
        every.unwrap_or_else(|| items.into_iter().skip(1).flatten().collect())
    };
    payloads.iter().flat_map(keys).collect()
}

pub(super) fn set(keys: &[&str]) -> BTreeSet<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

async fn open_tap(gate: bool) -> (TestDatabase, NotificationTap) {
    let (home, client, _) = schema_database().await;
    let database = Database::open(&Config {
        interest_gate: gate,
        ..Config::new(home.url())
    })
    .unwrap();
    database.install(&super::builtin()).await.unwrap();
    assert!(
        database
            .triggers(&super::builtin())
            .await
            .unwrap()
            .are_current()
    );
    let mut tap = NotificationTap::open(client, &home).await;
    tap.watcher = Some(watch_everything(&home).await);
    (home, tap)
}

#[tokio::test]
async fn every_kind_of_statement_notifies_its_changed_keys() {
    for gate in GATE_SETTINGS {
        check_statement_keys(gate).await;
    }
}

async fn check_statement_keys(gate: bool) {
    let (_home, mut tap) = open_tap(gate).await;
    let insert = format!("INSERT INTO citas (negocio_id) VALUES ('{A}'), ('{A}'), ('{B}'), (NULL)");
    let messages = if gate { 2 } else { 1 };
    assert_eq!(
        tap.payloads(&insert).await.len(),
        messages,
        "one message a statement, or one a key"
    );
    assert_eq!(tap.keys(&insert).await, set(&[A, B]));
    assert_eq!(
        tap.keys("UPDATE citas SET nota = 'x'").await,
        set(&[]),
        "a column that does not count"
    );
    assert_eq!(
        tap.keys("UPDATE citas SET estado = 'pendiente'").await,
        set(&[]),
        "the same value again"
    );
    assert_eq!(
        tap.keys(&format!(
            "UPDATE citas SET estado = 'atendida' WHERE negocio_id = '{B}'"
        ))
        .await,
        set(&[B])
    );
    assert_eq!(
        tap.keys(&format!(
            "UPDATE citas SET negocio_id = '{B}' WHERE negocio_id = '{A}'"
        ))
        .await,
        set(&[A, B])
    );
    assert_eq!(
        tap.keys(&format!(
            "UPDATE citas SET negocio_id = '{A}' WHERE negocio_id IS NULL"
        ))
        .await,
        set(&[A])
    );
    assert_eq!(
        tap.keys(&format!("DELETE FROM citas WHERE negocio_id = '{A}'"))
            .await,
        set(&[A])
    );
    assert_eq!(tap.keys("DELETE FROM citas WHERE false").await, set(&[]));
    assert_eq!(tap.keys("TRUNCATE citas").await, set(&["*"]));
}

#[tokio::test]
async fn unusual_writers_notify_too() {
    for gate in GATE_SETTINGS {
        check_unusual_writers(gate).await;
    }
}

async fn check_unusual_writers(gate: bool) {
    let (_home, mut tap) = open_tap(gate).await;
    let id = "00000000-0000-0000-0000-0000000000ff";
    {
        let mut sink = pin!(
            tap.writer
                .copy_in("COPY citas (negocio_id) FROM STDIN")
                .await
                .unwrap()
        );
        sink.send(Bytes::from(format!("{A}\n{B}\n"))).await.unwrap();
        sink.close().await.unwrap();
    }
    assert_eq!(keys(&tap.payloads_since().await), set(&[A, B]));
    let upsert = format!(
        "INSERT INTO citas (id, negocio_id) VALUES ('{id}', '{A}') ON CONFLICT (id) DO UPDATE SET estado = 'cancelada'"
    );
    assert_eq!(tap.keys(&upsert).await, set(&[A]));
    assert_eq!(tap.keys(&upsert).await, set(&[A]));
    assert_eq!(tap.keys(&upsert).await, set(&[]));
    let merge = format!(
        "MERGE INTO citas c USING (VALUES ('{id}'::uuid, '{B}'::uuid), (gen_random_uuid(), '{A}')) AS n (id, negocio) ON c.id = n.id
         WHEN MATCHED THEN UPDATE SET negocio_id = n.negocio WHEN NOT MATCHED THEN INSERT (negocio_id) VALUES (n.negocio)"
    );
    // MERGE exists since 15.
    let before_15 = format!(
        "UPDATE citas SET negocio_id = '{B}' WHERE id = '{id}'; INSERT INTO citas (negocio_id) VALUES ('{A}')"
    );
    let version = "SELECT current_setting('server_version_num')::int";
    let version: i32 = tap.writer.query_one(version, &[]).await.unwrap().get(0);
    let merge = if version < 150_000 { before_15 } else { merge };
    assert_eq!(tap.keys(&merge).await, set(&[A, B]));
    let cte = format!(
        "WITH gone AS (DELETE FROM citas WHERE negocio_id = '{B}' RETURNING 1) SELECT count(*) FROM gone"
    );
    assert_eq!(tap.keys(&cte).await, set(&[B]));
    let replica = format!(
        "SET session_replication_role = replica; INSERT INTO citas (negocio_id) VALUES ('{B}'); RESET session_replication_role"
    );
    assert_eq!(
        tap.keys(&replica).await,
        set(&[B]),
        "as restore tools and replication scripts write"
    );
}

#[tokio::test]
async fn rolled_back_changes_are_not_notified() {
    for gate in GATE_SETTINGS {
        check_rolled_back_changes(gate).await;
    }
}

async fn check_rolled_back_changes(gate: bool) {
    let (_home, mut tap) = open_tap(gate).await;
    let one = |key| format!("INSERT INTO citas (negocio_id) VALUES ('{key}');");
    assert_eq!(
        tap.keys(&format!("BEGIN; {} ROLLBACK", one(A))).await,
        set(&[])
    );
    let savepoint = format!(
        "BEGIN; {} SAVEPOINT s; {} ROLLBACK TO s; COMMIT",
        one(A),
        one(B)
    );
    assert_eq!(tap.keys(&savepoint).await, set(&[A]));
}

#[tokio::test]
async fn partitions_notify_through_the_parent_and_by_name() {
    let (home, client, url) = empty_database().await;
    let schema = "CREATE TABLE citas (negocio_id bigint, fecha date, estado text) PARTITION BY RANGE (fecha);
        CREATE TABLE citas_25 PARTITION OF citas FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
        CREATE TABLE citas_26 (estado text, fecha date NOT NULL, negocio_id bigint);
        ALTER TABLE citas ATTACH PARTITION citas_26 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')";
    client.batch_execute(schema).await.unwrap();
    let database = Database::open(&Config {
        interest_gate: false,
        ..Config::new(url)
    })
    .unwrap();
    let whole_row = catalog(vec![table("citas", Some("negocio_id"), &[])]);
    database.install(&whole_row).await.unwrap();
    let mut tap = NotificationTap::open(client, &home).await;
    assert_eq!(
        tap.keys("INSERT INTO citas VALUES (1, '2025-05-05'), (2, '2026-05-05')")
            .await,
        set(&["1", "2"])
    );
    assert_eq!(
        tap.keys("INSERT INTO citas_26 VALUES ('pendiente', '2026-05-05', 3)")
            .await,
        set(&["3"])
    );
    assert_eq!(
        tap.keys("UPDATE citas_26 SET estado = 'atendida' WHERE negocio_id = 3")
            .await,
        set(&["3"])
    );
    assert_eq!(
        tap.keys("UPDATE citas SET fecha = '2026-06-06' WHERE negocio_id = 1")
            .await,
        set(&["1"]),
        "to another partition"
    );
    assert_eq!(tap.keys("TRUNCATE citas_25").await, set(&["*"]));
    tap.payloads(
        "CREATE TABLE citas_27 PARTITION OF citas FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')",
    )
    .await;
    assert!(
        !database.triggers(&whole_row).await.unwrap().are_current(),
        "a new partition is noticed"
    );
    database.install(&whole_row).await.unwrap();
    assert_eq!(
        tap.keys("INSERT INTO citas_27 VALUES (4, '2027-05-05')")
            .await,
        set(&["4"])
    );
}

#[tokio::test]
async fn many_and_long_keys_fit_into_notifications() {
    let (home, client, url) = empty_database().await;
    client
        .batch_execute("CREATE TABLE citas (negocio_id text, fecha date, estado text)")
        .await
        .unwrap();
    let database = Database::open(&Config {
        interest_gate: false,
        ..Config::new(url)
    })
    .unwrap();
    database
        .install(&catalog(vec![table(
            "citas",
            Some("negocio_id"),
            &["estado"],
        )]))
        .await
        .unwrap();
    let mut tap = NotificationTap::open(client, &home).await;
    let insert = |n: u32, key: &str| {
        format!("INSERT INTO citas SELECT {key} FROM generate_series(1, {n}) i")
    };
    assert_eq!(
        tap.keys(&insert(3000, "'negocio_' || i")).await,
        set(&["*"])
    );
    assert_eq!(tap.keys(&insert(2000, "'negocio_' || i")).await.len(), 2000);
    assert_eq!(tap.keys(&insert(1, "repeat('x', 201)")).await, set(&["*"]));
    // Each byte of these texts becomes six in JSON, or two, or stays one.
    for filler in ["chr(1)", r"E'\\'", "'ñ'"] {
        let payloads = tap
            .payloads(&insert(
                500,
                &format!("rpad(i::text, 200 / octet_length({filler}) - 2, {filler})"),
            ))
            .await;
        assert!(
            payloads.iter().all(|p| p.len() < 8000) && payloads.len() > 10,
            "{filler}"
        );
        assert_eq!(keys(&payloads).len(), 500, "{filler}");
    }
    assert_eq!(tap.keys("UPDATE citas SET fecha = now()").await, set(&[]));
    assert_eq!(
        tap.keys("UPDATE citas SET estado = 'x' WHERE negocio_id = 'negocio_7'")
            .await,
        set(&["negocio_7"])
    );
}

#[tokio::test]
async fn types_without_equality_and_tables_without_key_work() {
    let (home, client, url) = empty_database().await;
    client
        .batch_execute("CREATE TABLE ajustes (id int, valor json, lugar point); INSERT INTO ajustes VALUES (1, '{}', '(1,2)')")
        .await
        .unwrap();
    let database = Database::open(&Config {
        interest_gate: false,
        ..Config::new(url)
    })
    .unwrap();
    let catalog: std::sync::Arc<Catalog> =
        catalog(vec![table("ajustes", None, &["valor", "lugar"])]);
    database.install(&catalog).await.unwrap();
    let mut tap = NotificationTap::open(client, &home).await;
    assert_eq!(tap.keys("UPDATE ajustes SET id = 2").await, set(&[]));
    assert_eq!(
        tap.keys("UPDATE ajustes SET valor = '[]'").await,
        set(&["*"])
    );
    assert_eq!(tap.keys("DELETE FROM ajustes WHERE false").await, set(&[]));
    assert_eq!(tap.keys("DELETE FROM ajustes").await, set(&["*"]));
}

#[tokio::test]
async fn row_triggers_compare_every_type_and_fit_every_key() {
    let (home, client, url) = empty_database().await;
    client
        .batch_execute(
            r#"CREATE TABLE ajustes ("Clave ""k""" text, valor json, lugar point, nota text)"#,
        )
        .await
        .unwrap();
    let database = Database::open(&Config {
        interest_gate: true,
        ..Config::new(url)
    })
    .unwrap();
    let catalog = catalog(vec![table("ajustes", Some(r#"Clave "k""#), &[])]);
    database.install(&catalog).await.unwrap();
    let mut tap = NotificationTap::open(client, &home).await;
    tap.watcher = Some(watch_everything(&home).await);
    assert_eq!(
        tap.keys("INSERT INTO ajustes VALUES ('a', '{}', '(1,2)'), ('A', '{}', '(1,2)'), (NULL, '1', NULL)").await,
        set(&["a", "A"])
    );
    assert_eq!(tap.keys("UPDATE ajustes SET valor = valor").await, set(&[]));
    assert_eq!(
        tap.keys(r#"UPDATE ajustes SET valor = '{ }' WHERE lower("Clave ""k""") = 'a'"#)
            .await,
        set(&["a", "A"])
    );
    assert_eq!(
        tap.keys(r#"UPDATE ajustes SET "Clave ""k""" = 'b' WHERE "Clave ""k""" IS NULL"#)
            .await,
        set(&["b"])
    );
    assert_eq!(
        tap.keys(r#"UPDATE ajustes SET "Clave ""k""" = 'B' WHERE "Clave ""k""" = 'b'"#)
            .await,
        set(&["b", "B"])
    );
    assert_eq!(tap.keys("DELETE FROM ajustes").await, set(&["a", "A", "B"]));
    assert_eq!(
        tap.keys("INSERT INTO ajustes SELECT 'n' || i FROM generate_series(1, 3000) AS i")
            .await
            .len(),
        3000
    );
    assert_eq!(
        tap.keys("INSERT INTO ajustes VALUES (repeat(chr(1), 200)), (repeat('x', 201))")
            .await,
        set(&[&"\u{1}".repeat(200), "*"])
    );
}

#[tokio::test]
async fn trigger_kind_follows_the_table_and_the_gate() {
    let (home, client, url) = empty_database().await;
    client
        .batch_execute("CREATE TABLE citas (negocio_id text, estado text)")
        .await
        .unwrap();
    let open = |gate| {
        Database::open(&Config {
            interest_gate: gate,
            ..Config::new(url.clone())
        })
        .unwrap()
    };
    let catalog = catalog(vec![table("citas", Some("negocio_id"), &["estado"])]);
    let mut tap = NotificationTap::open(home.client().await, &home).await;
    for gate in [true, false, true] {
        open(gate).install(&catalog).await.unwrap();
        assert!(
            open(true).triggers(&catalog).await.unwrap().are_current()
                && open(false).triggers(&catalog).await.unwrap().are_current()
        );
        let received = tap.keys("INSERT INTO citas VALUES ('a')").await;
        assert_eq!(received, if gate { set(&[]) } else { set(&["a"]) });
    }
    let child = "CREATE TABLE mas (negocio_id text, estado text); ALTER TABLE mas INHERIT citas";
    client.batch_execute(child).await.unwrap();
    assert!(!open(true).triggers(&catalog).await.unwrap().are_current());
    open(true).install(&catalog).await.unwrap();
    tap.watcher = Some(watch_everything(&home).await);
    assert_eq!(tap.keys("UPDATE citas SET estado = 'x'").await, set(&["a"]));
    assert_eq!(tap.keys("INSERT INTO mas VALUES ('m')").await, set(&["m"]));
    client
        .batch_execute("DROP TABLE mas; REVOKE EXECUTE ON FUNCTION pg_try_advisory_xact_lock(int, int) FROM PUBLIC")
        .await
        .unwrap();
    open(true).install(&catalog).await.unwrap();
    let count = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'latido%' AND tgtype & 1 = 1";
    let by_row: i64 = client.query_one(count, &[]).await.unwrap().get(0);
    assert_eq!(
        by_row, 0,
        "a role without permission to call the functions must still be able to write"
    );
}
