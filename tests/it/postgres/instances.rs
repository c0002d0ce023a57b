//! Two deployments on one database: each owns its objects and leaves the other's alone.

use latido_postgres::{Config, Database, FindingLevel, InstallChange, InstanceName, examine};
use tokio_postgres::Client;

use super::triggers::NotificationTap;
use super::{builtin, catalog, empty_database, table};
use crate::harness::cluster::TestDatabase;

/// Opens the database for the default deployment and for one with another name.
async fn two_deployments() -> (TestDatabase, Client, Database, Database) {
    let (home, client, url) = empty_database().await;
    client.batch_execute(super::SCHEMA).await.unwrap();
    let open = |instance: &str| {
        Database::open(&Config {
            instance: InstanceName::parse(instance).unwrap(),
            interest_gate: false,
            ..Config::new(&url)
        })
        .unwrap()
    };
    let (first, second) = (open("latido"), open("staging"));
    (home, client, first, second)
}

async fn triggers(client: &Client, prefix: &str) -> i64 {
    let sql = "SELECT count(*) FROM pg_trigger WHERE starts_with(tgname::text, $1)";
    client.query_one(sql, &[&prefix]).await.unwrap().get(0)
}

#[tokio::test]
async fn deployments_of_two_names_do_not_touch_each_other() {
    let (home, client, first, second) = two_deployments().await;
    first.install(&builtin()).await.unwrap();
    // The other one has other streams and tables, so nothing of the first is in its catalog.
    let others = catalog(vec![
        table("citas", Some("negocio_id"), &[]),
        table("negocios", Some("id"), &[]),
    ]);
    let script = second.install_sql(&others).await.unwrap();
    assert!(
        !script.contains("DROP") && !script.contains("\"latido_"),
        "{script}"
    );
    client.batch_execute(&script).await.unwrap();
    for (deployment, streams) in [(&first, &builtin()), (&second, &others)] {
        let report = deployment.triggers(streams).await.unwrap();
        assert!(report.are_current(), "{report:?}");
        assert!(report.unused_functions.is_empty(), "{report:?}");
        let findings = examine(deployment, streams).await;
        let failed: Vec<_> = findings
            .iter()
            .filter(|finding| finding.level == FindingLevel::Failure)
            .collect();
        assert!(failed.is_empty(), "{failed:?}");
    }
    assert_eq!(triggers(&client, "latido_").await, 4);
    assert_eq!(triggers(&client, "staging_").await, 8);

    // Fewer tables: only the own triggers go.
    let fewer = catalog(vec![table("negocios", Some("id"), &[])]);
    second.install(&fewer).await.unwrap();
    assert_eq!(triggers(&client, "latido_").await, 4);
    assert_eq!(triggers(&client, "staging_").await, 4);
    let mut tap = NotificationTap::open(home.client().await, &home).await;
    let payloads = tap.payloads("INSERT INTO citas DEFAULT VALUES").await;
    assert_eq!(payloads.len(), 0, "a cita without a business");
    let payloads = tap
        .payloads("INSERT INTO citas (negocio_id) VALUES (gen_random_uuid())")
        .await;
    assert_eq!(payloads.len(), 1);

    second.uninstall(&[]).await.unwrap();
    assert_eq!(triggers(&client, "staging_").await, 0);
    assert!(first.triggers(&builtin()).await.unwrap().are_current());
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname IN ('latido', 'staging')";
    let schemas: i64 = client.query_one(schemas, &[]).await.unwrap().get(0);
    assert_eq!(schemas, 1);
}

/// The dry run prints what would run against this database as it is.
#[tokio::test]
async fn dry_run_prints_only_what_is_left_to_do() {
    let (_home, client, first, _) = two_deployments().await;
    let tables = vec![
        table("citas", Some("negocio_id"), &[]),
        table("negocios", Some("id"), &[]),
    ];
    first.install(&catalog(tables)).await.unwrap();
    let unchanged = first
        .install_sql(&catalog(vec![
            table("citas", Some("negocio_id"), &[]),
            table("negocios", Some("id"), &[]),
        ]))
        .await
        .unwrap();
    assert!(
        !unchanged.contains("CREATE OR") && !unchanged.contains("DROP"),
        "{unchanged}"
    );
    let fewer = catalog(vec![table("citas", Some("negocio_id"), &[])]);
    let script = first.install_sql(&fewer).await.unwrap();
    assert!(
        script.contains("DROP TRIGGER IF EXISTS") && !script.contains("CREATE OR"),
        "{script}"
    );
    client.batch_execute(&script).await.unwrap();
    let changes = first.install(&fewer).await.unwrap();
    assert_eq!(
        changes,
        [InstallChange::Unchanged(
            r#""public"."citas" for stream estadisticas"#.to_owned()
        )]
    );
}
