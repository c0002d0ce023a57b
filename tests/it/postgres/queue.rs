//! A full notification queue: what writers notice of it, and for how long.

use std::time::{Duration, Instant};

use latido_postgres::{Config, Database, FindingLevel, examine};

use super::builtin;
use crate::harness::cluster::OwnCluster;
use crate::harness::{ADMIN_OF_B1, B1, TestApp, booking_sql, report_not_tested, wait_until};

/// Sends so many notifications of 6,000 bytes in one transaction.
fn notify_sql(count: u32) -> String {
    format!("SELECT pg_notify('x', n || repeat('a', 6000)) FROM generate_series(1, {count}) AS n")
}

/// A session that listens and stays in a transaction fills the queue. The setting that makes the
/// queue small is one of PostgreSQL 17, so older versions are not tested; the server asks all of
/// them in the same way.
#[tokio::test(flavor = "multi_thread")]
async fn gated_writers_survive_a_full_queue_which_empties_soon() {
    let mut cluster = OwnCluster::start(&["sql/schema.sql", "tests/it/sql/people.sql"]).await;
    let owner = cluster.client().await;
    let small = "ALTER SYSTEM SET max_notify_queue_pages = 64";
    if owner.batch_execute(small).await.is_err() {
        return report_not_tested(
            "a full notification queue, since only PostgreSQL 17 and later can make it small",
        );
    }
    cluster.kill().await;
    cluster.restart().await;
    TestApp::install_on(&cluster.url()).await;
    let app = TestApp::on_database(&cluster.url()).await;
    let (owner, culprit) = (cluster.client().await, cluster.client().await);
    let mut socket = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    let channel = format!("estadisticas:{B1}");
    socket.subscribe(&channel).await;
    app.wait_until_settled().await;
    assert!(app.metric("latido_interest_held").await > 0.0);

    // Two statements, because a session listens only from the commit of its LISTEN on.
    for sql in ["LISTEN x", "BEGIN; SELECT 1"] {
        culprit.batch_execute(sql).await.unwrap();
    }
    owner.batch_execute(&notify_sql(40)).await.unwrap();
    wait_until("the level is seen, and writers are silent", async || {
        app.metric("latido_notify_queue_usage").await > 0.5
            && app.metric("latido_interest_held").await == 0.0
    })
    .await;
    let pid: i32 = culprit
        .query_one("SELECT pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    let database = Database::open(&Config::new(cluster.url())).unwrap();
    let findings = examine(&database, &builtin()).await;
    let queue = findings
        .iter()
        .find(|finding| finding.subject == "notification queue")
        .unwrap();
    assert!(
        queue.level > FindingLevel::Ok && queue.detail.contains(&format!("pid {pid} of role")),
        "{queue:?}"
    );

    let error = owner.batch_execute(&notify_sql(60)).await.unwrap_err();
    assert!(format!("{error:?}").contains("too many notifications"));
    // The writer of a watched key commits, and the sweep shows its change.
    app.book(&owner, B1, "pendiente", 0).await;
    socket
        .stats_until(&channel, |data| data["total_citas"] == 1)
        .await;

    culprit.batch_execute("COMMIT").await.unwrap();
    let ended = Instant::now();
    wait_until("commits that notify succeed", async || {
        owner.batch_execute("NOTIFY y").await.is_ok()
    })
    .await;
    let took = ended.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    wait_until("writers notify again", async || {
        app.metric("latido_interest_held").await > 0.0
    })
    .await;
    assert!(app.metric("latido_notify_queue_usage").await < 0.25);
}

#[tokio::test]
async fn doctor_reports_the_level_of_the_queue() {
    let (_home, _client, database) = super::schema_database().await;
    let findings = examine(&database, &builtin()).await;
    let queue = findings
        .iter()
        .find(|finding| finding.subject == "notification queue")
        .unwrap();
    assert_eq!(
        (queue.level, &*queue.detail),
        (FindingLevel::Ok, "0 % full")
    );
}

/// Tables without the interest gate, and those of the apps: their triggers ask for the level
/// themselves. Only a trigger of somebody else's still fails.
#[tokio::test(flavor = "multi_thread")]
async fn writers_without_a_gate_survive_a_full_queue() {
    const APPS: &[(&str, &str)] = &[
        ("LATIDO_APPS", "messaging,modules"),
        ("INTEREST_GATE", "false"),
        ("MODULES_API_KEY", "0123456789abcdef0123456789abcdef"),
    ];
    let mut cluster = OwnCluster::start(&["sql/schema.sql", "tests/it/sql/people.sql"]).await;
    let owner = cluster.client().await;
    let small = "ALTER SYSTEM SET max_notify_queue_pages = 64";
    if owner.batch_execute(small).await.is_err() {
        return;
    }
    cluster.kill().await;
    cluster.restart().await;
    latido::app::install(crate::harness::settings(&cluster.url(), APPS))
        .await
        .unwrap();
    let (owner, culprit) = (cluster.client().await, cluster.client().await);
    for sql in ["LISTEN x", "BEGIN; SELECT 1"] {
        culprit.batch_execute(sql).await.unwrap();
    }
    while owner.batch_execute(&notify_sql(1)).await.is_ok() {}
    let error = owner.batch_execute("NOTIFY y, 'z'").await;
    assert!(error.is_err(), "the queue is full");
    for write in [
        booking_sql(B1, "pendiente", 0),
        "UPDATE citas SET estado = 'atendida'".to_owned(),
        "TRUNCATE citas".to_owned(),
        "INSERT INTO modules (module_id) VALUES ('m')".to_owned(),
        "UPDATE modules SET claimed = true".to_owned(),
        "WITH c AS (INSERT INTO conversations DEFAULT VALUES RETURNING id) \
         INSERT INTO conversation_members (conversation_id, user_id) SELECT id, gen_random_uuid() FROM c"
            .to_owned(),
    ] {
        owner.batch_execute(&write).await.expect(&write);
    }
    let noted = "SELECT count(*) FROM messaging_changes";
    let noted: i64 = owner.query_one(noted, &[]).await.unwrap().get(0);
    assert!(noted > 0, "the server finds the change in the table");
}
