//! Row-level security: a read that it would filter is an error, and never a smaller number.

use latido_base::ident::UserId;
use latido_postgres::{Config, Database, DatabaseError, Finding, FindingLevel, examine};

use super::pooler_proxy::{PoolerBehaviour, PoolerProxy};
use super::reading::{keys, read};
use super::{builtin, estadisticas};
use crate::harness::cluster::OwnCluster;
use crate::harness::{ADMIN_OF_B1, B1, TestApp, booking_sql};

const SCHEMA_FILES: [&str; 3] = ["sql/schema.sql", "tests/it/sql/people.sql", "sql/role.sql"];

const COUNTED: &str =
    r#"{"citas_hoy":0,"total_citas":1,"citas_completadas":1,"citas_canceladas":0}"#;

/// Starts a separate server, because roles belong to a cluster, with one cita under row-level
/// security. Returns the URL of the serving role as well.
async fn start_cluster() -> (OwnCluster, tokio_postgres::Client, String) {
    let cluster = OwnCluster::start(&SCHEMA_FILES).await;
    let owner = cluster.client().await;
    owner
        .batch_execute(&booking_sql(B1, "atendida", -400))
        .await
        .unwrap();
    owner
        .batch_execute("ALTER TABLE citas ENABLE ROW LEVEL SECURITY")
        .await
        .unwrap();
    let url = cluster.url().replacen("postgres@", "latido@", 1);
    (cluster, owner, url)
}

fn open(url: &str, row_security: bool) -> Database {
    Database::open(&Config {
        row_security,
        ..Config::new(url)
    })
    .unwrap()
}

async fn read_columns(database: &Database) -> Result<String, DatabaseError> {
    let rows = read(database, &builtin(), &[B1]).await?;
    Ok(rows[0].columns.clone())
}

async fn assert_refused(database: &Database) {
    let error = read_columns(database).await.unwrap_err();
    assert!(
        matches!(error, DatabaseError::RowSecurity { .. }),
        "{error:?}"
    );
    assert_eq!(error.sqlstate(), Some("42501"));
    let text = error.to_string();
    for part in [
        "\"citas\"",
        "BYPASSRLS",
        "CREATE POLICY",
        "ROW_SECURITY=true",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

/// Under policies that hide rows, an UPDATE would change none and report success. Both kinds of
/// connections of apps refuse instead.
#[tokio::test]
async fn filtered_writes_of_apps_are_refused_and_never_lost() {
    const WRITE: &str = "UPDATE citas SET estado = 'cancelada'";
    let (_cluster, owner, url) = start_cluster().await;
    owner
        .batch_execute("GRANT UPDATE ON citas TO latido")
        .await
        .unwrap();
    for (row_security, is_refused) in [(false, true), (true, false)] {
        let database = open(&url, row_security);
        let pooled = database
            .writer(1)
            .unwrap()
            .query("a write", WRITE, &[])
            .await;
        let dedicated = database
            .write_connection()
            .run("a write", async |client| client.batch_execute(WRITE).await)
            .await;
        for result in [pooled.map(drop), dedicated] {
            match result {
                Err(DatabaseError::RowSecurity { .. }) if is_refused => {}
                Ok(()) if !is_refused => {}
                other => panic!("row_security {row_security}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn filtered_reads_are_refused_and_never_zero() {
    let (cluster, owner, url) = start_cluster().await;
    assert_refused(&open(&url, false)).await;
    for behaviour in [
        PoolerBehaviour {
            refuse_options: true,
            ..PoolerBehaviour::default()
        },
        PoolerBehaviour {
            drop_options: true,
            ..PoolerBehaviour::default()
        },
    ] {
        let proxy = PoolerProxy::start(&url, behaviour).await;
        assert_refused(&open(&proxy.url, false)).await;
    }
    // A policy that shows every row is not enough: PostgreSQL refuses the role all the same.
    owner
        .batch_execute("CREATE POLICY todo ON citas FOR SELECT TO latido USING (true)")
        .await
        .unwrap();
    assert_refused(&open(&url, false)).await;
    assert_eq!(read_columns(&open(&url, true)).await.unwrap(), COUNTED);
    owner
        .batch_execute("ALTER ROLE latido BYPASSRLS")
        .await
        .unwrap();
    assert_eq!(read_columns(&open(&url, false)).await.unwrap(), COUNTED);
    // The owner of a table bypasses its policies, unless they are forced.
    owner
        .batch_execute("CREATE ROLE dueno LOGIN; GRANT ALL ON SCHEMA public TO dueno; ALTER TABLE citas OWNER TO dueno")
        .await
        .unwrap();
    let owners_url = cluster.url().replacen("postgres@", "dueno@", 1);
    let database = open(&owners_url, false);
    assert_eq!(read_columns(&database).await.unwrap(), COUNTED);
    owner
        .batch_execute("ALTER TABLE citas FORCE ROW LEVEL SECURITY")
        .await
        .unwrap();
    // Also over a connection whose statement was prepared before.
    assert_refused(&database).await;
    assert_refused(&open(&owners_url, false)).await;
}

#[tokio::test]
async fn filtered_permissions_are_refused() {
    let (_cluster, owner, url) = start_cluster().await;
    let database = open(&url, false);
    let stream = estadisticas();
    let allowed = async || {
        database
            .allowed_keys(&stream, &UserId::new(ADMIN_OF_B1), &keys(&[B1]))
            .await
    };
    assert_eq!(allowed().await.unwrap(), keys(&[B1]));
    owner
        .batch_execute("ALTER TABLE negocios ENABLE ROW LEVEL SECURITY")
        .await
        .unwrap();
    let error = allowed().await.unwrap_err();
    assert!(
        matches!(error, DatabaseError::RowSecurity { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn doctor_and_install_name_row_level_security_and_its_remedies() {
    let (cluster, owner, url) = start_cluster().await;
    let find = |findings: &[Finding], subject: &str| {
        findings
            .iter()
            .find(|finding| finding.subject.contains(subject))
            .cloned()
    };
    let findings = examine(&open(&url, false), &builtin()).await;
    let query = find(&findings, "query").unwrap();
    assert_eq!(query.level, FindingLevel::Failure);
    assert!(
        query.detail.contains("BYPASSRLS") && query.detail.contains("ROW_SECURITY=true"),
        "{query:?}"
    );
    let warnings = open(&url, false).check_streams(&builtin()).await.unwrap();
    let first = format!("{:?}", warnings[0]);
    assert!(first.contains("BYPASSRLS"), "{warnings:?}");
    // Who installs may bypass what filters the role that serves.
    let warnings = open(&cluster.url(), false)
        .check_streams(&builtin())
        .await
        .unwrap();
    assert!(
        warnings.len() == 1
            && format!("{:?}", warnings[0]).contains("so must the role that serves"),
        "{warnings:?}"
    );

    let through_policies = async || {
        let findings = examine(&open(&url, true), &builtin()).await;
        find(&findings, "row security of citas").unwrap()
    };
    let hidden = through_policies().await;
    assert_eq!(hidden.level, FindingLevel::Warning);
    assert!(hidden.with_remedy.unwrap().contains("USING (true)"));
    for (policy, level) in [
        (
            "CREATE POLICY a ON citas FOR SELECT TO latido USING (estado = 'atendida')",
            FindingLevel::Warning,
        ),
        (
            "CREATE POLICY b ON citas FOR UPDATE TO latido USING (true)",
            FindingLevel::Warning,
        ),
        (
            "CREATE POLICY c ON citas FOR SELECT TO postgres USING (true)",
            FindingLevel::Warning,
        ),
        (
            "CREATE POLICY d ON citas TO PUBLIC USING (true)",
            FindingLevel::Ok,
        ),
        (
            "CREATE POLICY e ON citas AS RESTRICTIVE FOR SELECT TO latido USING (estado <> 'cancelada')",
            FindingLevel::Warning,
        ),
    ] {
        owner.batch_execute(policy).await.unwrap();
        assert_eq!(through_policies().await.level, level, "{policy}");
    }

    // A role that must bypass row-level security has no privilege to spare.
    owner
        .batch_execute("ALTER ROLE latido BYPASSRLS")
        .await
        .unwrap();
    let role = async || find(&examine(&open(&url, false), &builtin()).await, "role").unwrap();
    assert_eq!(role().await.level, FindingLevel::Ok);
    owner
        .batch_execute("ALTER TABLE citas DISABLE ROW LEVEL SECURITY")
        .await
        .unwrap();
    assert!(role().await.detail.contains("bypass row security"));
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_are_told_of_filtered_reads_and_get_numbers_again() {
    let cluster = OwnCluster::start(&SCHEMA_FILES).await;
    TestApp::install_on(&cluster.url()).await;
    let owner = cluster.client().await;
    owner
        .batch_execute(&booking_sql(B1, "atendida", -400))
        .await
        .unwrap();
    let app = TestApp::on_database(&cluster.url().replacen("postgres@", "latido@", 1)).await;
    let mut socket = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    let channel = format!("estadisticas:{B1}");
    assert_eq!(socket.subscribe(&channel).await["data"]["total_citas"], 1);
    app.wait_until_settled().await;
    owner
        .batch_execute(
            "ALTER TABLE citas ENABLE ROW LEVEL SECURITY; UPDATE citas SET estado = 'cancelada'",
        )
        .await
        .unwrap();
    let told = socket.next_of_type("error").await;
    assert_eq!(told["data"]["code"], "unavailable", "{told}");
    assert_eq!(told["data"]["channel"], channel, "{told}");
    let (_, report) = app.get("/ready").await;
    assert!(
        report.contains("row-level security") && report.contains("ROW_SECURITY=true"),
        "{report}"
    );
    owner
        .batch_execute("ALTER ROLE latido BYPASSRLS")
        .await
        .unwrap();
    socket
        .stats_until(&channel, |data| data["citas_canceladas"] == 1)
        .await;
}
