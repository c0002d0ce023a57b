//! `latido uninstall` removes everything that `latido install` made, compared by the catalogs of
//! PostgreSQL. Only data of the application stays: the tables that are named here.

use std::collections::BTreeSet;

use latido::app;
use latido::config::{ConfigSources, Purpose, Settings};
use tokio_postgres::Client;

use crate::harness::cluster::TestDatabase;

/// An object of the database: the relation that it is a part of (or ""), and its description.
type CatalogLine = (String, String);

/// The relations that stay, because their data belongs to the application. See «Uninstall» in
/// `docs/apps/messaging.md` and `docs/apps/modules.md`.
const KEPT: &[(&str, &[&str])] = &[
    ("workspace", &[]),
    ("gateway", &[]),
    (
        "messaging",
        &[
            "conversations",
            "conversation_members",
            "messages",
            "delivery_statuses",
            "message_reactions",
            // Numbers of later messages must be above those that are stored.
            "messaging_position",
        ],
    ),
    ("modules", &["users", "session", "modules", "module_state"]),
];

fn settings(url: &str, apps: &str) -> Settings {
    let variables = [("DATABASE_URL", url), ("LATIDO_APPS", apps)];
    Settings::read(&ConfigSources::from_variables(&variables), Purpose::Install).unwrap()
}

async fn catalog(client: &Client) -> BTreeSet<CatalogLine> {
    let rows = client.query(include_str!("../sql/catalog.sql"), &[]).await;
    let line = |row: &tokio_postgres::Row| (row.get(0), row.get(1));
    rows.unwrap().iter().map(line).collect()
}

fn kept(apps: &str) -> BTreeSet<&'static str> {
    let is_enabled = |app: &str| apps.split(',').any(|name| name == app);
    let enabled = KEPT.iter().filter(|(app, _)| is_enabled(app));
    enabled
        .flat_map(|(_, tables)| tables.iter().copied())
        .collect()
}

/// Asserts that the catalogs are equal, apart from the named relations, all of which must be new.
fn assert_only_kept_is_new(
    before: &BTreeSet<CatalogLine>,
    after: &BTreeSet<CatalogLine>,
    kept: &BTreeSet<&str>,
) {
    let lost: Vec<_> = before.difference(after).collect();
    assert!(lost.is_empty(), "objects are missing: {lost:#?}");
    let is_kept = |line: &&CatalogLine| kept.contains(line.0.as_str());
    let (data, left): (Vec<_>, Vec<_>) = after.difference(before).partition(is_kept);
    assert!(left.is_empty(), "objects are left behind: {left:#?}");
    let found: BTreeSet<&str> = data.iter().map(|(owner, _)| owner.as_str()).collect();
    assert_eq!(&found, kept, "exactly these relations stay");
}

async fn assert_uninstall_is_complete(apps: &str) {
    let home = TestDatabase::create(&["sql/schema.sql"]).await;
    let client = home.client().await;
    let before = catalog(&client).await;
    app::install(settings(home.url(), apps)).await.unwrap();
    let installed = catalog(&client).await;
    assert!(before.len() < installed.len(), "something was installed");
    app::uninstall(settings(home.url(), apps)).await.unwrap();
    let after = catalog(&client).await;
    assert_only_kept_is_new(&before, &after, &kept(apps));

    // The second time the kept relations exist already, so nothing at all may differ. The app is
    // not enabled any more when it is uninstalled.
    app::install(settings(home.url(), apps)).await.unwrap();
    assert_eq!(catalog(&client).await, installed, "installed as before");
    app::uninstall(settings(home.url(), "")).await.unwrap();
    assert_only_kept_is_new(&after, &catalog(&client).await, &BTreeSet::new());
}

#[tokio::test]
async fn uninstall_without_apps_leaves_nothing() {
    assert_uninstall_is_complete("").await;
}

#[tokio::test]
async fn uninstall_leaves_nothing_of_workspace_and_gateway() {
    assert_uninstall_is_complete("workspace").await;
    assert_uninstall_is_complete("gateway").await;
}

#[tokio::test]
async fn uninstall_leaves_only_the_messages() {
    assert_uninstall_is_complete("messaging").await;
}

#[tokio::test]
async fn uninstall_leaves_only_the_modules() {
    assert_uninstall_is_complete("modules").await;
}

#[tokio::test]
async fn uninstall_of_all_apps_leaves_only_their_data() {
    assert_uninstall_is_complete("workspace,gateway,messaging,modules").await;
}

#[tokio::test]
async fn printed_scripts_do_what_the_commands_do() {
    let apps = "messaging,modules";
    let home = TestDatabase::create(&["sql/schema.sql"]).await;
    let client = home.client().await;
    let before = catalog(&client).await;
    let script = app::install_sql(settings(home.url(), "messaging")).await;
    client.batch_execute(&script.unwrap()).await.unwrap();
    app::install(settings(home.url(), apps)).await.unwrap();
    let script = app::uninstall_sql(settings(home.url(), apps))
        .await
        .unwrap();
    // A path of another schema: the printed script finds what was installed all the same.
    let client = home.client().await;
    client.batch_execute(&script).await.unwrap();
    assert_only_kept_is_new(&before, &catalog(&client).await, &kept(apps));
}

#[tokio::test]
async fn uninstall_finds_other_schemas_and_drops_no_object_of_others() {
    let home = TestDatabase::create(&["sql/schema.sql"]).await;
    let client = home.client().await;
    client.batch_execute("CREATE SCHEMA chat").await.unwrap();
    let elsewhere = format!("{}&options=-csearch_path%3Dchat%2Cpublic", home.url());
    app::install(settings(&elsewhere, "messaging"))
        .await
        .unwrap();
    client
        .batch_execute(
            "CREATE VIEW rooms AS SELECT id FROM chat.conversations
             WHERE chat.messaging_member(gen_random_uuid(), id)",
        )
        .await
        .unwrap();
    let installed = catalog(&client).await;
    let error = app::uninstall(settings(home.url(), "messaging")).await;
    let error = format!("{:#}", error.unwrap_err());
    assert!(error.contains("messaging_member"), "{error}");
    assert_eq!(catalog(&client).await, installed, "nothing changed");
    client.batch_execute("DROP VIEW rooms").await.unwrap();
    app::uninstall(settings(home.url(), "messaging"))
        .await
        .unwrap();
    let left = catalog(&client).await;
    let mut triggers = left.iter().filter(|(_, line)| {
        line.starts_with("trigger CREATE TRIGGER messaging") || line.contains("messaging_changes")
    });
    assert_eq!(triggers.next(), None);
}
