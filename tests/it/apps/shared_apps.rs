//! Two installations on one database that use the same apps: the apps' objects are shared, and stay
//! until the last of the two is uninstalled.

use latido::app;
use latido::config::{ConfigSources, Purpose, Settings};
use latido_postgres::{FindingLevel, InstallChange};
use tokio_postgres::Client;

use crate::harness::claims::SECRET;
use crate::harness::cluster::TestDatabase;

const APPS: &str = "messaging,modules";

fn settings(url: &str, instance: &str, apps: &str) -> Settings {
    let variables = [
        ("DATABASE_URL", url),
        ("JWT_SECRET", SECRET),
        ("LATIDO_INSTANCE", instance),
        ("LATIDO_APPS", apps),
    ];
    Settings::read(&ConfigSources::from_variables(&variables), Purpose::Install).unwrap()
}

async fn app_triggers(client: &Client) -> i64 {
    let sql = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'latido_app_modules%' OR tgname LIKE 'messaging%'";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

async fn failures(url: &str, instance: &str) -> Vec<String> {
    let findings = app::doctor(settings(url, instance, APPS), false)
        .await
        .unwrap();
    let failed = findings
        .into_iter()
        .filter(|finding| finding.level == FindingLevel::Failure);
    failed
        .map(|finding| format!("{}: {}", finding.subject, finding.detail))
        .collect()
}

#[tokio::test]
async fn app_stays_until_its_last_installation_goes() {
    for first_to_go in ["latido", "staging"] {
        let home = TestDatabase::create(&["sql/schema.sql"]).await;
        let (client, url) = (home.client().await, home.url());
        for instance in ["latido", "staging", "staging"] {
            app::install(settings(url, instance, APPS)).await.unwrap();
        }
        let installed = app_triggers(&client).await;
        assert!(installed >= 8, "{installed}");
        for instance in ["latido", "staging"] {
            assert_eq!(failures(url, instance).await, [""; 0], "{instance}");
        }
        let last = ["latido", "staging"]
            .into_iter()
            .find(|name| *name != first_to_go)
            .unwrap();
        let changes = app::uninstall(settings(url, first_to_go, ""))
            .await
            .unwrap();
        let warning = format!("tables of modules stay: the installation {last} uses them");
        assert!(
            changes.contains(&InstallChange::Warning(warning)),
            "{changes:?}"
        );
        assert_eq!(app_triggers(&client).await, installed, "{first_to_go} went");
        assert_eq!(failures(url, last).await, [""; 0]);
        let unchanged = app::install(settings(url, last, APPS)).await.unwrap();
        let is_installed = |change: &&InstallChange| matches!(change, InstallChange::Installed(_));
        assert_eq!(unchanged.iter().find(is_installed), None);

        app::uninstall(settings(url, last, "")).await.unwrap();
        assert_eq!(app_triggers(&client).await, 0, "both went");
        let gone = failures(url, last).await;
        assert!(
            gone.iter().any(|text| text.contains("modules")),
            "the doctor misses them: {gone:?}"
        );
    }
}

/// Before the first installation the app's stream has no tables yet.
#[tokio::test]
async fn dry_run_announces_the_triggers_of_tables_that_it_creates() {
    let home = TestDatabase::create(&["sql/schema.sql"]).await;
    let (client, url) = (home.client().await, home.url());
    let script = app::install_sql(settings(url, "latido", "modules"))
        .await
        .unwrap();
    for part in [
        "CREATE TABLE IF NOT EXISTS @home@.modules",
        "latido_estadisticas_",
        "stream modules_stats, table modules",
    ] {
        assert!(script.contains(part), "{part} in {script}");
    }
    client.batch_execute(&script).await.unwrap();
    let rest = app::install_sql(settings(url, "latido", "modules"))
        .await
        .unwrap();
    assert!(rest.contains("latido_modules_stats_"), "{rest}");
    client.batch_execute(&rest).await.unwrap();
    let changes = app::install(settings(url, "latido", "modules"))
        .await
        .unwrap();
    let is_installed = |change: &&InstallChange| matches!(change, InstallChange::Installed(_));
    assert_eq!(changes.iter().find(is_installed), None, "{changes:?}");
}
