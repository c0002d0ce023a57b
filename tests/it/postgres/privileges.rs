//! The role that serves: the privileges it needs, and those it must not have.

use latido_postgres::{Config, Database, FindingLevel, examine};
use latido_stream::Stream;

use super::{builtin, estadisticas};
use crate::harness::cluster::{OwnCluster, connect};
use crate::harness::{ADMIN_OF_B1, B1, TestApp};

const SCHEMA_FILES: [&str; 3] = ["sql/schema.sql", "tests/it/sql/people.sql", "sql/role.sql"];

fn latido_url(url: &str) -> String {
    url.replacen("postgres@", "latido@", 1)
}

/// Starts a separate server, because roles belong to a cluster and not to a database.
async fn start_cluster() -> OwnCluster {
    let cluster = OwnCluster::start(&SCHEMA_FILES).await;
    TestApp::install_on(&cluster.url()).await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_role_can_serve() {
    let cluster = start_cluster().await;
    let app = TestApp::on_database(&latido_url(&cluster.url())).await;
    let owner = cluster.client().await;
    // The authorize.sql decides, and the serving role runs it.
    let mut socket = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    let channel = format!("estadisticas:{B1}");
    assert_eq!(socket.subscribe(&channel).await["data"]["total_citas"], 0);
    app.wait_until_settled().await;
    app.book(&owner, B1, "pendiente", 0).await;
    socket
        .stats_until(&channel, |data| data["total_citas"] == 1)
        .await;
    assert_eq!(
        app.notify(&serde_json::json!({"negocio_id": B1})).await.0,
        200
    );
    assert_eq!(app.metric("latido_corrections_total").await, 0.0);
    assert_eq!(app.metric("latido_read_failures_total").await, 0.0);
}

#[tokio::test]
async fn documented_role_has_no_other_privileges() {
    let cluster = start_cluster().await;
    let url = latido_url(&cluster.url());
    let attacker = connect(&url).await;
    let tries = [
        "DELETE FROM citas",
        "UPDATE citas SET estado = 'atendida'",
        "INSERT INTO usuarios (nombre) VALUES ('x')",
        "TRUNCATE negocios",
        "SELECT email FROM usuarios",
        "SELECT * FROM citas",
        "CREATE TABLE mine ()",
        "DROP TRIGGER latido ON citas",
        "ALTER TABLE citas DISABLE TRIGGER ALL",
        "CREATE ROLE other",
        "COPY citas (negocio_id) TO PROGRAM 'cat'",
        "SELECT pg_read_file('/etc/passwd')",
    ];
    for sql in tries {
        let error = attacker.batch_execute(sql).await.expect_err(sql);
        let code = error.code().map(|code| code.code().to_owned());
        // The error is a missing privilege, or an object that the role cannot see.
        assert!(
            matches!(code.as_deref(), Some("42501" | "42704")),
            "{sql}: {error:?}"
        );
    }
    let findings = examine(&Database::open(&Config::new(&url)).unwrap(), &builtin()).await;
    let role = findings
        .iter()
        .find(|finding| finding.subject == "role")
        .unwrap();
    assert_eq!(
        (role.level, &*role.detail),
        (
            FindingLevel::Ok,
            "latido may do what serving needs, and create temporary tables and large objects, as every role may"
        )
    );
    // These two are documented, because taking them away concerns every role of the database.
    for sql in ["CREATE TEMPORARY TABLE mine ()", "SELECT lo_create(0)"] {
        attacker.batch_execute(sql).await.expect(sql);
    }
}

#[tokio::test]
async fn doctor_names_each_excess_privilege() {
    let cluster = start_cluster().await;
    let (owner, url) = (cluster.client().await, latido_url(&cluster.url()));
    let role_finding = async || {
        let findings = examine(&Database::open(&Config::new(&url)).unwrap(), &builtin()).await;
        let role = findings
            .into_iter()
            .find(|finding| finding.subject == "role")
            .unwrap();
        assert!(
            role.level == FindingLevel::Warning
                && role.with_remedy.unwrap().contains("sql/role.sql")
        );
        role.detail
    };
    let cases = [
        (
            "GRANT UPDATE (estado) ON citas TO latido",
            "may write to citas",
            "REVOKE UPDATE (estado) ON citas FROM latido",
        ),
        (
            "GRANT CREATE ON SCHEMA public TO latido",
            "may create in public",
            "REVOKE CREATE ON SCHEMA public FROM latido",
        ),
        (
            "ALTER TABLE negocios OWNER TO latido",
            "owns negocios",
            "ALTER TABLE negocios OWNER TO postgres",
        ),
        (
            "ALTER ROLE latido CREATEROLE",
            "may create roles",
            "ALTER ROLE latido NOCREATEROLE",
        ),
        (
            "ALTER ROLE latido SUPERUSER",
            "is a superuser",
            "ALTER ROLE latido NOSUPERUSER",
        ),
    ];
    for (grant, privilege, revoke) in cases {
        owner.batch_execute(grant).await.unwrap();
        let role_finding = role_finding().await;
        assert!(
            role_finding.starts_with("latido ") && role_finding.contains(privilege),
            "{grant}: {role_finding}"
        );
        owner.batch_execute(revoke).await.unwrap();
    }
}

/// Even a role that may write cannot do so through a stream's SQL. It runs in read-only
/// transactions, and a statement inside one cannot leave it.
#[tokio::test]
async fn authorize_sql_cannot_write() {
    let cluster = start_cluster().await;
    let owner = cluster.client().await;
    let functions = "CREATE FUNCTION plain() RETURNS text LANGUAGE plpgsql AS $$
        BEGIN DELETE FROM negocios; RETURN 'x'; END $$;
        CREATE FUNCTION sly() RETURNS text LANGUAGE plpgsql AS $$
        BEGIN PERFORM set_config('transaction_read_only', 'off', true); DELETE FROM negocios; RETURN 'x'; END $$";
    owner.batch_execute(functions).await.unwrap();
    let count = async || {
        owner
            .query_one("SELECT count(*) FROM negocios", &[])
            .await
            .unwrap()
            .get::<_, i64>(0)
    };
    let before = count().await;
    let writing = [
        "WITH d AS (DELETE FROM negocios RETURNING id::text) SELECT id FROM d WHERE id = $1::text OR id = ANY ($2::text[])",
        "SELECT plain() WHERE $1::text IS NOT NULL AND $2::text[] IS NOT NULL",
        "SELECT sly() WHERE $1::text IS NOT NULL AND $2::text[] IS NOT NULL",
    ];
    for sql in writing {
        let stream = Stream {
            authorize_query: Some(sql.into()),
            ..estadisticas()
        };
        // Connect as the owner of everything.
        let database = Database::open(&Config::new(cluster.url())).unwrap();
        let user = latido_base::ident::UserId::new(ADMIN_OF_B1);
        let error = database
            .allowed_keys(
                &stream,
                &user,
                &[latido_base::ident::Key::from_canonical(B1)],
            )
            .await
            .unwrap_err();
        // The SQL cannot modify data as a subquery, it runs in a read-only transaction, and it
        // cannot end that mode.
        let reasons = [
            "data-modifying statement must be at the top level",
            "read-only transaction",
            "must be set before any query",
        ];
        assert!(
            reasons
                .iter()
                .any(|reason| error.to_string().contains(reason)),
            "{sql}: {error}"
        );
        assert_eq!(count().await, before, "{sql}");
    }
}
