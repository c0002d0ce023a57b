//! The commands `install`, `doctor` and `uninstall`: their effect on a database, and their output.

use super::CommandSetup;
use crate::harness::cluster::OwnCluster;

const SCHEMAS: &str = "SELECT count(*) FROM pg_namespace WHERE nspname = 'latido'";

#[tokio::test]
async fn install_and_uninstall_leave_nothing_behind() {
    let place = CommandSetup::new().await;
    let client = place.database.client().await;
    let schemas = async || {
        client
            .query_one(SCHEMAS, &[])
            .await
            .unwrap()
            .get::<_, i64>(0)
    };

    let before = place
        .home
        .run(&["doctor"], &place.with_variables(&[]))
        .await;
    assert!(
        before.code == Some(1) && before.stdout.contains("run `latido install`"),
        "{before:?}"
    );

    let script = place.print(&["install", "--dry-run"]).await;
    assert_eq!(schemas().await, 0, "a dry run changes nothing");
    client
        .batch_execute(&script)
        .await
        .expect("the script is SQL");
    assert_eq!(schemas().await, 1);
    let unchanged = place.print(&["install"]).await;
    assert!(
        unchanged.starts_with("unchanged  ") && unchanged.contains("citas"),
        "the script had already installed everything: {unchanged}"
    );

    place.print(&["uninstall"]).await;
    assert_eq!(schemas().await, 0);
    assert!(place.print(&["install"]).await.starts_with("installed  "));
    assert!(place.print(&["install"]).await.starts_with("unchanged  "));

    let healthy = place
        .home
        .run(&["doctor"], &place.with_variables(&[]))
        .await;
    assert!(
        healthy.code == Some(0) && !healthy.stdout.contains("FAILURE"),
        "{healthy:?}"
    );
    let uninstallation = place.print(&["uninstall", "--dry-run"]).await;
    assert_eq!(schemas().await, 1, "a dry run changes nothing");
    client
        .batch_execute(&uninstallation)
        .await
        .expect("the script is SQL");
    assert_eq!(schemas().await, 0);
    assert_eq!(place.print(&["uninstall"]).await, "nothing was installed\n");
}

#[tokio::test]
async fn doctor_finds_future_failures() {
    let place = CommandSetup::new().await;
    place.print(&["install"]).await;
    let doctor = async |variables: &[(&'static str, &'static str)]| {
        let variables = place.with_variables(variables);
        place.home.run(&["doctor"], &variables).await
    };
    let weak = doctor(&[("JWT_SECRET", "short")]).await;
    assert!(
        weak.code == Some(1) && weak.stdout.contains("JWT_ALLOW_WEAK_SECRET=true"),
        "a server would not start: {weak:?}"
    );
    for subject in [
        "token secret",
        "TIMEZONE",
        "server version",
        "TLS",
        "pooler",
        "LISTEN",
        "triggers on citas",
        "index on citas",
        "plan",
    ] {
        assert!(
            weak.stdout.contains(&format!("{subject}: ")),
            "{subject} in {}",
            weak.stdout
        );
    }
    let keyless = doctor(&[("JWT_SECRET", "")]).await;
    assert!(
        keyless.code == Some(1) && keyless.stdout.contains("JWT_JWKS_URL"),
        "{keyless:?}"
    );
    place
        .database
        .client()
        .await
        .batch_execute("DROP TABLE citas CASCADE")
        .await
        .unwrap();
    let missing = doctor(&[]).await;
    assert!(
        missing.code == Some(1)
            && missing.stdout.contains("FAILURE")
            && missing.stdout.contains("citas"),
        "{missing:?}"
    );
    let installing = place
        .home
        .run(&["install"], &place.with_variables(&[]))
        .await;
    assert!(
        installing.code == Some(1) && installing.stderr.contains("no table citas"),
        "{installing:?}"
    );

    let away = doctor(&[("DATABASE_URL", "postgresql://u:open-sesame@127.0.0.1:1/d")]).await;
    assert!(
        away.code == Some(1) && away.stdout.contains("FAILURE"),
        "{away:?}"
    );
    for finished in [weak, missing, installing, away] {
        assert!(
            !format!("{finished:?}").contains("open-sesame"),
            "{finished:?}"
        );
    }
}

const REFUSED: &str = r#"
builtin_streams = false
[streams.buena]
query = "SELECT u.id, 1 AS n FROM unnest($1::uuid[]) AS u (id)"
keys = ["negocio_id"]
tables = [{ table = "citas", key = "negocio_id" }]
[streams.mala]
query = "SELECT u.id, u.nada FROM unnest($1::uuid[]) AS u (id)"
keys = ["negocio_id"]
tables = [{ table = "negocios", key = "id" }]
"#;

/// A query that no server can run is a failure, but the triggers of the others are installed.
#[tokio::test]
async fn install_fails_if_a_query_is_refused() {
    let place = CommandSetup::new().await;
    let file = place.home.folder().write("latido.toml", REFUSED);
    let file = file.to_str().unwrap();
    let variables = place.with_variables(&[("LATIDO_CONFIG", file)]);
    let installing = place.home.run(&["install"], &variables).await;
    assert_eq!(installing.code, Some(1), "{installing:?}");
    for part in [
        "installed  \"public\".\"citas\" for stream buena\n",
        "installed  \"public\".\"negocios\" for stream mala\n",
        "REFUSED    the database refused the query of stream mala: column u.nada does not exist",
    ] {
        assert!(installing.stdout.contains(part), "{part}: {installing:?}");
    }
    let summary = "refuses 1 of the streams' queries";
    assert!(installing.stderr.contains(summary), "{installing:?}");

    // Mistakes of every kind come together, and nothing is changed.
    let mistakes = r#"
[streams.otra]
query = "SELECT u.id, 1 AS n FROM unnest($1::text[]) AS u (id)"
keys = ["negocio_id"]
tables = [{ table = "citas", key = "negocio_id" }, { table = "citass" }]
[streams.via]
query = "SELECT u.id, 1 AS n FROM unnest($1::uuid[]) AS u (id)"
keys = ["negocio_id"]
tables = [{ table = "citas", via = "SELECT id FROM negocios" }]
authorize = "SELECT $4 FROM unnest($2::text[])"
"#;
    let folder = place.home.folder();
    folder.write("latido.toml", &format!("{REFUSED}{mistakes}"));
    let installing = place.home.run(&["install"], &variables).await;
    assert_eq!(
        (installing.code, &*installing.stdout),
        (Some(1), ""),
        "{installing:?}"
    );
    for part in [
        "stream mala: column u.nada does not exist",
        "stream otra: the key negocio_id of table citas is uuid",
        "stream otra: no table citass",
        "stream via: `via` of table citas: it does not read `changed`",
        "authorize query of stream via",
    ] {
        assert!(installing.stderr.contains(part), "{part}: {installing:?}");
    }
}

/// The script of the serving role is for databases without the built-in stream too.
#[tokio::test]
async fn script_of_the_role_needs_no_table() {
    let cluster = OwnCluster::start(&["sql/role.sql"]).await;
    let client = cluster.client().await;
    let can = "SELECT has_schema_privilege('latido', 'public', 'USAGE')";
    assert!(client.query_one(can, &[]).await.unwrap().get::<_, bool>(0));
    let partly = "CREATE TABLE citas (negocio_id uuid, fecha date, estado text)";
    client.batch_execute(partly).await.unwrap();
    let script = include_str!("../../../sql/role.sql");
    client.batch_execute(script).await.unwrap();
    let can = "SELECT has_column_privilege('latido', 'citas', 'fecha', 'SELECT')";
    assert!(client.query_one(can, &[]).await.unwrap().get::<_, bool>(0));
}
