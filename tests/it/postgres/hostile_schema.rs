//! Nothing that is installed or sent is found by name in another schema.
//!
//! The schema `public` shadows every function, aggregate, operator and type of `pg_catalog`, and
//! stands before it in the search path. Each shadow fails when it is used, so a statement that
//! finds one fails, and a trigger that finds one reports a failure in place of a key.

use std::sync::Arc;

use jiff::civil::date;
use jiff::tz::TimeZone;
use latido_base::ident::{Key, UserId};
use latido_postgres::{Config, Database, examine};
use latido_stream::{Catalog, LocalDay, Stream, VerificationQuery, ZoneRule};
use tokio_postgres::Client;

use super::triggers::{GATE_SETTINGS, NotificationTap, keys, set, watch_everything};
use super::{A, B, estadisticas, table};
use crate::harness::TestApp;
use crate::harness::cluster::{OwnCluster, TestDatabase};

/// The error of a shadow.
const CAPTURED: &str = "cannot display a value of type";

/// The user's schema, with a partitioned table beside the plain one.
const MORE_TABLES: &str = "
    CREATE TABLE reservas (negocio_id uuid, fecha date DEFAULT '2020-11-22', estado estado_cita) PARTITION BY RANGE (fecha);
    CREATE TABLE reservas_20 PARTITION OF reservas FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
    CREATE TABLE textos (negocio_id text, fecha date, estado text);
    CREATE TABLE ajustes (id int, valor text);";

/// Puts the shadows into a database. Connections that are opened afterwards find them first.
async fn make_hostile(client: &Client) {
    client
        .batch_execute(include_str!("../sql/hostile.sql"))
        .await
        .unwrap();
    client
        .batch_execute(
            "DO $$ BEGIN
               EXECUTE pg_catalog.format('ALTER DATABASE %I SET search_path = public, pg_catalog', pg_catalog.current_database());
             END $$",
        )
        .await
        .unwrap();
}

/// Creates a database with the user's schema and rows, and then the shadows.
async fn hostile_database() -> TestDatabase {
    let home = TestDatabase::create(&["sql/schema.sql"]).await;
    let client = home.client().await;
    client.batch_execute(MORE_TABLES).await.unwrap();
    let rows = format!(
        "INSERT INTO usuarios (id, nombre, email, rol) VALUES ('{A}', 'a', 'a', 'negocio'), ('{B}', 'b', 'b', 'admin_sistema');
         INSERT INTO negocios (id, admin_negocio_id, nombre) VALUES ('{A}', '{A}', 'a'), ('{B}', NULL, 'b');
         INSERT INTO citas (negocio_id, fecha, hora_inicio, hora_fin, estado)
         SELECT '{A}', date '2020-11-22' - n, '10:00', '11:00', 'atendida' FROM generate_series(0, 9) AS n"
    );
    client.batch_execute(&rows).await.unwrap();
    make_hostile(&client).await;
    let captured = home
        .client()
        .await
        .batch_execute("SELECT 1 + 1")
        .await
        .unwrap_err();
    assert!(format!("{captured:?}").contains(CAPTURED), "{captured:?}");
    home
}

fn today() -> LocalDay {
    LocalDay::new(date(2020, 11, 22), &TimeZone::UTC)
}

fn open(home: &TestDatabase, interest_gate: bool) -> Database {
    Database::open(&Config {
        interest_gate,
        ..Config::new(home.url())
    })
    .unwrap()
}

/// Returns the built-in stream with a check and a query for time zones, and a stream of text keys.
fn streams() -> Arc<Catalog> {
    let columns = ["negocio_id", "fecha", "estado"];
    let keyed = |name| table(name, Some("negocio_id"), &columns);
    let stream = Stream {
        tables: vec![keyed("citas"), keyed("reservas")],
        verification: Some(VerificationQuery::new(
            include_str!("../../../sql/estadisticas.sql").to_owned(),
        )),
        zone_rule: ZoneRule::Query {
            sql: "SELECT id, 'America/Guayaquil' FROM negocios WHERE id OPERATOR(pg_catalog.=) ANY ($1)".to_owned(),
            default: "UTC".to_owned(),
        },
        ..estadisticas()
    };
    let texts = Stream {
        name: "textos".to_owned(),
        query: "SELECT u.k AS negocio_id, 1 AS n FROM pg_catalog.unnest($1::pg_catalog.text[]) AS u (k)".to_owned(),
        authorize_query: None,
        tables: vec![keyed("textos"), table("ajustes", None, &[])],
        ..estadisticas()
    };
    Arc::new(Catalog::new(vec![stream, texts]))
}

#[tokio::test]
async fn triggers_use_nothing_of_a_hostile_schema() {
    let home = hostile_database().await;
    let streams = streams();
    for gate in GATE_SETTINGS {
        let database = open(&home, gate);
        let script = database.install_sql(&streams).await.unwrap();
        assert!(script.contains("OPERATOR(pg_catalog.||)"));
        database.install(&streams).await.unwrap();
        assert!(database.triggers(&streams).await.unwrap().are_current());
        let mut tap = NotificationTap::open(home.client().await, &home).await;
        tap.watcher = Some(watch_everything(&home).await);
        let writer = home.client().await;
        for (table, insert) in [
            (
                "citas",
                "(negocio_id, fecha, hora_inicio, hora_fin) VALUES ('{}', '2020-11-22', '10:00', '11:00')",
            ),
            ("reservas", "(negocio_id) VALUES ('{}'), ('{}')"),
            ("reservas_20", "(negocio_id) VALUES ('{}')"),
            ("textos", "(negocio_id) VALUES ('{}'), (NULL)"),
        ] {
            let insert = format!("INSERT INTO {table} {}", insert.replace("{}", A));
            let update = format!("UPDATE {table} SET fecha = '2020-11-23'");
            for write in [
                &insert,
                &update,
                &format!("UPDATE {table} SET negocio_id = '{A}'"),
                &format!("DELETE FROM {table}"),
            ] {
                let told = keys(&tap.payloads_of(&writer, write).await);
                assert!(told.is_subset(&set(&[A])), "gate {gate}, {write}: {told:?}");
            }
            assert_eq!(keys(&tap.payloads_of(&writer, &insert).await), set(&[A]));
            let emptied = format!("TRUNCATE {table}");
            let stream = if table == "textos" {
                "textos"
            } else {
                "estadisticas"
            };
            assert_eq!(
                tap.payloads_of(&writer, &emptied).await,
                [format!(r#"["{stream}",null]"#)]
            );
        }
        let written = tap
            .payloads_of(&writer, "INSERT INTO ajustes VALUES (1, 'x')")
            .await;
        assert_eq!(written, [r#"["textos",null]"#]);
        database.uninstall(&[]).await.unwrap();
    }
}

#[tokio::test]
async fn reads_use_nothing_of_a_hostile_schema() {
    let home = hostile_database().await;
    let (database, catalog) = (open(&home, true), streams());
    database.prepare(&catalog).await.unwrap();
    let stream = catalog.iter().next().unwrap().1;
    let asked = [A, B].map(Key::from_canonical);
    let today = [today(); 2];
    let rows = database.read(stream, &asked, &today).await.unwrap();
    assert!(
        rows[0]
            .columns
            .contains(r#""citas_hoy":1,"total_citas":10,"citas_completadas":10"#),
        "{rows:?}"
    );
    let differing = database.mismatched_keys(stream, &asked, &today).await;
    assert_eq!(differing.unwrap(), []);
    assert_eq!(database.zones(stream, &asked).await.unwrap().len(), 2);
    for (user, allowed) in [(A, 1), (B, 2), ("nobody", 0)] {
        let allowed_keys = database
            .allowed_keys(stream, &UserId::new(user), &asked)
            .await;
        assert_eq!(allowed_keys.unwrap().len(), allowed, "{user}");
    }
    let findings = examine(&database, &catalog).await;
    assert!(
        !findings
            .iter()
            .any(|finding| finding.detail.contains(CAPTURED)),
        "{findings:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn server_uses_nothing_of_a_hostile_schema() {
    let home = hostile_database().await;
    TestApp::install_on(home.url()).await;
    let app = TestApp::on_database(home.url()).await;
    app.wait_until_covered().await;
    let mut socket = app.connect_socket(&app.token(A)).await;
    let channel = format!("estadisticas:{A}");
    let before = socket.subscribe(&channel).await;
    // The watch locks have statements of their own. Without them, writers of this key are silent.
    app.wait_until_settled().await;
    assert!(app.metric("latido_interest_held").await > 0.0);
    let client = home.client().await;
    run(&client, "UPDATE citas SET estado = 'cancelada'").await;
    let after = socket.next_stats(&channel).await;
    assert_ne!(before["data"], after["data"]);
    run(&client, "TRUNCATE citas").await;
    let emptied = socket.next_stats(&channel).await;
    assert_eq!(emptied["data"]["total_citas"], 0);
}

/// What a statement names, whether it is executed or not: PostgreSQL records it for the body of a
/// function.
const FOUND_SQL: &str = "
    SELECT f.proname::text, pg_describe_object(d.refclassid, d.refobjid, 0)
      FROM pg_depend d JOIN pg_proc f ON d.classid = 'pg_proc'::regclass AND f.oid = d.objid
      LEFT JOIN pg_type t ON d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid
     WHERE starts_with(f.proname::text, 'statement_')
       AND d.refclassid IN ('pg_operator'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass)
       AND (pg_identify_object(d.refclassid, d.refobjid, 0)).schema = 'public'
       -- The row type of a table is the user's own.
       AND coalesce(t.typtype = 'd', true)";

#[tokio::test]
async fn statements_name_nothing_of_a_hostile_schema() {
    let home = hostile_database().await;
    let client = home.client().await;
    for script in [
        include_str!("../../../sql/history/install.sql"),
        include_str!("../../../sql/apps/messaging.sql"),
        include_str!("../../../sql/apps/modules.sql"),
    ] {
        run(&client, script).await;
    }
    run(&client, "SET search_path = public, pg_catalog").await;
    let days = "pg_catalog.uuid[], pg_catalog.date[], pg_catalog.date[]";
    for (name, parameters, statement) in [
        (
            "of_the_built_in_stream",
            days,
            include_str!("../../../sql/estadisticas.sql"),
        ),
        (
            "of_closed_days",
            days,
            include_str!("../../../sql/history/estadisticas.sql"),
        ),
        (
            "of_permissions",
            "pg_catalog.text, pg_catalog.text[]",
            include_str!("../../../sql/authorize.sql"),
        ),
        (
            "of_modules",
            "pg_catalog.text[], pg_catalog.date[]",
            include_str!("../../../sql/apps/modules_stats.sql"),
        ),
        (
            "of_messaging",
            "pg_catalog.text, bigint, pg_catalog.text, bigint, bigint",
            include_str!("../../../internal/apps/messaging/src/database/changes.sql"),
        ),
        ("that_is_captured", "bigint", "SELECT $1 + 1"),
    ] {
        let create = format!(
            "CREATE FUNCTION public.statement_{name}({parameters}) RETURNS SETOF record LANGUAGE sql BEGIN ATOMIC\n{statement}\n; END"
        );
        run(&client, &create).await;
    }
    run(&client, "SET search_path = pg_catalog").await;
    let found = client.query(FOUND_SQL, &[]).await.unwrap();
    let found: Vec<(String, String)> = found.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert!(
        matches!(&found[..], [(name, what)] if name == "statement_that_is_captured" && what.contains('+')),
        "{found:?}"
    );
}

#[tokio::test]
async fn closed_days_use_nothing_of_a_hostile_schema() {
    let home = hostile_database().await;
    let client = home.client().await;
    run(&client, include_str!("../../../sql/history/install.sql")).await;
    run(&client, "CALL latido_history.close_before('2020-11-20')").await;
    run(&client, "UPDATE citas SET estado = 'cancelada'").await;
    run(&client, "SELECT latido_history.fold()").await;
    let catalog = Arc::new(Catalog::new(vec![Stream {
        query: include_str!("../../../sql/history/estadisticas.sql").to_owned(),
        ..estadisticas()
    }]));
    let database = open(&home, true);
    database.prepare(&catalog).await.unwrap();
    let stream = catalog.iter().next().unwrap().1;
    let rows = database
        .read(stream, &[Key::from_canonical(A)], &[today()])
        .await
        .unwrap();
    assert!(
        rows[0]
            .columns
            .contains(r#""total_citas":10,"citas_completadas":0,"citas_canceladas":10"#),
        "{rows:?}"
    );
    run(&client, "SELECT latido_history.reopen()").await;
    run(&client, "TRUNCATE citas").await;
    run(&client, include_str!("../../../sql/history/remove.sql")).await;
}

/// The owner of the tables runs it, so whatever it calls runs with the owner's rights. Roles belong
/// to a cluster, not to a database.
#[tokio::test]
async fn documented_role_uses_nothing_of_a_hostile_schema() {
    let cluster = OwnCluster::start(&["sql/schema.sql"]).await;
    make_hostile(&cluster.client().await).await;
    for _ in 0..2 {
        let owner = cluster.client().await;
        run(&owner, include_str!("../../../sql/role.sql")).await;
    }
}

async fn run(client: &Client, sql: &str) {
    if let Err(error) = client.batch_execute(sql).await {
        let first: String = sql.chars().take(80).collect();
        panic!("{first}: {error:?}");
    }
}
