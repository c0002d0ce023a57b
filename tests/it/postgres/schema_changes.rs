//! The application's writes go on whatever DDL ran, and no change is lost: at worst it counts for
//! every key.

use std::time::{Duration, Instant};

use latido_base::ident::StreamId;
use latido_postgres::{
    Config, Database, FindingLevel, InstallChange, InstallError, TriggerState, examine,
};
use tokio_postgres::Client;

use super::triggers::{GATE_SETTINGS, NotificationTap, keys, set, watch_everything};
use super::{A, B, builtin, catalog, empty_database, schema_database, table};
use crate::harness::cluster::TestDatabase;
use crate::harness::{TestApp, wait_until};

/// Two forms of the table, for triggers of both kinds.
const PLAIN: &str = "";
const PARTITIONED: &str = "PARTITION BY HASH (id)";

/// Creates a table in which every column has a default, with triggers. Returns a client that has
/// fired all of them, and one that receives what is notified.
async fn fired_session(gate: bool, form: &str) -> (TestDatabase, Client, NotificationTap) {
    let (home, client, url) = empty_database().await;
    let partition =
        "CREATE TABLE citas_0 PARTITION OF citas FOR VALUES WITH (MODULUS 1, REMAINDER 0)";
    let schema = format!(
        "CREATE TABLE citas (id bigserial, negocio_id uuid DEFAULT '{A}', fecha date DEFAULT '2026-11-22',
                             estado text DEFAULT 'pendiente', nota text) {form};
         {}; CREATE SCHEMA otra",
        if form == PLAIN { "SELECT" } else { partition }
    );
    client.batch_execute(&schema).await.unwrap();
    let database = Database::open(&Config {
        interest_gate: gate,
        ..Config::new(url)
    })
    .unwrap();
    database.install(&builtin()).await.unwrap();
    let mut tap = NotificationTap::open(home.client().await, &home).await;
    tap.watcher = Some(watch_everything(&home).await);
    for write in writes("citas") {
        assert_eq!(
            keys(&tap.payloads_of(&client, &write).await),
            set(&[A]),
            "{write}"
        );
    }
    (home, client, tap)
}

/// Statements that each change one row of the only business.
fn writes(table: &str) -> [String; 3] {
    [
        format!("INSERT INTO {table} DEFAULT VALUES"),
        format!("UPDATE {table} SET fecha = fecha + interval '1 day'"),
        format!("DELETE FROM {table}"),
    ]
}

/// Runs a DDL statement, then writes from a session that had fired the triggers and from a new one.
async fn check_writes_after(gate: bool, form: &str, ddl: &str, table: &str) {
    let (home, client, mut tap) = fired_session(gate, form).await;
    home.client().await.batch_execute(ddl).await.unwrap();
    for writer in [&client, &home.client().await] {
        for write in writes(table) {
            let told = keys(&tap.payloads_of(writer, &write).await);
            assert!(
                told == set(&[A]) || told == set(&["*"]),
                "gate {gate}, {form}, {ddl}, {write}: {told:?}"
            );
        }
    }
}

#[tokio::test]
async fn writes_go_on_after_renames_drops_and_new_types() {
    for ddl in [
        "ALTER TABLE citas RENAME negocio_id TO negocio",
        "ALTER TABLE citas RENAME estado TO situacion",
        "ALTER TABLE citas DROP COLUMN negocio_id",
        "ALTER TABLE citas DROP COLUMN estado CASCADE",
        "ALTER TABLE citas ALTER negocio_id TYPE text",
        "ALTER TABLE citas ALTER fecha TYPE timestamp",
        "ALTER TABLE citas ADD nueva int, DROP COLUMN nota",
        "ALTER TABLE citas RENAME negocio_id TO antes; ALTER TABLE citas ADD negocio_id text DEFAULT 'x'; \
         ALTER TABLE citas DROP COLUMN negocio_id",
    ] {
        for gate in GATE_SETTINGS {
            check_writes_after(gate, PLAIN, ddl, "citas").await;
        }
        check_writes_after(true, PARTITIONED, ddl, "citas").await;
    }
}

#[tokio::test]
async fn writes_go_on_after_the_table_itself_moved() {
    for (ddl, now) in [
        ("ALTER TABLE citas RENAME TO reservas", "reservas"),
        ("ALTER TABLE citas SET SCHEMA otra", "otra.citas"),
    ] {
        for form in [PLAIN, PARTITIONED] {
            check_writes_after(true, form, ddl, now).await;
        }
    }
}

#[tokio::test]
async fn table_is_dropped_without_cascade() {
    for gate in GATE_SETTINGS {
        let (_home, client, _tap) = fired_session(gate, PLAIN).await;
        client.batch_execute("DROP TABLE citas").await.unwrap();
    }
}

/// A right that the triggers need is revoked: the writes go on, and the sweep finds the changes.
#[tokio::test]
async fn writes_go_on_without_the_right_to_notify() {
    let cluster = crate::harness::cluster::OwnCluster::start(&[]).await;
    let client = cluster.client().await;
    client.batch_execute(super::SCHEMA).await.unwrap();
    Database::open(&Config::new(cluster.url()))
        .unwrap()
        .install(&builtin())
        .await
        .unwrap();
    client
        .batch_execute(
            "CREATE ROLE escritor; GRANT INSERT ON citas TO escritor;
             REVOKE EXECUTE ON FUNCTION pg_notify(text, text), pg_try_advisory_xact_lock(int, int) FROM PUBLIC;
             SET ROLE escritor",
        )
        .await
        .unwrap();
    client
        .batch_execute(&format!("INSERT INTO citas (negocio_id) VALUES ('{A}')"))
        .await
        .unwrap();
}

#[tokio::test]
async fn plpgsql_extra_errors_fail_no_write() {
    for (gate, form) in [(true, PLAIN), (false, PLAIN), (true, PARTITIONED)] {
        let (home, _client, mut tap) = fired_session(gate, form).await;
        let strict = home.client().await;
        strict
            .batch_execute("SET plpgsql.extra_errors = 'all'; SET plpgsql.extra_warnings = 'all'")
            .await
            .unwrap();
        let insert = format!("INSERT INTO citas (negocio_id) VALUES ('{A}'), ('{B}'), ('{B}')");
        for write in [
            &insert,
            "UPDATE citas SET estado = 'x'",
            "DELETE FROM citas",
        ] {
            let told = keys(&tap.payloads_of(&strict, write).await);
            assert_eq!(told, set(&[A, B]), "gate {gate}, {form}, {write}");
        }
    }
}

/// The first update of a session writes many rows. Without a fixed plan, each later one joins and
/// compiles as for that many: 35 ms instead of 0.05 ms.
#[tokio::test]
async fn large_first_update_does_not_slow_later_ones() {
    let (home, client, mut tap) = fired_session(false, PARTITIONED).await;
    let settings: Vec<String> = client
        .query_one(
            "SELECT array_agg(DISTINCT s) FROM pg_trigger t JOIN pg_proc p ON p.oid = tgfoid, unnest(proconfig) AS s
              WHERE tgname LIKE 'latido%'",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert!(settings.contains(&"jit=off".to_owned()), "{settings:?}");
    tap.payloads("INSERT INTO citas (nota) SELECT 'n' FROM generate_series(1, 5000)")
        .await;
    let writer = home.client().await;
    writer
        .batch_execute("CREATE INDEX ON citas (id); ANALYZE citas; UPDATE citas SET estado = 'a'")
        .await
        .unwrap();
    let mut quickest = Duration::MAX;
    for n in 0..20 {
        let started = Instant::now();
        let update =
            format!("UPDATE citas SET estado = 'b{n}' WHERE id = (SELECT min(id) FROM citas)");
        writer.batch_execute(&update).await.unwrap();
        quickest = quickest.min(started.elapsed());
    }
    assert!(quickest < Duration::from_millis(10), "{quickest:?}");
}

/// The triggers of a version that did not catch its errors.
const OLD_TRIGGERS: &str = r#"CREATE SCHEMA latido; COMMENT ON SCHEMA latido IS 'latido: triggers';
    CREATE FUNCTION latido.estadisticas_citas_ff86264d() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM pg_notify('latido', NEW."negocio_id"::text); RETURN NULL; END $$;
    COMMENT ON FUNCTION latido.estadisticas_citas_ff86264d() IS 'latido: changes';
    CREATE TRIGGER latido_estadisticas_ff86264d_ins AFTER INSERT ON citas FOR EACH ROW
      EXECUTE FUNCTION latido.estadisticas_citas_ff86264d();"#;

#[tokio::test]
async fn install_removes_stale_triggers_before_it_refuses() {
    let (_home, client, database) = schema_database().await;
    client.batch_execute(OLD_TRIGGERS).await.unwrap();
    client
        .batch_execute("ALTER TABLE citas RENAME negocio_id TO negocio")
        .await
        .unwrap();
    let insert = "INSERT INTO citas DEFAULT VALUES";
    assert!(client.batch_execute(insert).await.is_err());
    let error = database.install(&builtin()).await.unwrap_err();
    assert!(
        matches!(&error, InstallError::UnsupportedTables(_)),
        "{error}"
    );
    client.batch_execute(insert).await.unwrap();
    client
        .batch_execute("ALTER TABLE citas RENAME negocio TO negocio_id")
        .await
        .unwrap();
    database.install(&builtin()).await.unwrap();
    assert!(database.triggers(&builtin()).await.unwrap().are_current());
}

/// The table still has a key column, but the installation may refuse for another reason.
#[tokio::test]
async fn triggers_without_a_handler_are_stale() {
    let (_home, client, database) = schema_database().await;
    client.batch_execute(OLD_TRIGGERS).await.unwrap();
    let state = async || {
        let report = database.triggers(&builtin()).await.unwrap();
        report.stream_state(StreamId(0))
    };
    assert_eq!(state().await, TriggerState::Outdated);
    database.remove_failing_triggers().await.unwrap();
    assert_eq!(state().await, TriggerState::Missing);
    database.install(&builtin()).await.unwrap();
    database.remove_failing_triggers().await.unwrap();
    assert_eq!(state().await, TriggerState::Current);
}

/// A mistake in the configuration costs nothing that worked.
#[tokio::test]
async fn refused_installation_leaves_working_triggers() {
    let (_home, _client, database) = schema_database().await;
    database.install(&builtin()).await.unwrap();
    let misspelt = catalog(vec![table("citas", Some("negocio_id"), &["estdo"])]);
    let refused = database.install(&misspelt).await;
    assert!(matches!(refused, Err(InstallError::UnsupportedTables(_))));
    assert!(database.triggers(&builtin()).await.unwrap().are_current());
}

#[tokio::test]
async fn objects_restored_without_comments_are_recognised() {
    for gate in GATE_SETTINGS {
        let (_home, client, _) = schema_database().await;
        let database = Database::open(&Config {
            interest_gate: gate,
            ..Config::new(_home.url())
        })
        .unwrap();
        database.install(&builtin()).await.unwrap();
        client
            .batch_execute(
                "DO $$ DECLARE f regprocedure; BEGIN
                   FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'latido'::regnamespace LOOP
                     EXECUTE format('COMMENT ON FUNCTION %s IS NULL', f);
                   END LOOP;
                   COMMENT ON SCHEMA latido IS NULL;
                 END $$",
            )
            .await
            .unwrap();
        assert_eq!(
            database.uninstall(&[]).await.unwrap(),
            [
                InstallChange::Removed(r#""public"."citas""#.to_owned()),
                InstallChange::Removed(r#"function "latido"."payloads""#.to_owned()),
            ]
        );
        let left: i64 = client
            .query_one(
                "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'latido') + (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal)",
                &[],
            )
            .await
            .unwrap()
            .get(0);
        assert_eq!(left, 0);
    }
}

#[tokio::test]
async fn triggers_that_were_disabled_and_enabled_are_a_warning() {
    let (_home, client, database) = schema_database().await;
    database.install(&builtin()).await.unwrap();
    client
        .batch_execute(
            "ALTER TABLE citas DISABLE TRIGGER ALL; ALTER TABLE citas ENABLE TRIGGER ALL",
        )
        .await
        .unwrap();
    let report = database.triggers(&builtin()).await.unwrap();
    assert_eq!(report.stream_state(StreamId(0)), TriggerState::NotAlways);
    assert!(report.are_current());
    let findings = examine(&database, &builtin()).await;
    let finding = findings
        .iter()
        .find(|finding| finding.subject.contains("triggers on citas"))
        .unwrap();
    assert_eq!(finding.level, FindingLevel::Warning, "{finding:?}");
    database.install(&builtin()).await.unwrap();
    let report = database.triggers(&builtin()).await.unwrap();
    assert_eq!(report.stream_state(StreamId(0)), TriggerState::Current);
}

/// The whole server says that the triggers fail: `/ready`, a metric, and the doctor.
#[tokio::test(flavor = "multi_thread")]
async fn failing_triggers_are_reported() {
    let app = TestApp::start().await;
    app.wait_until_covered().await;
    let db = app.connect_database().await;
    let (status, body) = app.get("/ready").await;
    assert!(status == 200 && !body.contains("degraded"), "{body}");
    db.batch_execute("ALTER TABLE citas RENAME negocio_id TO negocio")
        .await
        .unwrap();
    db.batch_execute(
        "INSERT INTO citas (negocio, fecha, hora_inicio, hora_fin) SELECT id, '2026-11-22', '10:00', '11:00' FROM negocios LIMIT 1",
    )
    .await
    .unwrap();
    wait_until("a counted failure", async || {
        app.metric("latido_trigger_failures_total").await >= 1.0
    })
    .await;
    // The numbers of columns stay, so the server knows what happened.
    let renamed = "renamed (negocio_id to negocio)";
    wait_until("the reason in /ready", async || {
        let (_, body) = app.get("/ready").await;
        body.contains("degraded") && body.contains(renamed)
    })
    .await;
    let findings = app.doctor_findings(&[]).await;
    assert!(
        findings
            .iter()
            .any(|line| line.contains("no column negocio_id") && line.contains(renamed)),
        "{findings:#?}"
    );
    db.batch_execute("ALTER TABLE citas RENAME negocio TO negocio_id")
        .await
        .unwrap();
    let findings = app.doctor_findings(&[]).await;
    assert!(
        findings.iter().all(|line| !line.contains("renamed")),
        "{findings:#?}"
    );
}

/// The query accepts the new type, but a column of it may spell keys in another way than the server.
#[tokio::test(flavor = "multi_thread")]
async fn retyped_key_column_is_noticed_while_the_server_serves() {
    let toml = "builtin_streams = false
        [streams.una]
        query = \"SELECT k, (SELECT count(*) FROM t WHERE t.k::text = u.k::text) AS n FROM unnest($1::bigint[]) AS u (k)\"
        key_field = \"k\"
        [[streams.una.tables]]
        table = \"t\"
        key = \"k\"";
    let app = TestApp::with_streams(toml, "CREATE TABLE t (k bigint DEFAULT 1, n int)").await;
    let (writer, owner) = (app.connect_database().await, app.connect_database().await);
    let insert = "INSERT INTO t DEFAULT VALUES";
    // A session that had fired the trigger reports the new type.
    writer.batch_execute(insert).await.unwrap();
    owner
        .batch_execute("ALTER TABLE t ALTER k TYPE text")
        .await
        .unwrap();
    writer.batch_execute(insert).await.unwrap();
    wait_until("the broken stream in /ready", async || {
        let (_, body) = app.get("/ready").await;
        body.contains("a key column of stream una has another type")
    })
    .await;
}

/// A stream without a key column of its own.
#[tokio::test]
async fn writes_of_keyless_tables_go_on() {
    let (home, client, url) = empty_database().await;
    client
        .batch_execute("CREATE TABLE ajustes (id int DEFAULT 1, valor text)")
        .await
        .unwrap();
    let database = Database::open(&Config::new(url)).unwrap();
    let streams = catalog(vec![table("ajustes", None, &["valor"])]);
    database.install(&streams).await.unwrap();
    let mut tap = NotificationTap::open(home.client().await, &home).await;
    tap.watcher = Some(watch_everything(&home).await);
    client
        .batch_execute("ALTER TABLE ajustes RENAME valor TO v")
        .await
        .unwrap();
    for write in [
        "INSERT INTO ajustes DEFAULT VALUES",
        "UPDATE ajustes SET v = 'x'",
        "DELETE FROM ajustes",
    ] {
        assert_eq!(keys(&tap.payloads_of(&client, write).await), set(&["*"]));
    }
}

/// A subtransaction that notifies keeps 8 kB until its transaction ends. The triggers open one for
/// each row or statement, so they must not notify in it.
#[tokio::test]
async fn memory_of_a_long_transaction_does_not_grow_with_its_changes() {
    const MEMORY: &str = "SELECT (sum(total_bytes) / 1000)::bigint FROM pg_backend_memory_contexts WHERE name = 'CurTransactionContext'";
    for (gate, form) in [(true, PLAIN), (false, PLAIN), (true, PARTITIONED)] {
        let (_home, client, _tap) = fired_session(gate, form).await;
        client
            .batch_execute(
                "INSERT INTO citas (nota) SELECT 'n' FROM generate_series(1, 1000); BEGIN;
                 DO $$ BEGIN
                   FOR n IN 1 .. 1000 LOOP UPDATE citas SET fecha = fecha + 1 WHERE id = (SELECT min(id) FROM citas); END LOOP;
                 END $$;
                 UPDATE citas SET fecha = fecha + 1",
            )
            .await
            .unwrap();
        let kilobytes: Option<i64> = client.query_one(MEMORY, &[]).await.unwrap().get(0);
        assert!(
            kilobytes.unwrap_or(0) < 500,
            "gate {gate}, {form}: {kilobytes:?} kB"
        );
    }
}
