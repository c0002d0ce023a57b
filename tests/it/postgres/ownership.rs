//! `install` refuses to build upon objects that belong to other roles, and changes nothing then.

use latido::config::{ConfigSources, Purpose, Settings};
use latido_postgres::{Config, Database, InstallError};
use tokio_postgres::Client;

use super::builtin;
use crate::harness::cluster::{OwnCluster, connect};

const APPS: &str = "messaging,modules";

/// Starts a separate server, because roles belong to a cluster. The role `mallory` may do what an
/// attacker could before PostgreSQL 15, and create schemas.
async fn start_cluster() -> (OwnCluster, Client) {
    let cluster = OwnCluster::start(&["sql/schema.sql"]).await;
    let owner = cluster.client().await;
    let roles = "CREATE ROLE mallory LOGIN; GRANT CREATE ON DATABASE latido TO mallory;
        GRANT CREATE ON SCHEMA public TO mallory";
    owner.batch_execute(roles).await.unwrap();
    (cluster, owner)
}

async fn connect_as(cluster: &OwnCluster, role: &str) -> Client {
    connect(&url_of(cluster, role)).await
}

fn url_of(cluster: &OwnCluster, role: &str) -> String {
    cluster.url().replacen("postgres@", &format!("{role}@"), 1)
}

/// Returns the objects that the installation complains about.
fn refused(result: Result<impl std::fmt::Debug, InstallError>) -> String {
    match result {
        Err(InstallError::NotOwned { objects, .. }) => objects,
        other => panic!("not refused: {other:?}"),
    }
}

async fn count(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn triggers_are_not_installed_upon_objects_of_others() {
    let (cluster, owner) = start_cluster().await;
    let mallory = connect_as(&cluster, "mallory").await;
    let database = Database::open(&Config::new(cluster.url())).unwrap();
    let catalog = builtin();
    let clean = database.install_sql(&catalog).await.unwrap();
    mallory.batch_execute("CREATE SCHEMA latido").await.unwrap();
    let objects = refused(database.install(&catalog).await);
    assert_eq!(objects, "schema latido of role mallory");
    // The printed script makes the same check.
    let error = owner.batch_execute(&clean).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "LTOWN");
    owner.batch_execute("ROLLBACK").await.unwrap();
    let triggers = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'citas'::regclass AND tgname LIKE 'latido%'";
    assert_eq!(count(&owner, triggers).await, 0);

    mallory.batch_execute("DROP SCHEMA latido").await.unwrap();
    database.install(&catalog).await.unwrap();
    // Calls with untyped constants would find this function instead of ours.
    let overload = "CREATE FUNCTION latido.payloads(text, text) RETURNS void LANGUAGE sql AS ''";
    owner
        .batch_execute("GRANT CREATE, USAGE ON SCHEMA latido TO mallory")
        .await
        .unwrap();
    mallory.batch_execute(overload).await.unwrap();
    let objects = refused(database.install(&catalog).await);
    assert_eq!(
        objects,
        "function latido.payloads(text,text) of role mallory; \
         the right to create in schema latido, of role mallory"
    );
    mallory
        .batch_execute("DROP FUNCTION latido.payloads(text, text)")
        .await
        .unwrap();
    owner
        .batch_execute("REVOKE ALL ON SCHEMA latido FROM mallory")
        .await
        .unwrap();
    database.install(&catalog).await.unwrap();

    let own_trigger = "CREATE FUNCTION public.evil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'";
    mallory.batch_execute(own_trigger).await.unwrap();
    let name = "SELECT tgname::text FROM pg_trigger WHERE tgrelid = 'citas'::regclass AND tgname LIKE 'latido%\\_ins'";
    let name: String = owner.query_one(name, &[]).await.unwrap().get(0);
    owner
        .batch_execute(&format!(
            "GRANT TRIGGER ON citas TO mallory; DROP TRIGGER {name} ON citas"
        ))
        .await
        .unwrap();
    let hijack = format!(
        "CREATE TRIGGER {name} AFTER INSERT ON citas FOR EACH ROW EXECUTE FUNCTION public.evil()"
    );
    mallory.batch_execute(&hijack).await.unwrap();
    let objects = refused(database.install(&catalog).await);
    assert!(
        objects.contains(&format!("trigger {name} on public.citas")) && objects.contains("mallory"),
        "{objects}"
    );
}

/// A schema of a group belongs to its members, and a superuser's to everybody who may use it.
#[tokio::test]
async fn members_of_the_owning_role_may_install() {
    let (cluster, owner) = start_cluster().await;
    let sql = "CREATE ROLE owners; CREATE ROLE app LOGIN IN ROLE owners; GRANT CREATE ON DATABASE latido TO owners;
        ALTER TABLE citas OWNER TO owners; SET ROLE owners; CREATE SCHEMA latido; RESET ROLE";
    owner.batch_execute(sql).await.unwrap();
    let app = Database::open(&Config::new(url_of(&cluster, "app"))).unwrap();
    app.install(&builtin()).await.unwrap();
    // A superuser has every right, but is no member: the group would gain a superuser's rights.
    let postgres = Database::open(&Config::new(cluster.url())).unwrap();
    let objects = refused(postgres.install(&builtin()).await);
    assert!(
        objects.contains("schema latido of role owners"),
        "{objects}"
    );
}

fn settings(url: &str) -> Settings {
    let variables = [("DATABASE_URL", url), ("LATIDO_APPS", APPS)];
    Settings::read(&ConfigSources::from_variables(&variables), Purpose::Install).unwrap()
}

async fn install_error(url: &str) -> String {
    match latido::app::install(settings(url)).await {
        Err(error) => format!("{error:#}"),
        Ok(report) => panic!("not refused: {report:?}"),
    }
}

/// Whatever an app creates, it is refused if somebody else has made it beforehand, and also
/// afterwards, when nothing is left to install.
#[tokio::test]
async fn no_object_of_an_app_may_belong_to_another_role() {
    let (cluster, owner) = start_cluster().await;
    let url = cluster.url();
    latido::app::install(settings(&url)).await.unwrap();
    // Sequences of identity columns change their owner with the table.
    let created = "SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.oid::regclass::text FROM pg_class c
         WHERE relkind IN ('r', 'S') AND relnamespace = 'public'::regnamespace
           AND relname NOT IN ('citas', 'negocios', 'usuarios')
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('i', 'a') AND d.refclassid = 'pg_class'::regclass)
        UNION SELECT 'FUNCTION ' || p.oid::regprocedure::text FROM pg_proc p
         WHERE pronamespace IN ('public'::regnamespace, 'latido_modules'::regnamespace)
        UNION SELECT 'SCHEMA latido_modules' ORDER BY 1";
    let created: Vec<String> = owner
        .query(created, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(created.len() > 20, "{created:?}");
    for object in &created {
        let set_owner = async |role: &str| {
            let sql = format!("ALTER {object} OWNER TO {role}");
            owner.batch_execute(&sql).await.unwrap();
        };
        set_owner("mallory").await;
        let error = install_error(&url).await;
        assert!(
            error.contains("mallory") && error.contains("Nothing was changed"),
            "{object}: {error}"
        );
        set_owner("postgres").await;
    }
    latido::app::install(settings(&url)).await.unwrap();
}

#[tokio::test]
async fn app_is_not_installed_upon_traps() {
    let (cluster, owner) = start_cluster().await;
    let mallory = connect_as(&cluster, "mallory").await;
    let url = cluster.url();
    // A trigger on a table of the right name runs as whoever writes the change log.
    let trap = "CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN ALTER ROLE mallory SUPERUSER; RETURN NULL; END'";
    mallory.batch_execute(trap).await.unwrap();
    owner
        .batch_execute("CREATE TABLE messaging_changes (id int); GRANT TRIGGER ON messaging_changes TO mallory")
        .await
        .unwrap();
    mallory
        .batch_execute(
            "CREATE TRIGGER trap AFTER INSERT ON messaging_changes EXECUTE FUNCTION trap()",
        )
        .await
        .unwrap();
    let error = install_error(&url).await;
    assert!(
        error.contains("trigger trap on") && error.contains("trap()"),
        "{error}"
    );
    owner
        .batch_execute("DROP TABLE messaging_changes")
        .await
        .unwrap();
    // A function of the same name that untyped constants would find.
    let overload = "CREATE FUNCTION messaging_note(text, uuid, uuid, uuid, text) RETURNS void LANGUAGE sql AS ''";
    mallory.batch_execute(overload).await.unwrap();
    let error = install_error(&url).await;
    assert!(error.contains("messaging_note"), "{error}");
    let tables =
        "SELECT count(*) FROM pg_class WHERE relname IN ('conversations', 'messages', 'modules')";
    assert_eq!(count(&owner, tables).await, 0, "nothing was changed");
    mallory
        .batch_execute("DROP FUNCTION messaging_note(text, uuid, uuid, uuid, text)")
        .await
        .unwrap();
    latido::app::install(settings(&url)).await.unwrap();
}
